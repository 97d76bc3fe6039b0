"""All SQL of the jobs: models, their logs, metrics and samples, the queue, and what users have used of their quotas.

It knows the tables and who may change what when. It does not know processes or files, nor who a user is.

Whatever a worker writes is conditional on its claim: the attempt that it was given. Time is always the database's.
"""

from __future__ import annotations

import math
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.dialects import mysql, sqlite

from charrnn.errors import Fenced, InvalidOptions, InvalidTransition, QuotaExceeded
from charrnn.jobs import listing, schema
from charrnn.jobs.database import Database
from charrnn.jobs.records import (
    Claim,
    CorpusFacts,
    Delivery,
    LogLine,
    Metric,
    ModelRecord,
    Page,
    Sample,
    SupervisorRecord,
)
from charrnn.jobs.schema import NAME_LENGTH, STRETCH, Account, Counter, Log, Model, Supervisor, utc_in, utc_now
from charrnn.jobs.status import ACTIVE, ALLOWED, Status, refusal

__all__ = [
    "DELIVERED",
    "Claim",
    "CorpusFacts",
    "Delivery",
    "LogLine",
    "Metric",
    "ModelRecord",
    "Page",
    "Sample",
    "Store",
    "SupervisorRecord",
]

# The fields of a model that its worker, or an import, may set.
DELIVERED = frozenset(
    {
        "step",
        "progress",
        "epoch",
        "loss",
        "validation_loss",
        "best_validation_loss",
        "seconds",
        "seconds_left",
        "characters_per_second",
        "checkpoint",
        "model_file",
    }
)

DEATHS = 3  # workers that died in a row, without any progress, after which a model has failed
PLACES = 1000  # in the queue that are counted

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, of 5 bits each
_NO_WORKER: dict[str, Any] = {"worker_host": None, "worker_pid": None, "lease_until": None, "stop_requested": 0}


