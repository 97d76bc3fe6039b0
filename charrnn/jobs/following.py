"""What has happened to a model since somebody last looked: its record and all that is new, as of one moment.

It knows how to ask for all of it with one question, and which metrics and samples an attempt leaves behind for the next
one to replace. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import BigInteger, Connection, Double, Integer, Row, Select, null, select, type_coerce, union_all
from sqlalchemy.types import TypeEngine

from charrnn.errors import ModelNotFound
from charrnn.jobs import listing, schema
from charrnn.jobs.records import LogLine, Metric, ModelRecord, News, Position, Sample
from charrnn.jobs.schema import Log, Long, Model, UtcDateTime
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
    place = listing.place(connection, found.record)
    return replace(found, start=start, metrics=metrics, samples=samples, place=place, full=full)


def _is_told(record: ModelRecord, step: int) -> bool:
    """Whether what is said of a step is said to its end: more may follow on the step that runs, and what lies beyond
    is of an earlier attempt, to be replaced."""
    return record.status != Status.RUNNING or step < record.step


def _look(connection: Connection, id: str, after: Position, limit: int) -> News:
    """All of it in one statement, and so of one moment."""
    table = schema.Metric.__table__.columns
    figures = {name: table[name] for name in _FIGURES}
    texts = schema.Sample
    model = {f"{_OF_MODEL}{column.name}": column for column in listing.COLUMNS}
    rows = connection.execute(
        union_all(
            _columns(kind=_MODEL, **model).where(Model.id == id),
            _some(
                _columns(kind=_LINE, position=Log.position, created_at=Log.created_at, text=Log.chunk)
                .where(Log.model_id == id, Log.position > after.log)
                .order_by(Log.position),
                limit,
            ),
            _some(
                _columns(kind=_METRIC, position=table["step"], **figures)
                .where(table["model_id"] == id, table["step"] > after.metric)
                .order_by(table["step"]),
                limit,
            ),
            _some(
                _columns(kind=_SAMPLE, position=texts.step, text=texts.text)
                .where(texts.model_id == id, texts.step > after.sample)
                .order_by(texts.step),
                limit,
            ),
        )
    ).all()
    found: dict[int, list[Row[Any]]] = {kind: [] for kind in range(4)}
    for row in sorted(rows, key=lambda row: row.position or 0):
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


def _some(query: Select[Any], limit: int) -> Select[Any]:
    """The first rows of a part of a union, which SQLite takes only from a table."""
    return select(query.limit(limit).subquery())
