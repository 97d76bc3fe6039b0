"""A MariaDB of the tests' own: a server on a port and in a folder of its own, ended with the tests.

In `conftest.py`: `from tests.mariadb import database_url, mariadb, mariadb_server, mysql_server`.

`mariadb_server` is the server, one for all tests of a run; tests of faults stop, kill and start it. `mariadb` is the
URL of a fresh database in it, and `database_url` makes a test run twice: on SQLite and on MariaDB.

Where CHARRNN_TEST_MYSQL_URL names another server, such as `mysql://root:password@host:3306`, `mariadb` and
`mysql_server` are in that one, for every test that does not stop it. Its databases are the tests' own, and are dropped.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.pausing import pause
from tests.ports import free_port

NEEDED = "MariaDB's server is needed for this test: install the package mariadb-server-core"
VARIABLE = "CHARRNN_TEST_MYSQL_URL"
OPTIONS = (
    "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
    "--performance-schema=OFF", "--skip-log-bin",
)  # fmt: skip


class MariaDB:
    """A server in a folder: its data, socket and messages. `start` may be called again after `stop` and `kill`."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.options = (*OPTIONS, *options)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._install()

    @property
    def messages(self) -> str:
        """What the server has said."""
        return (self.folder / "messages").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start the server, and wait until it answers. One that runs is left alone."""
        if self.process is not None and self.process.poll() is None:
            return
        with (self.folder / "messages").open("ab") as messages:
            self.process = subprocess.Popen(
                [_program("mariadbd", "mysqld"), "--no-defaults", f"--datadir={self.folder / 'data'}",
                 f"--socket={self.folder / 'socket'}", f"--pid-file={self.folder / 'pid'}", f"--port={self.port}",
                 f"--user={getpass.getuser()}", *self.options],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
            )  # fmt: skip
        deadline = time.monotonic() + 180
        while not self._answers():
            assert self.process.poll() is None, self.messages[-3000:]
            assert time.monotonic() < deadline, f"MariaDB does not answer:\n{self.messages[-3000:]}"
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server as an administrator does."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the server hang, without closing a connection, until `resume` or its end."""
        assert self.process
        pause(self.process)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement of the server's root has."""
        return _execute(sql, unix_socket=str(self.folder / "socket"), user="root", database=database)

    def create(self, options: str = "") -> str:
        """The name of a new database without tables."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return name

    def _install(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(
            [_program("mariadb-install-db", "mysql_install_db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
             "--auth-root-authentication-method=normal", "--skip-test-db", f"--user={getpass.getuser()}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except OSError:
            return False
        except Exception as error:
            if type(error).__module__ != "pymysql.err":
                raise
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(180)
        finally:
            self.process.kill()
            self.process.wait()


class Elsewhere:
    """A server that somebody else runs, by its URL without a database. It is never stopped."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._made: list[str] = []

    def url(self, database: str) -> str:
        return f"{self._url}/{database}"

    def execute(self, sql: str, database: str | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement has."""
        parts = urlsplit(self._url)
        return _execute(
            sql, host=parts.hostname, port=parts.port or 3306, user=unquote(parts.username or ""),
            password=unquote(parts.password or ""), database=database,
        )  # fmt: skip

    def create(self, options: str = "") -> str:
        """The name of a new database without tables."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} {options}")
        self._made.append(name)
        return name

    def clear(self) -> None:
        """Drop what was created."""
        for name in self._made:
            self.execute(f"DROP DATABASE IF EXISTS {name}")


def _execute(sql: str, **where: Any) -> Sequence[tuple[Any, ...]]:
    import pymysql

    connection = pymysql.connect(charset="utf8mb4", autocommit=True, local_infile=True, **where)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return list(cursor.fetchall())


@contextmanager
def started(folder: Path, options: Sequence[str] = ()) -> Iterator[MariaDB]:
    """A server that runs, with further options."""
    server = MariaDB(folder, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder / "data", ignore_errors=True)  # hundreds of megabytes that pytest would keep


@pytest.fixture(scope="session")
def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """The server of all tests."""
    with started(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def mysql_server(request: pytest.FixtureRequest) -> Iterator[MariaDB | Elsewhere]:
    """The server for tests that only use it: the one that the variable names, or else our own."""
    url = os.environ.get(VARIABLE)
    if not url:
        yield request.getfixturevalue("mariadb_server")
        return
    server = Elsewhere(url)
    yield server
    server.clear()


@pytest.fixture
def mariadb(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a new database without tables, in a server that runs: our own, if the test does things to that."""
    stopped = "mariadb_server" in request.fixturenames
    server: MariaDB | Elsewhere = request.getfixturevalue("mariadb_server" if stopped else "mysql_server")
    if isinstance(server, MariaDB):
        server.start()
    name = server.create("CHARACTER SET latin1")  # the tables must not depend on it
    yield server.url(name)
    if isinstance(server, MariaDB):
        server.start()
        server.resume()
    server.execute(f"DROP DATABASE {name}")


@pytest.fixture(params=["SQLite", "MariaDB"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database without tables: first of the one kind, then of the other."""
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'charrnn.sqlite3'}"
    url: str = request.getfixturevalue("mariadb")
    return url


def _program(*names: str) -> str:
    for name in names:
        for folder in (None, "/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/bin"):
            found = shutil.which(name, path=folder)
            if found:
                return found
    pytest.fail(NEEDED)
