"""What has happened to a model since somebody last looked: its record and all that is new, as of one moment.

It knows how to ask for all of it with one question, and which metrics and samples an attempt leaves behind for the next
one to replace. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    CompoundSelect,
    Connection,
    Double,
    Integer,
    Row,
    Select,
    bindparam,
    null,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.types import TypeEngine

from charrnn.errors import ModelNotFound
from charrnn.jobs import listing, schema
from charrnn.jobs.records import LogLine, Metric, ModelRecord, News, Position, Sample
from charrnn.jobs.schema import Long, Model, UtcDateTime
from charrnn.jobs.status import Status

_FIGURES = [column.name for column in schema.Metric.__table__.columns if column.name not in ("model_id", "step")]
_OF_ROWS: Mapping[str, TypeEngine[Any]] = {
    "kind": Integer(), "position": BigInteger(), "created_at": UtcDateTime(), "text": Long,
    **{name: Double() for name in _FIGURES},
}  # fmt: skip
_OF_MODEL = "model_"  # before the names of its columns
_MODEL, _LINE, _METRIC, _SAMPLE = range(4)


def news(connection: Connection, id: str, after: Position, limit: int) -> News:
    """What has happened after a position, at most `limit` lines, metrics and samples. Raises ModelNotFound."""
    if not listing.ID.fullmatch(id):
        raise ModelNotFound(f"there is no model {id[:60]!r}")
    while True:
        found = _look(connection, id, after, limit)
        start = after.as_of(found.record)
        if (start.metric, start.sample) == (after.metric, after.sample):
            break
        after = start  # another attempt tells all of it again
    metrics = [metric for metric in found.metrics if _is_told(found.record, metric.step)]
    samples = [sample for sample in found.samples if _is_told(found.record, sample.step)]
    full = any(len(rows) == limit for rows in (found.lines, metrics, samples))
    place = listing.places(connection, [id]).get(id) if found.record.status == Status.QUEUED else None
    return replace(found, start=start, metrics=metrics, samples=samples, place=place, full=full)


def _is_told(record: ModelRecord, step: int) -> bool:
    """Whether what is said of a step is said to its end: more may follow on the step that runs, and what lies beyond
    is of an earlier attempt, to be replaced."""
    return record.status != Status.RUNNING or step < record.step


def _look(connection: Connection, id: str, after: Position, limit: int) -> News:
    """All of it in one statement, and so of one moment."""
    given = {"id": id, "log": after.log, "metric": after.metric, "sample": after.sample, "most": limit}
    found: dict[int, list[Row[Any]]] = {kind: [] for kind in range(4)}
    for row in sorted(connection.execute(_ALL_OF_IT, given), key=lambda row: row.position or 0):
        found[row.kind].append(row)
    if not found[_MODEL]:
        raise ModelNotFound(f"there is no model {id!r}")
    values = {
        name.removeprefix(_OF_MODEL): value
        for name, value in found[_MODEL][0]._mapping.items()
        if name.startswith(_OF_MODEL)
    }
    return News(
        listing.record(values), None, after,
        [LogLine(row.position, row.created_at, row.text) for row in found[_LINE]],
        [Metric(row.position, **{name: row._mapping[name] for name in _FIGURES}) for row in found[_METRIC]],
        [Sample(row.position, row.text) for row in found[_SAMPLE]],
        full=False,
    )  # fmt: skip


def _columns(**given: Any) -> Select[Any]:
    """A select that has all columns, those not given as NULL: the parts of a union must have the same ones."""
    types = {**_OF_ROWS, **{f"{_OF_MODEL}{column.name}": column.type for column in listing.COLUMNS}}
    return select(*(type_coerce(given.get(name, null()), kind).label(name) for name, kind in types.items()))


def _rows(kind: int, table: type[schema.Base], step: str, after: str, **columns: str) -> Select[Any]:
    """The first rows of a table after a step, which SQLite takes into a union only from a table of its own."""
    each = table.__table__.columns
    query = _columns(kind=kind, position=each[step], **{name: each[column] for name, column in columns.items()})
    query = query.where(each["model_id"] == bindparam("id"), each[step] > bindparam(after)).order_by(each[step])
    return select(query.limit(bindparam("most", type_=Integer())).subquery())


def _question() -> CompoundSelect[Any]:
    model = {f"{_OF_MODEL}{column.name}": column for column in listing.COLUMNS}
    return union_all(
        _columns(kind=_MODEL, **model).where(Model.id == bindparam("id")),
        _rows(_LINE, schema.Log, "position", "log", created_at="created_at", text="chunk"),
        _rows(_METRIC, schema.Metric, "step", "metric", **{name: name for name in _FIGURES}),
        _rows(_SAMPLE, schema.Sample, "step", "sample", text="text"),
    )


_ALL_OF_IT = _question()  # once: to build it takes longer than to ask it
