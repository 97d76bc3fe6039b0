"""The tables, as SQLAlchemy maps them. It knows SQLite's and MySQL's types; it does not know what is asked of them.

Whatever must compare exactly (keys, names to search for, owners) is kept as ASCII or as bytes of UTF-8: MySQL's text
comparisons ignore spaces at the end, and differ from server to server. JSON is kept as text, so that it comes back as
it went in. The migrations make the same tables; a test holds the two equal.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    DateTime,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    literal,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

NAME_LENGTH = 200  # characters of names and owners
STRETCH = 8192  # models that are made one after another and share a `stretch`

Long = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")  # up to 16 MB


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware moment; the database holds UTC, to the microsecond."""

    impl = DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Exact(TypeDecorator[str]):
    """Text that is compared and ordered by its bytes, on every database."""

    impl = LargeBinary().with_variant(mysql.VARBINARY(4 * NAME_LENGTH), "mysql")
    cache_ok = True

    def process_bind_param(self, value: str | bytes | None, dialect: Dialect) -> bytes | None:
        return value.encode() if isinstance(value, str) else value

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else value.decode()


class Json(TypeDecorator[Any]):
    """A JSON value as text."""

    impl = Long
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class utc_now(FunctionElement[datetime]):
    """The database's clock."""

    type = UtcDateTime()
    inherit_cache = True


class utc_in(FunctionElement[datetime]):
    """The database's clock and some seconds."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float) -> None:
        super().__init__(literal(round(seconds * 1000)))


@compiles(utc_now, "mysql")
def _(element: utc_now, compiler: SQLCompiler, **_options: Any) -> str:
    return "UTC_TIMESTAMP(6)"


@compiles(utc_now, "sqlite")
def _(element: utc_now, compiler: SQLCompiler, **_options: Any) -> str:
    return _SQLITE_MOMENT.format("")


@compiles(utc_in, "mysql")
def _(element: utc_in, compiler: SQLCompiler, **options: Any) -> str:
    return f"(UTC_TIMESTAMP(6) + INTERVAL {compiler.process(element.clauses, **options)} * 1000 MICROSECOND)"


@compiles(utc_in, "sqlite")
def _(element: utc_in, compiler: SQLCompiler, **options: Any) -> str:
    milliseconds = compiler.process(element.clauses, **options)
    return _SQLITE_MOMENT.format(f", ({milliseconds} / 1000.0) || ' seconds'")


# SQLite's clock has milliseconds; the zeros make the text one that orders like those of microseconds.
_SQLITE_MOMENT = "(strftime('%Y-%m-%d %H:%M:%f', 'now'{}) || '000')"


def _ascii(kind: type[CHAR] | type[String], length: int) -> Any:
    """A column of ASCII that compares exactly."""
    on_mysql = mysql.CHAR if kind is CHAR else mysql.VARCHAR
    return kind(length).with_variant(on_mysql(length, charset="ascii", collation="ascii_bin"), "mysql")


Id = _ascii(CHAR, 26)
MYSQL = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def _of_model() -> Any:
    return mapped_column(Id, ForeignKey("model.id", ondelete="CASCADE"), primary_key=True)


class Base(DeclarativeBase):
    """All tables."""


class Model(Base):
    """A model and its training; records.ModelRecord says what the columns mean.

    `stretch` is the same for 8,192 models that were made one after another. With it in the indexes, the newest of the
    models that fit a filter are found without reading all that fit: see store.Store.page.
    """

    __tablename__ = "model"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    stretch: Mapped[int]
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    name_key: Mapped[str] = mapped_column(Exact)  # for searching: case and width are folded
    owner: Mapped[str] = mapped_column(Exact)
    status: Mapped[str] = mapped_column(_ascii(String, 16))
    options: Mapped[dict[str, Any]] = mapped_column(Json)
    sampling: Mapped[dict[str, Any]] = mapped_column(Json)
    corpus: Mapped[dict[str, Any] | None] = mapped_column(Json)
    corpus_bytes: Mapped[int] = mapped_column(BigInteger)
    parent_id: Mapped[str | None] = mapped_column(Id)
    step: Mapped[int] = mapped_column(BigInteger)
    progress: Mapped[float | None] = mapped_column(Double)
    epoch: Mapped[float | None] = mapped_column(Double)
    loss: Mapped[float | None] = mapped_column(Double)
    validation_loss: Mapped[float | None] = mapped_column(Double)
    best_validation_loss: Mapped[float | None] = mapped_column(Double)
    seconds: Mapped[float] = mapped_column(Double)
    seconds_left: Mapped[float | None] = mapped_column(Double)
    characters_per_second: Mapped[float | None] = mapped_column(Double)
    error: Mapped[str | None] = mapped_column(Long)
    attempt: Mapped[int]
    deaths: Mapped[int]
    worker_host: Mapped[str | None] = mapped_column(String(255))
    worker_pid: Mapped[int | None]
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    stop_requested: Mapped[int]
    checkpoint: Mapped[str | None] = mapped_column(String(255))
    model_file: Mapped[str | None] = mapped_column(String(255))
    queued_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        Index("model_by_name", "stretch", "name_key"),
        Index("model_by_status", "status", "stretch", "name_key"),
        Index("model_by_owner", "owner", "stretch", "name_key", "status"),
        Index("model_queue", "status", "queued_at", "id"),
        MYSQL,
    )


class Counter(Base):
    """One row, locked by whoever makes a model: so that ids rise, whatever the clocks do."""

    __tablename__ = "model_counter"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    models: Mapped[int] = mapped_column(BigInteger)  # ever made
    last_id: Mapped[str] = mapped_column(Id)

    __table_args__ = (MYSQL,)


class Log(Base):
    """What a training said, line by line."""

    __tablename__ = "model_log"

    model_id: Mapped[str] = _of_model()
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    chunk: Mapped[str] = mapped_column(Long)

    __table_args__ = (MYSQL,)


class Metric(Base):
    """The points of the curves."""

    __tablename__ = "model_metric"

    model_id: Mapped[str] = _of_model()
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    seconds: Mapped[float | None] = mapped_column(Double)
    epoch: Mapped[float | None] = mapped_column(Double)
    train_loss: Mapped[float | None] = mapped_column(Double)
    validation_loss: Mapped[float | None] = mapped_column(Double)
    learning_rate: Mapped[float | None] = mapped_column(Double)
    characters_per_second: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (MYSQL,)


class Sample(Base):
    """What models wrote while they were trained."""

    __tablename__ = "model_sample"

    model_id: Mapped[str] = _of_model()
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    text: Mapped[str] = mapped_column(Long)

    __table_args__ = (MYSQL,)


class Account(Base):
    """What a user has used of the quotas; or all who come from one origin, or all of these together."""

    __tablename__ = "account"

    owner: Mapped[str] = mapped_column(Exact, primary_key=True)
    text_bytes: Mapped[int] = mapped_column(BigInteger)
    minute: Mapped[int] = mapped_column(BigInteger)  # since 1970, in which `generations` were counted
    generations: Mapped[int]

    __table_args__ = (MYSQL,)


class Origin(Base):
    """Where a model came from, if that is counted: an account that is charged along with its owner's."""

    __tablename__ = "model_origin"

    model_id: Mapped[str] = _of_model()
    origin: Mapped[str] = mapped_column(Exact)

    __table_args__ = (Index("model_by_origin", "origin"), MYSQL)


class Supervisor(Base):
    """Who starts workers, and when it was last heard of."""

    __tablename__ = "supervisor"

    id: Mapped[str] = mapped_column(_ascii(String, 64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    max_running: Mapped[int]
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (MYSQL,)
