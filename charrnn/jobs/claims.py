"""What a worker may write as long as its claim holds: deliveries, once or again, and nothing after that.

It knows the tables of what a training says. It does not know how claims are come by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select

from charrnn.errors import Fenced, ModelNotFound
from charrnn.jobs import listing, schema
from charrnn.jobs.records import Claim, Delivery
from charrnn.jobs.schema import Log, Model, utc_now
from charrnn.jobs.status import Status
from charrnn.jobs.writing import change_model, finite, now, storable, upsert

# The fields of a model that its worker, or an import, may set.
DELIVERED = frozenset({
    "step", "progress", "epoch", "loss", "validation_loss", "best_validation_loss", "seconds", "seconds_left",
    "characters_per_second", "checkpoint", "model_file",
})  # fmt: skip

NO_WORKER: dict[str, Any] = {"worker_host": None, "worker_pid": None, "lease_until": None, "stop_requested": 0}


def fence(claim: Claim) -> list[ColumnElement[bool]]:
    """What holds as long as the claim does."""
    return [Model.id == claim.model_id, Model.status == Status.RUNNING, Model.attempt == claim.attempt]


def lost(claim: Claim) -> Fenced:
    """The error of a claim that does not hold any more."""
    return Fenced(f"the model {claim.model_id} is no longer that of attempt {claim.attempt}")


def deliver(connection: Connection, claim: Claim, delivery: Delivery, values: Mapping[str, Any]) -> bool:
    """Store a delivery, once or again, with other values of its model. False: the claim does not hold any more."""
    fields = delivered(delivery.fields)
    progress = {"deaths": 0} if delivery.metrics or "progress" in fields else {}
    if not change_model(connection, fence(claim), {**fields, **progress, **values}):
        return False
    # from here on the model is locked: nobody else writes to its log
    id, moment = claim.model_id, now(connection)
    lines = [
        {"model_id": id, "position": position, "created_at": moment, "chunk": storable(text)}
        for position, text in delivery.lines
    ]
    metrics = [{"model_id": id, **finite(vars(metric))} for metric in delivery.metrics]
    samples = [{"model_id": id, "step": step, "text": storable(text)} for step, text in delivery.samples]
    upsert(connection, Log, lines, {"position": Log.position})  # a line that is there already stays as it is
    upsert(connection, schema.Metric, metrics)
    upsert(connection, schema.Sample, samples)
    return True


def leave(
    connection: Connection,
    claim: Claim,
    delivery: Delivery,
    values: Mapping[str, Any],
    statuses: tuple[Status, ...],
) -> None:
    """Deliver for the last time. It may be called again, when the first commit was cut in flight. Raises Fenced."""
    if deliver(connection, claim, delivery, NO_WORKER | dict(values)):
        return
    try:
        record = listing.one(connection, claim.model_id)
    except ModelNotFound:
        raise lost(claim) from None
    if record.attempt != claim.attempt or record.status not in statuses:
        raise lost(claim)


def add_line(connection: Connection, id: str, text: str) -> None:
    """Add a line to a log, whose model is locked."""
    line = {"model_id": id, "position": last_position(connection, id) + 1, "chunk": storable(text)}
    connection.execute(insert(Log).values(**line, created_at=utc_now()))


def last_position(connection: Connection, id: str) -> int:
    """The position of a log's last line, or -1."""
    last = connection.scalar(select(func.max(Log.position)).where(Log.model_id == id))
    return -1 if last is None else last


def delivered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields as the database can hold them. Raises ValueError for one that a worker has no business with."""
    unknown = set(fields) - DELIVERED
    if unknown:
        raise ValueError(f"a worker does not set {', '.join(sorted(unknown))}")
    return finite(fields)