class Store:
    """Models, what they have to show, and who works on them.

    Every method raises DatabaseUnavailable when the database does not answer, and then may be called again: but for
    `create`, `request_stop` and the counting of quotas, to do it twice is the same as once. Methods that take the id of
    one model raise ModelNotFound.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # -- models ------------------------------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        owner: str = "",
        *,
        options: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        parent_id: str | None = None,
        corpus: CorpusFacts | None = None,
    ) -> ModelRecord:
        """A new model: a draft, or ready with a corpus. Raises InvalidOptions for a name that cannot be one."""
        name = _checked_name(name)
        values = {
            "name": name,
            "name_key": listing.name_key(name),
            "owner": owner,
            "status": Status.READY if corpus else Status.DRAFT,
            "options": dict(options or {}),
            "sampling": dict(sampling or {}),
            "corpus": corpus.to_json() if corpus else None,
            "corpus_bytes": corpus.bytes if corpus else 0,
            "parent_id": parent_id,
            **dict.fromkeys(("step", "seconds", "attempt", "deaths", "stop_requested"), 0),
        }

        def work(connection: Connection) -> ModelRecord:
            id, stretch, now = _next_id(connection)
            moments = {"created_at": now, "updated_at": now}
            connection.execute(insert(Model).values(id=id, stretch=stretch, **moments, **values))
            if corpus:
                _count_text(connection, owner, corpus.bytes, None)
            return listing.one(connection, id)

        return self.database.write(work)

    def get(self, id: str) -> ModelRecord:
        """The model with that id."""
        return self.database.read(lambda connection: listing.one(connection, id))

    def find(self, text: str, owner: str | None = None) -> list[ModelRecord]:
        """The model with that id, or else the models of that name, newest first, at most 20; of one owner, or of all.

        Names are compared without regard to case and width.
        """
        if _storable(text) != text:
            return []
        return self.database.read(lambda connection: listing.find(connection, text.strip(), owner))

    def page(
        self,
        *,
        owner: str | None = None,
        status: Status | None = None,
        prefix: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page:
        """At most `limit` models (1 to 1,000), newest first; those of an owner, in a status, whose names begin so.

        `after` is the last id of the page before. Raises InvalidOptions if it is no id.

        The work is bounded, whatever the filters and however many millions fit them; `listing` says how.
        """
        if after is not None and not listing.ID.fullmatch(after):
            raise InvalidOptions("after: is not the id of a model", {"after": "is not the id of a model"})
        limit = max(1, min(limit, 1000))
        owner, prefix = (text if text is None else _storable(text) for text in (owner, prefix))
        return self.database.read(lambda connection: listing.page(connection, owner, status, prefix, after, limit))

    def rename(self, id: str, name: str) -> ModelRecord:
        """The model under another name. Raises InvalidOptions for a name that cannot be one."""
        name = _checked_name(name)
        return self._change(id, None, {"name": name, "name_key": listing.name_key(name)})

    def set_options(self, id: str, options: Mapping[str, Any]) -> ModelRecord:
        """The model with other training options. Raises InvalidTransition while it is queued or running."""
        return self._change(id, "set_options", {"options": dict(options)})

    def set_sampling(self, id: str, sampling: Mapping[str, Any]) -> ModelRecord:
        """The model with other sampling options."""
        return self._change(id, None, {"sampling": dict(sampling)})

    def set_corpus(self, id: str, facts: CorpusFacts, *, limit: int | None = None) -> ModelRecord:
        """The model with a text, ready. Its bytes count against the owner's quota, those of a text before do no longer.

        Raises InvalidTransition once the model has learned something, and QuotaExceeded if all texts of its owner
        then had more than `limit` bytes.
        """
        values = {"status": Status.READY, "corpus": facts.to_json(), "corpus_bytes": facts.bytes}

        def work(connection: Connection) -> ModelRecord:
            before = listing.one(connection, id, lock=True)
            if before.checkpoint is not None or before.model_file is not None:
                raise refusal("set_corpus", before.name, before.status)
            _count_text(connection, before.owner, facts.bytes - before.corpus_bytes, limit)
            return _change(connection, id, "set_corpus", values)

        return self.database.write(work)

    def set_model(self, id: str, model_file: str, fields: Mapping[str, Any] | None = None) -> ModelRecord:
        """The draft as a complete model: one that was imported. Raises InvalidTransition if it is no draft."""
        values = {"status": Status.COMPLETE, "finished_at": utc_now(), **_checked(fields or {})}
        return self._change(id, "set_model", values | {"model_file": model_file})

    def delete(self, id: str) -> ModelRecord:
        """The model as it was; it is gone now, with its log, metrics and samples. Its text's bytes are given back.

        Raises InvalidTransition while it is queued or running.
        """

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id, lock=True)
            allowed = Model.status.in_(ALLOWED["delete"])
            if not connection.execute(delete(Model).where(Model.id == id, allowed)).rowcount:
                raise refusal("delete", record.name, record.status)
            _count_text(connection, record.owner, -record.corpus_bytes, None)
            return record

        return self.database.write(work)

    # -- what users ask for ------------------------------------------------------------------------------------------

    def enqueue(
        self, id: str, *, options: Mapping[str, Any] | None = None, max_queued: int | None = None
    ) -> ModelRecord:
        """The model, queued; unchanged if it is queued or running already. `options` take the place of its own.

        Raises InvalidTransition when it has no text, QuotaExceeded when `max_queued` of its owner's are queued or
        running.
        """

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id)
            if record.active:
                return record
            _check_queue(connection, record, max_queued)
            return _enqueue(connection, record, "enqueue", options, {})

        return self.database.write(work)

    def start_over(
        self,
        id: str,
        *,
        options: Mapping[str, Any] | None = None,
        corpus: CorpusFacts | None = None,
        max_queued: int | None = None,
    ) -> ModelRecord:
        """The model, queued to be trained from its first step: all that it has learned is forgotten, its log stays.

        `corpus`: the same text with other ids, for options that tell other characters apart. Raises what `enqueue`
        does, and InvalidTransition when it is queued or running.
        """
        forgotten: dict[str, Any] = dict.fromkeys(DELIVERED) | {"step": 0, "seconds": 0}
        if corpus is not None:
            forgotten["corpus"] = corpus.to_json()

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id)
            if record.status in ALLOWED["start_over"]:
                _check_queue(connection, record, max_queued)
            record = _enqueue(connection, record, "start_over", options, forgotten)
            for table in (schema.Metric, schema.Sample):
                connection.execute(delete(table).where(table.model_id == id))
            _add_line(connection, id, "started over")
            return record

        return self.database.write(work)

    def request_stop(self, id: str) -> ModelRecord:
        """The model, which will save and stop; asked twice, it ends at once. A queued one is out of the queue.

        One that rests already stays as it is.
        """
        never_ran = and_(Model.step == 0, Model.checkpoint.is_(None), Model.model_file.is_(None))
        running = {"stop_requested": case((Model.stop_requested < 2, Model.stop_requested + 1), else_=2)}
        queued = {
            "finished_at": case((never_ran, None), else_=utc_now()),
            "status": case((never_ran, Status.READY), else_=Status.STOPPED),
            "stop_requested": 0,
        }

        def work(connection: Connection) -> ModelRecord:
            status = listing.one(connection, id, lock=True).status
            if status == Status.RUNNING:
                _update(connection, [Model.id == id, Model.status == status], running)
            elif status == Status.QUEUED:
                _update(connection, [Model.id == id, Model.status == status], queued)
            return listing.one(connection, id)

        return self.database.write(work)

    def place_in_queue(self, id: str) -> int | None:
        """1 for the model that is next, at most 1,000; None for one that is not queued."""

        def work(connection: Connection) -> int | None:
            record = listing.one(connection, id)
            if record.status != Status.QUEUED or record.queued_at is None:
                return None
            same = and_(Model.queued_at == record.queued_at, Model.id < id)
            before = select(Model.id).where(
                Model.status == Status.QUEUED, or_(Model.queued_at < record.queued_at, same)
            )
            return 1 + listing.count(connection, before.limit(PLACES - 1))

        return self.database.read(work)

    def log(self, id: str, after: int = -1, limit: int = 1000) -> list[LogLine]:
        """The log's lines after a position, in order, at most `limit`."""
        lines = select(Log.position, Log.created_at, Log.chunk).where(Log.model_id == id, Log.position > after)
        rows = self._rows(id, lines.order_by(Log.position).limit(limit))
        return [LogLine(row.position, row.created_at, row.chunk) for row in rows]

    def last_position(self, id: str) -> int:
        """The position of the log's last line; -1 when there is none."""
        rows = self._rows(id, select(Log.position).where(Log.model_id == id).order_by(Log.position.desc()).limit(1))
        return rows[0].position if rows else -1

    def metrics(self, id: str, after_step: int = -1, limit: int = 1000) -> list[Metric]:
        """The points of the curves after a step, in order, at most `limit`."""
        table = schema.Metric.__table__
        columns = [column for column in table.columns if column.name != "model_id"]
        points = select(*columns).where(table.c.model_id == id, table.c.step > after_step)
        return [Metric(**row._mapping) for row in self._rows(id, points.order_by(table.c.step).limit(limit))]

    def samples(self, id: str, after_step: int = -1, limit: int = 1000) -> list[Sample]:
        """What it wrote after a step, in order, at most `limit`."""
        texts = select(schema.Sample.step, schema.Sample.text).where(
            schema.Sample.model_id == id, schema.Sample.step > after_step
        )
        return [Sample(row.step, row.text) for row in self._rows(id, texts.order_by(schema.Sample.step).limit(limit))]

    # -- quotas ------------------------------------------------------------------------------------------------------

    def text_bytes(self, owner: str) -> int:
        """Bytes of all texts of an owner."""
        return self.database.read(lambda connection: _text_bytes(connection, owner))

    def count_generation(self, owner: str, limit: int | None = None) -> None:
        """Count a generation in this minute. Raises QuotaExceeded if there have been `limit`; None counts nothing."""
        if limit is None:
            return

        def work(connection: Connection) -> None:
            _open_account(connection, owner)
            now = _now(connection).timestamp()
            minute = int(now // 60)
            count = (
                update(Account)
                .where(Account.owner == owner, or_(Account.minute != minute, Account.generations < limit))
                .ordered_values(
                    (Account.generations, case((Account.minute == minute, Account.generations + 1), else_=1)),
                    (Account.minute, minute),  # after its use above: MySQL assigns in order
                )
            )
            if not limit or not connection.execute(count).rowcount:
                seconds = math.ceil(60 - now % 60)
                raise QuotaExceeded(f"{limit:,} texts may be written in a minute; more in {seconds} s", seconds)

        self.database.write(work)

    # -- supervisors and workers -------------------------------------------------------------------------------------

    def claim(self, host: str, lease_seconds: float) -> Claim | None:
        """The model that has been queued for longest, running from now on; None when none is queued.

        No two callers get the same. Models that others are just claiming are passed over, where the database can.
        """
        oldest = (
            select(Model.id, Model.attempt)
            .where(Model.status == Status.QUEUED)
            .order_by(Model.queued_at, Model.id)
            .limit(1)
            .with_for_update(skip_locked=True)
            .with_hint(Model, "FORCE INDEX (model_queue)", "mysql")  # or else it might lock all that are queued
        )

        def work(connection: Connection) -> Claim | None:
            row = connection.execute(oldest).one_or_none()
            if row is None:
                return None
            claim = Claim(row.id, row.attempt + 1)
            values = _NO_WORKER | {"status": Status.RUNNING, "attempt": claim.attempt, "worker_host": host}
            guard = [Model.id == row.id, Model.status == Status.QUEUED, Model.attempt == row.attempt]
            claimed = _update(connection, guard, values | {"lease_until": utc_in(lease_seconds)})
            return claim if claimed else None

        return self.database.write(work)

    def running(self, host: str) -> list[ModelRecord]:
        """The models that were claimed on a host and run, newest first."""
        mine = [Model.status == Status.RUNNING, Model.worker_host == host]
        return self.database.read(lambda connection: listing.fitting(connection, *mine))

    def expired(self) -> list[Claim]:
        """The claims whose leases have run out."""
        late = select(Model.id, Model.attempt).where(Model.status == Status.RUNNING, Model.lease_until < utc_now())
        return self.database.read(lambda connection: [Claim(*row) for row in connection.execute(late)])

    def reclaim(self, claim: Claim, why: str, *, only_expired: bool = False) -> bool:
        """Take a model back from a worker that is dead; `why` becomes a line of its log. False: it was not its own.

        It is queued again; or stopped, if a user asked for that; or failed, with `why` as its error, when three
        workers have died in a row without any progress. With `only_expired`, a worker that has renewed its lease in
        the meantime keeps it.
        """

        def work(connection: Connection) -> bool:
            still = [*_fence(claim), Model.lease_until < utc_now()] if only_expired else _fence(claim)
            row = connection.execute(select(Model.deaths, Model.stop_requested).where(*still).with_for_update()).first()
            if row is None:
                return False
            values: dict[str, Any] = {"status": Status.QUEUED, "deaths": row.deaths + 1}
            if row.stop_requested:
                values |= {"status": Status.STOPPED, "finished_at": utc_now()}
            elif row.deaths + 1 >= DEATHS:
                values |= {"status": Status.FAILED, "finished_at": utc_now(), "error": _storable(why)}
            _update(connection, _fence(claim), _NO_WORKER | values)
            _add_line(connection, claim.model_id, why)
            return True

        return self.database.write(work)

    def begin(self, claim: Claim, host: str, pid: int, lease_seconds: float) -> ModelRecord:
        """A worker's first word: the model that it works on. Raises Fenced if it is another's by now."""
        values = {
            "worker_host": host,
            "worker_pid": pid,
            "lease_until": utc_in(lease_seconds),
            "started_at": func.coalesce(Model.started_at, utc_now()),
        }

        def work(connection: Connection) -> ModelRecord:
            if not _update(connection, _fence(claim), values):
                raise _fenced(claim)
            return listing.one(connection, claim.model_id)

        return self.database.write(work)

    def deliver(self, claim: Claim, delivery: Delivery, lease_seconds: float) -> int:
        """Store what a worker has to say, and renew its lease; return `stop_requested`.

        Raises Fenced if the model is another's by now, and then stores nothing.
        """

        def work(connection: Connection) -> int:
            if not _deliver(connection, claim, delivery, {"lease_until": utc_in(lease_seconds)}):
                raise _fenced(claim)
            wanted = select(Model.stop_requested).where(Model.id == claim.model_id)
            return connection.execute(wanted).scalar_one()

        return self.database.write(work)

    def finish(self, claim: Claim, status: Status, delivery: Delivery, error: str | None = None) -> None:
        """A worker's last word: its model is complete, stopped or failed. Raises Fenced if it is another's by now."""
        if status not in (Status.COMPLETE, Status.STOPPED, Status.FAILED):
            raise ValueError(f"a training does not end {status}")
        values = {"status": status, "finished_at": utc_now(), "error": None if error is None else _storable(error)}
        self.database.write(lambda connection: _leave(connection, claim, delivery, values, (status,)))

    def release(self, claim: Claim, delivery: Delivery) -> None:
        """A worker's last word before a shutdown: its model goes back to its old place in the queue.

        If a user asked it to stop meanwhile, it is stopped. Raises Fenced if the model is another's by now.
        """

        def work(connection: Connection) -> None:
            wanted = select(Model.stop_requested).where(*_fence(claim)).with_for_update()
            stopped = {"status": Status.STOPPED, "finished_at": utc_now()}
            values = stopped if connection.scalar(wanted) else {"status": Status.QUEUED}
            _leave(connection, claim, delivery, values, (Status.QUEUED, Status.STOPPED))

        self.database.write(work)

    def supervisor_alive(self, id: str, host: str, pid: int, max_running: int) -> None:
        """Say that a supervisor is there."""
        row = {"id": id, "host": host, "pid": pid, "max_running": max_running}

        def work(connection: Connection) -> None:
            _upsert(connection, Supervisor, [row | {"seen_at": _now(connection)}])

        self.database.write(work)

    def supervisor_gone(self, id: str) -> None:
        """Say that a supervisor has ended. Those that nothing was heard of for a day are forgotten, too."""
        gone = or_(Supervisor.id == id, Supervisor.seen_at < utc_in(-86400))
        self.database.write(lambda connection: connection.execute(delete(Supervisor).where(gone)))

    def supervisors(self, within_seconds: float) -> list[SupervisorRecord]:
        """The supervisors that were heard of within some seconds."""
        columns = Supervisor.__table__.columns
        seen = select(*columns).where(Supervisor.seen_at > utc_in(-within_seconds)).order_by(Supervisor.id)
        return self.database.read(
            lambda connection: [SupervisorRecord(**row._mapping) for row in connection.execute(seen)]
        )

    def _change(self, id: str, action: str | None, values: dict[str, Any]) -> ModelRecord:
        return self.database.write(lambda connection: _change(connection, id, action, values))

    def _rows(self, id: str, query: Any) -> Sequence[Row[Any]]:
        """The rows of something that a model has."""

        def work(connection: Connection) -> Sequence[Row[Any]]:
            rows = connection.execute(query).all() if listing.ID.fullmatch(id) else []
            if not rows:
                listing.one(connection, id)  # raises
            return rows

        return self.database.read(work)


# -- statements that need a transaction ------------------------------------------------------------------------------


def _next_id(connection: Connection) -> tuple[str, int, datetime]:
    """An id above all others, its stretch, and the time. Whoever makes a model waits here for others who do."""
    first = {"id": 1, "models": 1, "last_id": "0" * 26}
    _upsert(connection, Counter, [first], {"models": Counter.models + 1})
    row = connection.execute(select(Counter.models, Counter.last_id, utc_now().label("now"))).one()
    id = _ulid(row.now, row.last_id)
    connection.execute(update(Counter).values(last_id=id))
    return id, (row.models - 1) // STRETCH, row.now


def _update(connection: Connection, conditions: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> bool:
    """Whether there was a model that met the conditions, and was changed.

    `values` must not be computed from columns that it changes: MySQL would take the new values.
    """
    change = update(Model).where(*conditions).values(**values, updated_at=utc_now())
    return connection.execute(change).rowcount == 1


def _change(connection: Connection, id: str, action: str | None, values: Mapping[str, Any]) -> ModelRecord:
    """The model after the change. Raises InvalidTransition if the action cannot be done with it in its status."""
    allowed = [] if action is None else [Model.status.in_(ALLOWED[action])]
    changed = listing.ID.fullmatch(id) and _update(connection, [Model.id == id, *allowed], values)
    record = listing.one(connection, id)
    if not changed:
        raise refusal(str(action), record.name, record.status)
    return record


def _enqueue(
    connection: Connection,
    record: ModelRecord,
    action: str,
    options: Mapping[str, Any] | None,
    values: Mapping[str, Any],
) -> ModelRecord:
    if record.status in ALLOWED[action] and record.corpus is None:
        raise InvalidTransition(f"{record.name!r} has no text to learn; fork it and give the fork one")
    given = {} if options is None else {"options": dict(options)}
    fresh = {"queued_at": utc_now(), "started_at": None, "finished_at": None, "error": None, "deaths": 0}
    return _change(connection, record.id, action, {"status": Status.QUEUED, **_NO_WORKER, **fresh, **given, **values})


def _check_queue(connection: Connection, record: ModelRecord, limit: int | None) -> None:
    """Raises QuotaExceeded if `limit` models of the owner are queued or running. One of the owner's asks at a time."""
    if limit is None:
        return
    _open_account(connection, record.owner)
    connection.execute(select(Account.owner).where(Account.owner == record.owner).with_for_update())
    active = select(Model.id).where(Model.owner == record.owner, Model.status.in_(ACTIVE))
    if listing.count(connection, active) >= limit:
        raise QuotaExceeded(f"{limit:,} trainings may be queued or running; wait until one ends, or stop one")


def _open_account(connection: Connection, owner: str) -> None:
    row = {"owner": owner, "text_bytes": 0, "minute": 0, "generations": 0}
    _upsert(connection, Account, [row], {"owner": Account.owner})


def _text_bytes(connection: Connection, owner: str) -> int:
    return connection.scalar(select(Account.text_bytes).where(Account.owner == owner)) or 0


def _count_text(connection: Connection, owner: str, more: int, limit: int | None) -> None:
    """Count bytes of text, or count them no longer. Raises QuotaExceeded if there were more than `limit` of them."""
    _open_account(connection, owner)
    room = [] if limit is None or more <= 0 else [Account.text_bytes <= limit - more]
    total = case((Account.text_bytes > -more, Account.text_bytes + more), else_=0)
    if not connection.execute(update(Account).where(Account.owner == owner, *room).values(text_bytes=total)).rowcount:
        used = _text_bytes(connection, owner)
        raise QuotaExceeded(
            f"texts may have {limit:,} bytes together, and yours have {used:,}: these {more:,} more are too many; "
            "delete a model to make room"
        )


def _fence(claim: Claim) -> list[ColumnElement[bool]]:
    """What holds as long as the claim does."""
    return [Model.id == claim.model_id, Model.status == Status.RUNNING, Model.attempt == claim.attempt]


def _fenced(claim: Claim) -> Fenced:
    return Fenced(f"the model {claim.model_id} is no longer that of attempt {claim.attempt}")


def _deliver(connection: Connection, claim: Claim, delivery: Delivery, values: Mapping[str, Any]) -> bool:
    """Store a delivery, once or again, with other values of its model. False: the claim does not hold any more."""
    fields = _checked(delivery.fields)
    progress = {"deaths": 0} if delivery.metrics or "progress" in fields else {}
    if not _update(connection, _fence(claim), {**fields, **progress, **values}):  # this locks the model for the rest
        return False
    id, now = claim.model_id, _now(connection)
    lines = [
        {"model_id": id, "position": position, "created_at": now, "chunk": _storable(text)}
        for position, text in delivery.lines
    ]
    metrics = [{"model_id": id, **_finite(vars(metric))} for metric in delivery.metrics]
    samples = [{"model_id": id, "step": step, "text": _storable(text)} for step, text in delivery.samples]
    _upsert(connection, Log, lines, {"position": Log.position})  # a line that is there already stays as it is
    _upsert(connection, schema.Metric, metrics)
    _upsert(connection, schema.Sample, samples)
    return True


def _leave(
    connection: Connection,
    claim: Claim,
    delivery: Delivery,
    values: Mapping[str, Any],
    statuses: tuple[Status, ...],
) -> None:
    """Deliver for the last time. It may be called again, when the first commit was cut in flight. Raises Fenced."""
    if _deliver(connection, claim, delivery, _NO_WORKER | dict(values)):
        return
    record = listing.one(connection, claim.model_id)
    if record.attempt != claim.attempt or record.status not in statuses:
        raise _fenced(claim)


def _add_line(connection: Connection, id: str, text: str) -> None:
    """Add a line to a log, whose model is locked."""
    line = {"model_id": id, "position": _last_position(connection, id) + 1, "chunk": _storable(text)}
    connection.execute(insert(Log).values(**line, created_at=utc_now()))


def _last_position(connection: Connection, id: str) -> int:
    last = connection.scalar(select(func.max(Log.position)).where(Log.model_id == id))
    return -1 if last is None else last


def _now(connection: Connection) -> datetime:
    return connection.execute(select(utc_now())).scalar_one()


def _upsert(
    connection: Connection,
    table: type[schema.Base],
    rows: list[dict[str, Any]],
    change: Mapping[str, Any] | None = None,
) -> None:
    """Insert rows; where one with the same key is there, change that, by default to the new one."""
    if not rows:
        return
    keys = [column.name for column in table.__table__.primary_key]
    others = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "mysql":
        in_mysql = mysql.insert(table)
        new = change or {name: in_mysql.inserted[name] for name in others}
        connection.execute(in_mysql.on_duplicate_key_update(new), rows)
    else:
        in_sqlite = sqlite.insert(table)
        new = change or {name: in_sqlite.excluded[name] for name in others}
        connection.execute(in_sqlite.on_conflict_do_update(index_elements=keys, set_=new), rows)


# -- values ----------------------------------------------------------------------------------------------------------


def _ulid(now: datetime, last: str) -> str:
    """A ULID of that time, or the one after `last` if that is no older."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    previous = sum(_DIGITS.index(digit) << 5 * place for place, digit in enumerate(reversed(last)))
    if number >> 80 <= previous >> 80:
        number = previous + 1
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(26)))


def _checked_name(name: str) -> str:
    name = name.strip()
    problem = ""
    if not 0 < len(name) <= NAME_LENGTH:
        problem = f"has 1 to {NAME_LENGTH} characters, not {len(name):,}"
    elif any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        problem = "is one line, without control characters"
    if problem:
        raise InvalidOptions(f"name: {problem}", {"name": problem})
    return name


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(fields) - DELIVERED
    if unknown:
        raise ValueError(f"a worker does not set {', '.join(sorted(unknown))}")
    return _finite(fields)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Losses may be infinite or no number, which databases do not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def _storable(text: str) -> str:
    """Lone surrogates, that UTF-8 cannot hold, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
