from __future__ import annotations

from collections.abc import Iterator

import pytest

from charrnn.jobs.database import Database
from charrnn.jobs.store import Store


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with its tables, on SQLite and on MariaDB."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    """The store of that database."""
    return Store(database)
