"""A MariaDB of the tests' own: a server on a port and in a folder of its own, ended with the tests.

In `conftest.py`: `from tests.mariadb import database_url, mariadb, mariadb_server`.

`mariadb_server` is the server, one for all tests of a run; tests of faults stop, kill and start it. `mariadb` is the
URL of a fresh database in it, and `database_url` makes a test run twice: on SQLite and on MariaDB.
"""

from __future__ import annotations

import getpass
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

NEEDED = "MariaDB's server is needed for this test: install the package mariadb-server-core"
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
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str | None = None) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement of the server's root has."""
        import pymysql

        connection = pymysql.connect(
            unix_socket=str(self.folder / "socket"), user="root", database=database, charset="utf8mb4",
            autocommit=True, local_infile=True,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

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


@pytest.fixture
def mariadb(mariadb_server: MariaDB) -> Iterator[str]:
    """The URL of a new database without tables, in a server that runs."""
    mariadb_server.start()
    name = f"test_{uuid.uuid4().hex[:12]}"
    mariadb_server.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")  # the tables must not depend on it
    yield mariadb_server.url(name)
    mariadb_server.start()
    mariadb_server.resume()
    mariadb_server.execute(f"DROP DATABASE {name}")


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
