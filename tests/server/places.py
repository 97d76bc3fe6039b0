"""Where a server can have its database and its address, for tests that are to hold in all of these places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from charrnn.jobs.database import Database
from charrnn.workspace import Workspace
from tests.mariadb import Elsewhere, MariaDB
from tests.server.running import Server, running

PLACES = ("SQLite", "MariaDB", "under a prefix")
PREFIX = "/hub/someone/"
BY_HAND = "--CharRNNServer.supervise=False"  # nothing is trained unless a test plays the worker


@contextmanager
def server_in(
    place: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, *arguments: str
) -> Iterator[Server]:
    """A server in one of the places."""
    environment: dict[str, str] = {}
    if place.startswith("MariaDB"):
        stopped = "mariadb_server" in request.fixturenames  # by the test, so that it has to be our own
        server: MariaDB | Elsewhere = request.getfixturevalue("mariadb_server" if stopped else "mysql_server")
        environment["CHARRNN_DATABASE_URL"] = server.url(server.create())
        Database(environment["CHARRNN_DATABASE_URL"]).upgrade()
    base_url = PREFIX if place.endswith("under a prefix") else "/"
    with running(tmp_path_factory.mktemp("server"), *arguments, base_url=base_url, **environment) as started:
        yield started


@contextmanager
def workspace_of(server: Server) -> Iterator[Workspace]:
    """What the server has in its data folder, as the person at this machine sees it."""
    workspace = Workspace(data_folder=server.folder / "data")
    yield workspace
    workspace.close()


def new_model(server: Server, name: str = "poems", **wanted: Any) -> dict[str, Any]:
    """A new model, made over HTTP."""
    answer = server.post("/models", json={"name": name, **wanted})
    assert answer.status_code == 201, answer.text
    model: dict[str, Any] = answer.json()
    return model
