"""Finds models among millions: by id, by name, by owner and status, the newest first.

It knows the indexes, and how to ask so that the work is bounded whatever is asked for. It changes nothing.

The models of one stretch (8,192 made one after another) lie side by side in an index, sorted by name. A search asks
each stretch for what fits, the newest first, and ends as soon as there is enough: a rare name costs a glance at every
stretch (122 in a million models), a common one is found in the first. Neither an index sorted by name nor one
sorted by age could do both: the one would sort all that fit, the other read all that do not.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, bindparam, func, select

from charrnn.errors import ModelNotFound
from charrnn.jobs.records import CorpusFacts, Glance, ModelRecord, Page, Turn
from charrnn.jobs.schema import NAME_LENGTH, STRETCH, Base, Counter, Model
from charrnn.jobs.status import Status

COUNTED = 1000  # models that a page's total counts exactly
FOUND = 20  # models of one name that are looked for
PLACES = 1000  # in the queue that are counted
ID = re.compile("[0-9a-hjkmnp-tv-z]{26}")  # a ULID in lower case

_STRETCHES = 1000  # asked at a time
_NOT_IN_RECORDS = ("stretch", "name_key")
COLUMNS = [column for column in Base.metadata.tables["model"].columns if column.name not in _NOT_IN_RECORDS]
_TURN = [field.name for field in dataclasses.fields(Turn)]

_ONE = select(*COLUMNS).where(Model.id == bindparam("id"))  # once: to build it takes as long as to ask it
_ONE_LOCKED = _ONE.with_for_update()

Conditions = Sequence[ColumnElement[bool]]


def name_key(name: str) -> str:
    """What names are searched by: without regard to case, width and other ways to write the same."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded)[:NAME_LENGTH]


def one(connection: Connection, id: str, *, lock: bool = False) -> ModelRecord:
    """The model with that id, and on request nobody else changes it until the transaction ends.

    Raises ModelNotFound.
    """
    if ID.fullmatch(id):
        row = connection.execute(_ONE_LOCKED if lock else _ONE, {"id": id}).one_or_none()
        if row is not None:
            return _record(row)
    raise ModelNotFound(f"there is no model {id[:60]!r}")


def fitting(connection: Connection, *conditions: ColumnElement[bool]) -> list[ModelRecord]:
    """All models that fit, newest first."""
    query = select(*COLUMNS).where(*conditions).order_by(Model.id.desc())
    return [_record(row) for row in connection.execute(query)]


def find(connection: Connection, text: str, owner: str | None) -> list[ModelRecord]:
    """The model with that id, or else the newest of that name."""
    search = _Search(connection, owner=owner)
    if ID.fullmatch(text.lower()):
        models = fitting(connection, Model.id == text.lower(), *search.conditions)
        if models:
            return models
    search.conditions.append(Model.name_key == name_key(text))
    return search.records(search.ids(search.stretches(FOUND), None, FOUND))


def page(
    connection: Connection, owner: str | None, status: Status | None, prefix: str | None, after: str | None, limit: int
) -> Page:
    """The newest models that fit and are older than `after`."""
    search = _Search(connection, owner, status, prefix)
    if search.conditions:
        found = search.stretches(COUNTED + 1)
        total = sum(found.values())
        if after is not None:
            found = search.stretches(limit + 1, after)
        ids = search.ids(found, after, limit + 1)
    else:
        ids = list(connection.scalars(_newest(after, limit + 1)))
        total = count(connection, select(Model.id).limit(COUNTED + 1))
    next = ids[limit - 1] if len(ids) > limit else None
    return Page(search.records(ids[:limit]), next, min(total, COUNTED), total <= COUNTED)


def places(connection: Connection, ids: Collection[str]) -> dict[str, int]:
    """The places in the queue of those that wait there: 1 for the model that is trained next, up to 1,000."""
    place = func.row_number().over(order_by=(Model.queued_at, Model.id)).label("place")
    queue = _by_turn(select(Model.id, place), Status.QUEUED).subquery()
    theirs = select(queue.c.id, queue.c.place).where(queue.c.id.in_(ids))
    return {row.id: row.place for row in connection.execute(theirs)} if ids else {}


def by_turn(connection: Connection, status: Status) -> list[Turn]:
    """The models in a status, at most 1,000, in the order in which they were queued."""
    rows = connection.execute(_by_turn(select(*(getattr(Model, name) for name in _TURN)), status))
    return [Turn(**{**row._mapping, "status": status}) for row in rows]


