"""The migrations make the tables that the mappings describe, once, whoever asks for it and however often."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from charrnn.errors import DatabaseOutdated, DatabaseTooNew
from charrnn.jobs.database import Database, revisions
from charrnn.jobs.schema import Base
from charrnn.jobs.store import Store
from tests.command_line import variables

UPGRADE = "import sys; from charrnn.jobs.database import Database; Database(sys.argv[1]).upgrade()"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def definitions(connection: Connection) -> dict[str, list[str]]:
    """How the database itself describes its tables and indexes: the lines, in an order that does not matter."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")).all()
    else:
        names = inspect(connection).get_table_names()
        rows = [connection.execute(text(f"SHOW CREATE TABLE {name}")).one() for name in names]
    return {
        name: sorted(line.strip().removesuffix(",") for line in sql.splitlines())
        for name, sql in rows
        if name != "alembic_version"
    }


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=variables(), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_migrations_make_exactly_the_tables_of_the_mappings(database: Database) -> None:
    database.upgrade()
    migrated = database.read(definitions)
    database.write(Base.metadata.drop_all)
    assert database.read(definitions) == {}
    database.write(Base.metadata.create_all)
    assert migrated == database.read(definitions)
    assert {"model", "model_log", "model_metric", "model_sample", "account", "supervisor"} < set(migrated)


def test_the_tables_of_a_server_are_utf8_whatever_its_databases_default_is(mariadb: str) -> None:
    database = Database(mariadb)
    database.upgrade()
    tables = database.read(definitions)
    assert len(tables) >= 6
    assert all("ENGINE=InnoDB DEFAULT CHARSET=utf8mb4" in str(lines) for lines in tables.values())
    assert "latin1" not in str(tables)
    database.close()


def test_the_last_revision_is_the_one_that_an_upgrade_leads_to(database: Database) -> None:
    assert database.revision() is None
    database.upgrade()
    assert database.revision() == revisions()[-1]


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database: Database) -> None:
    database.upgrade()
    model = Store(database).create("a name")
    before = database.read(definitions)
    database.upgrade()
    assert database.read(definitions) == before
    assert Store(database).get(model.id) == model


def test_an_embedded_database_is_upgraded_by_itself_at_first_use(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new folder' / 'charrnn.sqlite3'}")
    database.prepare()
    assert Store(database).create("a name").name == "a name"


def test_a_server_without_tables_gets_a_message_and_no_tables(mariadb: str) -> None:
    database = Database(mariadb)
    with pytest.raises(DatabaseOutdated, match="no tables of charrnn yet; run `charrnn db upgrade`"):
        database.prepare()
    with pytest.raises(DatabaseOutdated, match="run `charrnn db upgrade`"):
        Store(database).page()
    assert database.read(lambda connection: inspect(connection).get_table_names()) == []
    database.upgrade()
    database.prepare()
    database.close()


def test_a_server_that_is_behind_gets_a_message(mariadb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(mariadb)
    database.upgrade()
    monkeypatch.setattr("charrnn.jobs.database.revisions", lambda: [*revisions(), "9999"])
    with pytest.raises(DatabaseOutdated, match="those of an older charrnn; run `charrnn db upgrade`"):
        database.prepare()
    database.close()


def test_a_database_of_a_newer_charrnn_is_refused(database: Database) -> None:
    database.upgrade()
    database.write(lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    for call in (database.prepare, database.upgrade):
        with pytest.raises(DatabaseTooNew, match="newer charrnn"):
            call()


def test_an_upgrade_that_was_cut_short_is_taken_up_again(database: Database) -> None:
    database.upgrade()
    whole = database.read(definitions)

    def cut(connection: Connection) -> None:
        connection.execute(text("DELETE FROM alembic_version"))
        connection.execute(text("DROP TABLE supervisor"))
        on = " ON model" if connection.dialect.name == "mysql" else ""
        connection.execute(text(f"DROP INDEX model_queue{on}"))

    database.write(cut)
    database.upgrade()
    assert database.read(definitions) == whole


def test_processes_that_upgrade_at_once_do_not_disturb_each_other(database_url: str) -> None:
    processes = [run_python(UPGRADE, database_url) for _ in range(4)]
    assert [(process.communicate(timeout=300)[1], process.returncode) for process in processes] == [("", 0)] * 4
    database = Database(database_url)
    database.prepare()
    assert Store(database).create("a name").name == "a name"
    database.close()


def test_threads_that_upgrade_databases_of_their_own_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path / f'{number}.sqlite3'}") for number in range(8)]
    together = threading.Barrier(len(databases))

    def upgraded(database: Database) -> str | None:
        together.wait()
        database.upgrade()
        return database.revision()

    with ThreadPoolExecutor(len(databases)) as threads:
        assert list(threads.map(upgraded, databases)) == [revisions()[-1]] * len(databases)
    for database in databases:
        database.close()


def test_an_upgrade_of_a_server_waits_for_another_ones_end(mariadb: str) -> None:
    database = Database(mariadb)
    with database._only_upgrader():
        other = run_python(UPGRADE, mariadb)
        waiting = text("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT GET_LOCK%'")
        while not database.read(lambda connection: connection.scalar(waiting)):
            assert other.poll() is None
            time.sleep(0.01)
        assert database.revision() is None
    assert other.communicate(timeout=300) == ("", "")
    assert database.revision() == revisions()[-1]
    database.close()


def test_alembic_is_imported_only_to_migrate(database: Database, database_url: str) -> None:
    code = (
        "import sys; from charrnn.jobs.database import Database; from charrnn.jobs.store import Store\n"
        "database = Database(sys.argv[1]); database.prepare(); Store(database).page()\n"
        "print('alembic' in sys.modules)"
    )
    database.upgrade()
    output, errors = run_python(code, database_url).communicate(timeout=300)
    assert (output, errors) == ("False\n", "")
