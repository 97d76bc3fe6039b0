from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.config import Settings
from charrnn.jobs.database import Database
from charrnn.workspace import Workspace
from tests.mariadb import Elsewhere, MariaDB
from tests.workspace.played import PLACES, saved_model


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with its tables, to be copied."""
    path = tmp_path_factory.mktemp("embedded") / "charrnn.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture(scope="session")
def served(mysql_server: MariaDB | Elsewhere) -> str:
    """The name of a database with its tables in a server, to be emptied: they take longer to make than to test."""
    name = mysql_server.create()
    Database(mysql_server.url(name)).upgrade()
    return name


@pytest.fixture(params=PLACES)
def settings(request: pytest.FixtureRequest, tmp_path: Path, embedded: Path) -> Settings:
    """A database without models, and an empty storage."""
    database, _, files = request.param.partition(" and ")
    places: dict[str, Any] = {}
    if database == "MariaDB":
        name, server = request.getfixturevalue("served"), request.getfixturevalue("mysql_server")
        for table in ("model", "account", "supervisor"):
            server.execute(f"DELETE FROM {table}", name)
        places["database_url"] = server.url(name)
    else:
        shutil.copy(embedded, tmp_path / "charrnn.sqlite3")
    if files == "S3":
        places["storage_url"] = f"s3://{request.getfixturevalue('s3').bucket()}/charrnn"
    return Settings(data_folder=tmp_path, **places)


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    workspace = Workspace(settings=settings)
    yield workspace
    workspace.close()


@pytest.fixture
def here(tmp_path: Path, embedded: Path) -> Iterator[Workspace]:
    """A workspace in a folder, for what does not depend on the kind of database or storage."""
    shutil.copy(embedded, tmp_path / "charrnn.sqlite3")
    workspace = Workspace(data_folder=tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model") / "small.safetensors")