def _by_turn(query: Select[Any], status: Status) -> Select[Any]:
    first = query.where(Model.status == status).order_by(Model.queued_at, Model.id).limit(PLACES)
    return first.with_hint(Model, "FORCE INDEX (model_queue)", "mysql")


def glances(connection: Connection, ids: Collection[str]) -> dict[str, Glance]:
    """When models were changed last, and their places in the queue; those that are not there are left out."""
    moments = select(Model.id, Model.status, Model.updated_at).where(Model.id.in_(ids))
    rows = connection.execute(moments).all() if ids else []
    turns = places(connection, [row.id for row in rows if row.status == Status.QUEUED])
    return {row.id: Glance(row.updated_at, turns.get(row.id)) for row in rows}


def count(connection: Connection, query: Select[Any]) -> int:
    """How many rows a query has; its limit bounds the work."""
    return connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()


class _Search:
    """Some conditions, and the index whose columns they are."""

    def __init__(
        self, connection: Connection, owner: str | None = None, status: Status | None = None, prefix: str | None = None
    ) -> None:
        self.connection = connection
        self.conditions: list[ColumnElement[bool]] = []
        self.index = "model_by_name"
        if status is not None:
            self.conditions.append(Model.status == status)
            self.index = "model_by_status"
        if owner is not None:
            self.conditions.append(Model.owner == owner)
            self.index = "model_by_owner"
        if prefix and (key := name_key(prefix).encode()):
            after_all = key[:-1] + bytes([key[-1] + 1])  # UTF-8 has no byte 255
            self.conditions += [Model.name_key >= key, Model.name_key < after_all]

    def stretches(self, limit: int, after: str | None = None) -> dict[int, int]:
        """How the newest `limit` models that fit and are older than `after` spread over stretches, the newest first."""
        older = [] if after is None else [Model.id < after]
        found: dict[int, int] = {}
        top = self._newest_stretch(after)
        while top >= 0 and (missing := limit - sum(found.values())) > 0:
            some = range(top, max(top - _STRETCHES, -1), -1)
            query = self._hinted(select(Model.stretch)).where(Model.stretch.in_(some), *self.conditions, *older)
            each = query.order_by(Model.stretch.desc()).limit(missing).subquery().c.stretch
            counts = select(each, func.count()).group_by(each).order_by(each.desc())
            found.update((stretch, models) for stretch, models in self.connection.execute(counts))
            top -= _STRETCHES
        return found

    def ids(self, stretches: dict[int, int], after: str | None, limit: int) -> list[str]:
        """The ids of the newest `limit` models that fit and are older than `after`, given the stretches they are in."""
        newer = itertools.accumulate(stretches.values(), initial=0)  # how many are in newer stretches than each
        some = [stretch for stretch, models in zip(stretches, newer, strict=False) if models < limit]
        query = self._hinted(_newest(after, limit)).where(Model.stretch.in_(some), *self.conditions)
        return list(self.connection.scalars(query)) if some else []

    def records(self, ids: list[str]) -> list[ModelRecord]:
        return fitting(self.connection, Model.id.in_(ids)) if ids else []

    def _newest_stretch(self, after: str | None) -> int:
        """-1 when there is none."""
        if after is None:
            made = self.connection.scalar(select(Counter.models)) or 0
            return (made - 1) // STRETCH
        query = select(Model.stretch).where(Model.id < after).order_by(Model.id.desc()).limit(1)
        stretch = self.connection.scalar(query)
        return -1 if stretch is None else stretch

    def _hinted(self, query: Select[Any]) -> Select[Any]:
        """MySQL's own guess can be wrong by a factor of thousands, where names are unevenly spread."""
        return query.with_hint(Model, f"FORCE INDEX ({self.index})", "mysql")


def _newest(after: str | None, limit: int) -> Select[Any]:
    query = select(Model.id).order_by(Model.id.desc()).limit(limit)
    return query if after is None else query.where(Model.id < after)


def record(columns: Mapping[str, Any]) -> ModelRecord:
    """The record of a model's columns."""
    corpus = columns["corpus"] and CorpusFacts.from_json(columns["corpus"])
    return ModelRecord(**{**columns, "status": Status(columns["status"]), "corpus": corpus})


def _record(row: Row[Any]) -> ModelRecord:
    return record(dict(row._mapping))
