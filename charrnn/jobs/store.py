"""Models in the database, their logs, metrics and samples, the queue and the quotas: the one door to all of it.

It knows who may change what when. It does not know processes or files, nor who a user is.

Whatever a worker writes is conditional on its claim: the attempt that it was given. Time is always the database's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, case, delete, func, insert, or_, select

from charrnn.errors import InvalidOptions, InvalidTransition
from charrnn.jobs import accounts, claims, following, listing, schema
from charrnn.jobs.database import Database
from charrnn.jobs.records import (
    NO_LIMIT,
    Claim,
    CorpusFacts,
    Delivery,
    Glance,
    Limits,
    LogLine,
    Metric,
    ModelRecord,
    News,
    Page,
    Position,
    Sample,
    SupervisorRecord,
    Turn,
)
from charrnn.jobs.schema import Log, Model, Supervisor, utc_in, utc_now
from charrnn.jobs.status import ALLOWED, Status, refusal
from charrnn.jobs.writing import change_model, next_id, now, storable, upsert

DEATHS = 3  # workers that died in a row, without any progress, after which a model has failed


class Store:
    """Models, what they have to show, and who works on them.

    Every method raises DatabaseUnavailable when the database does not answer; it may have happened all the same. What
    workers and supervisors call may then be called again: to do it twice is the same as once. So is `enqueue`, and
    whatever sets something. Methods that take the id of one model raise ModelNotFound.
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
        origin: str | None = None,
        max_models: Limits = NO_LIMIT,
    ) -> ModelRecord:
        """A new model: a draft, or ready with a corpus. The name is one line of at most 200 characters.

        With an `origin`, what the model uses is charged to that account too. Raises QuotaExceeded if there were more
        than `max_models`.
        """
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
            id, stretch, moment = next_id(connection)
            accounts.check_models(connection, owner, origin, max_models)
            moments = {"created_at": moment, "updated_at": moment}
            connection.execute(insert(Model).values(id=id, stretch=stretch, **moments, **values))
            if origin is not None:
                accounts.set_origin(connection, id, origin)
            if corpus:
                accounts.count_text(connection, owner, origin, corpus.bytes, NO_LIMIT)
            return listing.one(connection, id)

        return self.database.write(work)

    def get(self, id: str) -> ModelRecord:
        """The model with that id."""
        return self.database.read(lambda connection: listing.one(connection, id))

    def find(self, text: str, owner: str | None = None) -> list[ModelRecord]:
        """The model with that id, or else the models of that name, newest first, at most 20; of one owner, or of all.

        Names are compared without regard to case and width.
        """
        if storable(text) != text:
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
        owner, prefix = (text if text is None else storable(text) for text in (owner, prefix))
        return self.database.read(lambda connection: listing.page(connection, owner, status, prefix, after, limit))

    def rename(self, id: str, name: str) -> ModelRecord:
        """The model under another name, which is one line of at most 200 characters."""
        return self._change(id, None, {"name": name, "name_key": listing.name_key(name)})

    def set_options(self, id: str, options: Mapping[str, Any]) -> ModelRecord:
        """The model with other training options. Raises InvalidTransition while it is queued or running."""
        return self._change(id, "set_options", {"options": dict(options)})

    def set_sampling(self, id: str, sampling: Mapping[str, Any]) -> ModelRecord:
        """The model with other sampling options."""
        return self._change(id, None, {"sampling": dict(sampling)})

    def set_corpus(
        self, id: str, facts: CorpusFacts, *, limit: Limits = NO_LIMIT, instead_of: CorpusFacts | None = None
    ) -> ModelRecord:
        """The model with a text, ready. Its bytes count against the owner's quota, those of a text before do no longer.

        Raises InvalidTransition once the model has learned something, or if its text is not `instead_of` any more, and
        QuotaExceeded if all texts together then had more than `limit` bytes.
        """
        values = {"status": Status.READY, "corpus": facts.to_json(), "corpus_bytes": facts.bytes}

        def work(connection: Connection) -> ModelRecord:
            before = listing.one(connection, id, lock=True)
            if before.checkpoint is not None or before.model_file is not None:
                raise refusal("set_corpus", before.name, before.status)
            if instead_of is not None and before.corpus != instead_of:
                raise InvalidTransition(f"{before.name!r} was given another text meanwhile; try again")
            origin = accounts.origin_of(connection, id)
            accounts.count_text(connection, before.owner, origin, facts.bytes - before.corpus_bytes, limit)
            return _change(connection, id, "set_corpus", values)

        return self.database.write(work)

    def set_model(self, id: str, model_file: str, fields: Mapping[str, Any] | None = None) -> ModelRecord:
        """The draft as a complete model: one that was imported. Raises InvalidTransition if it is no draft."""
        values = {"status": Status.COMPLETE, "finished_at": utc_now(), **claims.delivered(fields or {})}
        return self._change(id, "set_model", values | {"model_file": model_file})

    def delete(self, id: str) -> ModelRecord:
        """The model as it was; it is gone now, with its log, metrics and samples. Its text's bytes are given back.

        Raises InvalidTransition while it is queued or running.
        """

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id, lock=True)
            origin = accounts.origin_of(connection, id)
            allowed = Model.status.in_(ALLOWED["delete"])
            if not connection.execute(delete(Model).where(Model.id == id, allowed)).rowcount:
                raise refusal("delete", record.name, record.status)
            accounts.count_text(connection, record.owner, origin, -record.corpus_bytes, NO_LIMIT)
            return record

        return self.database.write(work)

    # -- what users ask for ------------------------------------------------------------------------------------------

    def enqueue(
        self, id: str, *, options: Mapping[str, Any] | None = None, max_queued: Limits = NO_LIMIT
    ) -> ModelRecord:
        """The model, queued; unchanged if it is queued or running already. `options` take the place of its own.

        Raises InvalidTransition when it has no text, QuotaExceeded when `max_queued` are queued or running.
        """

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id, lock=True)
            if record.active:
                return record
            accounts.check_queue(connection, record, max_queued)
            begins_anew = {"progress": 0.0} if record.status is Status.COMPLETE else {}
            return _enqueue(connection, record, "enqueue", options, begins_anew)

        return self.database.write(work)

    def start_over(
        self,
        id: str,
        *,
        options: Mapping[str, Any] | None = None,
        corpus: CorpusFacts | None = None,
        max_queued: Limits = NO_LIMIT,
    ) -> ModelRecord:
        """The model, queued to be trained from its first step: all that it has learned is forgotten, its log stays.

        `corpus`: the same text with other ids, for options that tell other characters apart. Raises what `enqueue`
        does, and InvalidTransition when it is queued or running.
        """
        forgotten: dict[str, Any] = dict.fromkeys(claims.DELIVERED) | {"step": 0, "seconds": 0}
        if corpus is not None:
            forgotten["corpus"] = corpus.to_json()

        def work(connection: Connection) -> ModelRecord:
            record = listing.one(connection, id, lock=True)
            if record.status in ALLOWED["start_over"]:
                accounts.check_queue(connection, record, max_queued)
            record = _enqueue(connection, record, "start_over", options, forgotten)
            for table in (schema.Metric, schema.Sample):
                connection.execute(delete(table).where(table.model_id == id))
            claims.add_line(connection, id, "started over")
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
                change_model(connection, [Model.id == id, Model.status == status], running)
            elif status == Status.QUEUED:
                change_model(connection, [Model.id == id, Model.status == status], queued)
            return listing.one(connection, id)

        return self.database.write(work)

    def places(self, ids: Collection[str]) -> dict[str, int]:
        """The places in the queue of those that wait there: 1 for the model that is next, up to 1,000."""
        return self.database.read(lambda connection: listing.places(connection, ids)) if ids else {}

    def glances(self, ids: Collection[str]) -> dict[str, Glance]:
        """When models were changed last, and their places in the queue; those that are not there are left out."""
        return self.database.read(lambda connection: listing.glances(connection, ids))

    def active(self) -> list[Turn]:
        """What is running and what is queued: of either the first 1,000 in the order in which it was queued."""

        def work(connection: Connection) -> list[Turn]:
            return [turn for status in (Status.RUNNING, Status.QUEUED) for turn in listing.by_turn(connection, status)]

        return self.database.read(work)

    def news(self, id: str, after: Position, limit: int) -> News:
        """The model as it is now and what has happened after a position, in order, at most `limit` of each kind.

        It is one question to the database, and a second one while the model waits in the queue.
        """
        return self.database.read(lambda connection: following.news(connection, id, after, limit))

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
        return self.database.read(lambda connection: accounts.text_bytes(connection, owner))

    def text_room(
        self, limit: Limits, owner: str, *, origin: str | None = None, instead_of: ModelRecord | None = None
    ) -> int | None:
        """How many bytes another text of an owner may have, or one in the place of this model's; None: any number."""

        def work(connection: Connection) -> int | None:
            if instead_of is None:
                return accounts.text_room(connection, owner, origin, limit)
            charged = instead_of.owner, accounts.origin_of(connection, instead_of.id)
            room = accounts.text_room(connection, *charged, limit)
            return None if room is None else room + instead_of.corpus_bytes

        room = self.database.read(work)
        return None if room is None else max(0, room)

    def count_generation(self, owner: str, limit: Limits = NO_LIMIT, *, origin: str | None = None) -> None:
        """Count a generation in this minute. Raises QuotaExceeded if there have been `limit`."""
        if limit == NO_LIMIT:
            return
        self.database.write(lambda connection: accounts.count_generation(connection, owner, origin, limit))

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
            values = claims.NO_WORKER | {"status": Status.RUNNING, "attempt": claim.attempt, "worker_host": host}
            guard = [Model.id == row.id, Model.status == Status.QUEUED, Model.attempt == row.attempt]
            claimed = change_model(connection, guard, values | {"lease_until": utc_in(lease_seconds)})
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
            still = [*claims.fence(claim), Model.lease_until < utc_now()] if only_expired else claims.fence(claim)
            row = connection.execute(select(Model.deaths, Model.stop_requested).where(*still).with_for_update()).first()
            if row is None:
                return False
            values: dict[str, Any] = {"status": Status.QUEUED, "deaths": row.deaths + 1}
            if row.stop_requested:
                values |= {"status": Status.STOPPED, "finished_at": utc_now()}
            elif row.deaths + 1 >= DEATHS:
                values |= {"status": Status.FAILED, "finished_at": utc_now(), "error": storable(why)}
            change_model(connection, claims.fence(claim), claims.NO_WORKER | values)
            claims.add_line(connection, claim.model_id, why)
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
            if not change_model(connection, claims.fence(claim), values):
                raise claims.lost(claim)
            return listing.one(connection, claim.model_id)

        return self.database.write(work)

    def deliver(self, claim: Claim, delivery: Delivery, lease_seconds: float) -> int:
        """Store what a worker has to say, and renew its lease; return `stop_requested`.

        Raises Fenced if the model is another's by now, and then stores nothing.
        """

        def work(connection: Connection) -> int:
            if not claims.deliver(connection, claim, delivery, {"lease_until": utc_in(lease_seconds)}):
                raise claims.lost(claim)
            wanted = select(Model.stop_requested).where(Model.id == claim.model_id)
            return connection.execute(wanted).scalar_one()

        return self.database.write(work)

    def finish(self, claim: Claim, status: Status, delivery: Delivery, error: str | None = None) -> None:
        """A worker's last word: its model is complete, stopped or failed. Raises Fenced if it is another's by now."""
        if status not in (Status.COMPLETE, Status.STOPPED, Status.FAILED):
            raise ValueError(f"a training does not end {status}")
        values = {"status": status, "finished_at": utc_now(), "error": None if error is None else storable(error)}
        self.database.write(lambda connection: claims.leave(connection, claim, delivery, values, (status,)))

    def release(self, claim: Claim, delivery: Delivery) -> None:
        """A worker's last word before a shutdown: its model goes back to its old place in the queue.

        If a user asked it to stop meanwhile, it is stopped. Raises Fenced if the model is another's by now.
        """

        def work(connection: Connection) -> None:
            wanted = select(Model.stop_requested).where(*claims.fence(claim)).with_for_update()
            stopped = {"status": Status.STOPPED, "finished_at": utc_now()}
            values = stopped if connection.scalar(wanted) else {"status": Status.QUEUED}
            claims.leave(connection, claim, delivery, values, (Status.QUEUED, Status.STOPPED))

        self.database.write(work)

    def supervisor_alive(self, id: str, host: str, pid: int, max_running: int) -> None:
        """Say that a supervisor is there."""
        row = {"id": id, "host": host, "pid": pid, "max_running": max_running}

        def work(connection: Connection) -> None:
            upsert(connection, Supervisor, [row | {"seen_at": now(connection)}])

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


def _change(connection: Connection, id: str, action: str | None, values: Mapping[str, Any]) -> ModelRecord:
    """The model after the change. Raises InvalidTransition if the action cannot be done with it in its status."""
    allowed = [] if action is None else [Model.status.in_(ALLOWED[action])]
    changed = listing.ID.fullmatch(id) and change_model(connection, [Model.id == id, *allowed], values)
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
    return _change(
        connection, record.id, action, {"status": Status.QUEUED, **claims.NO_WORKER, **fresh, **given, **values}
    )
