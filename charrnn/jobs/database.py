"""The connection to the database: how to reach it, transactions, and whether its tables are the right ones.

It knows what differs between SQLite and MySQL below SQL, and how their failures are told. It does not know what is in
the tables.
"""

from __future__ import annotations

import functools
import math
import random
import select
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc, text
from sqlalchemy.engine import URL

from charrnn.errors import DatabaseOutdated, DatabaseTooNew, DatabaseUnavailable, InvalidSettings

Result = TypeVar("Result")

MIGRATIONS = Path(__file__).parent / "migrations"

CONNECT_SECONDS = 5  # to wait for a server to take a connection
ANSWER_SECONDS = 20  # to wait for a server's answer, so that one that hangs is noticed
SILENT_SECONDS = 10  # after which a server gives up a connection, with the locks of whoever was paused in a transaction
SURE_SECONDS = 1.0  # for which a connection that was used needs no question whether the server is still there
KEPT_CONNECTIONS = 20  # to one server, for the next who need any; it hangs up on those that nobody does
BUSY_SECONDS = 10  # to wait for another process that writes to SQLite
UPGRADE_SECONDS = 600  # to wait for another process that upgrades

_MIGRATE = "run `charrnn db upgrade`"
_LOST_A_RACE = {1020, 1205, 1213}  # MySQL: record changed, lock wait timeout, deadlock; to be tried again
_NO_SUCH_TABLE = {1054, 1146}  # MySQL: unknown column, no such table
_TRIES = 6
_lock = threading.Lock()  # Alembic has one context for all threads of a process, whichever their databases


class Database:
    """One database, for all threads of a process.

    `url` is `sqlite:////path` or `mysql://user:password@host/name`. With `tls="required"` a MySQL server has to speak
    TLS and show a certificate for its host by the authorities in the file `ca`, or by those that the system trusts.

    Every method raises DatabaseUnavailable when the database does not answer; no error holds the password.
    """

    def __init__(self, url: str, tls: Literal["off", "required"] = "off", ca: Path | None = None) -> None:
        self._url = _parsed(url)
        self.embedded = self._url.get_backend_name() == "sqlite"
        self._tls = _verifying(ca) if tls == "required" and not self.embedded else None
        self._engine = _sqlite(self._url) if self.embedded else _mysql(self._url, self._tls, ANSWER_SECONDS)

    def __repr__(self) -> str:
        return f"Database({str(self)!r})"

    def __str__(self) -> str:
        """The URL without the password."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, given a connection to read from."""
        with self._translated(), self._engine.connect() as connection:
            return work(connection)

    def snapshot(self, work: Callable[[Connection], Result]) -> Result:
        """The same, where all that `work` reads is as of one moment, however often it asks."""
        options: dict[str, Any] = {} if self.embedded else {"isolation_level": "REPEATABLE READ"}
        with self._translated(), self._engine.connect() as connection:
            return work(connection.execution_options(snapshot=True, **options))

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """What `work` returns, in one transaction: all of it happens, or nothing.

        `work` is called again when a race for locks was lost. When DatabaseUnavailable is raised, the transaction may
        or may not have happened: its commit can be cut in flight.
        """
        for left in reversed(range(_TRIES)):
            try:
                with self._translated(), self._writing() as connection:
                    return work(connection)
            except _LostRace as lost:
                if not left:
                    raise DatabaseUnavailable(f"the database {self} is too busy: {lost}") from lost
                time.sleep(random.uniform(0.005, 0.05))
        raise AssertionError("not reached")

    def prepare(self) -> None:
        """See that the tables are those of this charrnn: an embedded database is upgraded, a server's only checked.

        Raises DatabaseOutdated when the server's tables are missing or older, DatabaseTooNew when they are newer.
        """
        found = self.revision()
        if found == revisions()[-1]:
            return
        self._refuse_newer(found)
        if self.embedded:
            self.upgrade()
        elif found is None:
            raise DatabaseOutdated(f"the database {self} has no tables of charrnn yet; {_MIGRATE}")
        else:
            raise DatabaseOutdated(f"the tables of the database {self} are those of an older charrnn; {_MIGRATE}")

    def revision(self) -> str | None:
        """The revision that the tables are at; None: there are none."""
        try:
            found: str | None = self.read(
                lambda connection: connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            )
        except DatabaseOutdated:
            return None
        return found

    def upgrade(self) -> None:
        """Make or change the tables as this charrnn needs them. Several processes may do it at once: one does.

        Raises DatabaseTooNew when the tables are those of a newer charrnn.
        """
        self._refuse_newer(self.revision())
        with self._translated(), self._only_upgrader() as connection:
            _run_migrations(connection)

    def close(self) -> None:
        """Close the connections. It may be used again, which opens new ones."""
        self._engine.dispose()

    def _refuse_newer(self, found: str | None) -> None:
        known = revisions()
        if found is not None and found not in known:
            raise DatabaseTooNew(
                f"the database {self} was upgraded by a newer charrnn (to {found}; this one knows {known[-1]}); "
                "update charrnn here"
            )

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A connection in a transaction that may write from its beginning."""
        with self._engine.connect() as connection, connection.execution_options(writes=True).begin():
            yield connection

    @contextmanager
    def _only_upgrader(self) -> Iterator[Connection]:
        """A connection, while no other process upgrades."""
        if self.embedded:
            with self._file_lock(), self._writing() as connection:
                yield connection
            return
        engine = _mysql(self._url, self._tls, None)  # to change a large table takes its time
        name = {"name": f"charrnn.upgrade.{self._url.database}"[:64], "seconds": UPGRADE_SECONDS}
        try:
            with engine.connect() as connection:
                if connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), name).scalar() != 1:
                    raise DatabaseUnavailable(f"another process has been upgrading the database {self} for long")
                yield connection
                connection.commit()
        finally:
            engine.dispose()  # the lock ends with the connection

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        import fcntl

        assert self._url.database
        with Path(f"{self._url.database}.upgrade").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Failures of the database as errors of ours."""
        try:
            yield
        except exc.TimeoutError as error:
            raise DatabaseUnavailable(f"the database {self} is too busy: no connection became free") from error
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.ProgrammingError) as error:
            code, reason = _told(error)
            if code in _LOST_A_RACE:
                raise _LostRace(reason) from error
            if code in _NO_SUCH_TABLE or reason.startswith(("no such table", "no such column")):
                raise DatabaseOutdated(f"the database {self} lacks tables of charrnn ({reason}); {_MIGRATE}") from error
            if isinstance(error, exc.ProgrammingError) and not error.connection_invalidated:
                raise
            raise DatabaseUnavailable(f"the database {self} does not answer: {reason}") from error


class _LostRace(DatabaseUnavailable):
    """The transaction was undone in favour of another one."""


def revisions() -> list[str]:
    """The revisions that this charrnn knows, the newest last."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def _run_migrations(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _lock:
        command.upgrade(config, "head")


def _parsed(url: str) -> URL:
    try:
        parsed = sqlalchemy.make_url(url)
        backend = parsed.get_backend_name()
    except (exc.ArgumentError, ValueError):
        raise InvalidSettings(f"CHARRNN_DATABASE_URL: is no URL of a database; {_RIGHT_URLS}") from None
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise InvalidSettings("CHARRNN_DATABASE_URL: a database in memory cannot be shared; name a file")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in ("mysql", "mariadb"):
        if not parsed.database:
            raise InvalidSettings("CHARRNN_DATABASE_URL: the name of the database is missing after the host")
        return parsed.set(drivername="mysql+pymysql")
    raise InvalidSettings(f"CHARRNN_DATABASE_URL: {backend} is not a database that charrnn knows; {_RIGHT_URLS}")


_RIGHT_URLS = "right would be sqlite:////path/file or mysql://user:password@host/name"


def _sqlite(url: URL) -> Engine:
    assert url.database
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"the folder {folder} of the database cannot be made: {error.strerror}") from error
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so, below
        _write_ahead(connection)
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        # Who will write says so at once: two that have read, and then want to write, would fail and not wait
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers not wait for a writer. The file remembers it, so that only the first ones really change it.

    Where two do it at once SQLite refuses one of them, without waiting its timeout first.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(random.uniform(0.001, 0.02))


def _mysql(url: URL, tls: ssl.SSLContext | None, answer_seconds: float | None) -> Engine:
    connect: dict[str, Any] = {
        "charset": "utf8mb4",
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": answer_seconds,
        "write_timeout": answer_seconds,
        "autocommit": True,  # transactions begin where we say so, below: a reader needs none
        "init_command": "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
        f"innodb_lock_wait_timeout = 5, wait_timeout = {SILENT_SECONDS}",
    }
    if tls:
        connect["ssl"] = tls
    engine = sqlalchemy.create_engine(
        url, connect_args=connect, isolation_level="READ COMMITTED", pool_pre_ping=True, pool_recycle=1800,
        pool_size=KEPT_CONNECTIONS, pool_use_lifo=True,
    )  # fmt: skip

    @event.listens_for(engine, "do_connect")
    def _(_dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
        return _connection_class()(*arguments, **options)

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        if not {"writes", "snapshot"}.isdisjoint(connection.get_execution_options()):
            connection.exec_driver_sql("BEGIN")

    @event.listens_for(engine, "checkin")
    def _(connection: Any, _record: object) -> None:
        if connection is not None:  # else it was lost
            connection.used = time.monotonic()

    return engine


@functools.cache
def _connection_class() -> type[Any]:
    """PyMySQL's connection, without the questions to the server whose answers are known.

    Where nobody asked for TLS it is used without a look at the certificate, if the server offers it; PyMySQL would read
    all authorities of the system for that, with every connection anew.
    """
    from pymysql.connections import Connection  # type: ignore[import-untyped]
    from pymysql.constants import SERVER_STATUS  # type: ignore[import-untyped]

    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE

    class Connected(Connection):  # type: ignore[misc]
        used = -math.inf  # when it was given back

        def ping(self, reconnect: bool = False) -> None:
            if time.monotonic() - self.used > SURE_SECONDS or self._has_come():
                super().ping(reconnect)

        def _has_come(self) -> bool:
            """Whether something has come that nobody asked for, such as the end of the connection."""
            waiting = select.poll()
            waiting.register(self._sock, select.POLLIN)
            return bool(waiting.poll(0))

        def rollback(self) -> None:
            if self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
                super().rollback()

        def _create_ssl_ctx(self, given: Any) -> Any:
            return super()._create_ssl_ctx(given) if given else unverified

    return Connected


def _verifying(ca: Path | None) -> ssl.SSLContext:
    """What PyMySQL needs to refuse a server without TLS, or with another certificate: on its own it would not."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        reason = error.strerror or "it holds no certificate"
        raise InvalidSettings(f"CHARRNN_DATABASE_TLS_CA: {ca} cannot be used: {reason}") from error
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # it wants extensions that few authorities of MySQL servers write
    return context


def _told(error: exc.DBAPIError) -> tuple[int | None, str]:
    """The code (MySQL's) and the words of the database's own error."""
    arguments: tuple[object, ...] = getattr(error.orig, "args", ())
    if len(arguments) == 2 and isinstance(arguments[0], int):
        return arguments[0], str(arguments[1]) or f"error {arguments[0]}"
    return None, str(error.orig)
