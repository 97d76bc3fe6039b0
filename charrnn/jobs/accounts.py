"""What users have used of their quotas: models, bytes of text, trainings in the queue, generations.

It counts by owner, and by origin where a model or a request has one, in the transaction of whatever is counted. It
does not know what the limits are, nor what an origin is.

The accounts of one transaction are always taken in the same order, the one of all origins last: no two wait for each
other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Update, case, insert, or_, select, update

from charrnn.errors import QuotaExceeded
from charrnn.jobs import listing
from charrnn.jobs.records import Limits, ModelRecord
from charrnn.jobs.schema import Account, Model, Origin
from charrnn.jobs.status import ACTIVE
from charrnn.jobs.writing import now, upsert

TOGETHER = "everybody"  # the account of all that has an origin


@dataclass(frozen=True)
class Charged:
    """An account, its limit, and in words what is counted by it."""

    account: str
    limit: int | None
    whose: str  # nothing for the owner's
    models: Select[Any]  # the ids of those that are charged to it


def charged(owner: str, origin: str | None, limits: Limits) -> Iterator[Charged]:
    """Who is charged for what an owner does."""
    yield Charged(owner, limits.owner, "", select(Model.id).where(Model.owner == owner))
    if origin is not None:
        from_there = select(Model.id).join(Origin, Origin.model_id == Model.id)
        yield Charged(origin, limits.origin, " from your address", from_there.where(Origin.origin == origin))
        yield Charged(TOGETHER, limits.together, " of all visitors together", from_there)


def set_origin(connection: Connection, id: str, origin: str) -> None:
    """Remember where a new model comes from."""
    connection.execute(insert(Origin).values(model_id=id, origin=origin))


def origin_of(connection: Connection, id: str) -> str | None:
    """Where a model comes from; None: that is not counted."""
    return connection.scalar(select(Origin.origin).where(Origin.model_id == id))


def check_models(connection: Connection, owner: str, origin: str | None, limits: Limits) -> None:
    """Raises QuotaExceeded if there are as many models as there may be. One at a time makes models."""
    for each in charged(owner, origin, limits):
        if each.limit is not None and _many(connection, each.models, each.limit):
            raise QuotaExceeded(f"there may be {each.limit:,} models{each.whose}: delete one to make room")


def check_queue(connection: Connection, record: ModelRecord, limits: Limits) -> None:
    """Raises QuotaExceeded if as many models as may be are queued or running. One asks at a time."""
    for each in charged(record.owner, origin_of(connection, record.id), limits):
        if each.limit is None:
            continue
        account = select(Account.owner).where(Account.owner == each.account).with_for_update()
        if connection.execute(account).first() is None:
            _open_account(connection, each.account)
            connection.execute(account)
        if _many(connection, each.models.where(Model.status.in_(ACTIVE)), each.limit):
            raise QuotaExceeded(
                f"{each.limit:,} trainings{each.whose} may be queued or running; wait until one ends, or stop one"
            )


def _many(connection: Connection, models: Select[Any], limit: int) -> bool:
    """Whether there are as many; they are not counted any further."""
    return listing.count(connection, models.limit(max(1, limit))) >= limit


def _counted(connection: Connection, account: str, count: Update) -> bool:
    """Whether an account could be changed, which is opened if it is not there."""
    if connection.execute(count).rowcount:
        return True
    _open_account(connection, account)
    return bool(connection.execute(count).rowcount)


def _open_account(connection: Connection, account: str) -> None:
    row = {"owner": account, "text_bytes": 0, "minute": 0, "generations": 0}
    upsert(connection, Account, [row], {"owner": Account.owner})


def text_bytes(connection: Connection, account: str) -> int:
    """Bytes of all texts of an account."""
    return connection.scalar(select(Account.text_bytes).where(Account.owner == account)) or 0


def text_room(connection: Connection, owner: str, origin: str | None, limits: Limits) -> int | None:
    """How many bytes another text may have; None: any number. Less than none, if limits were lowered."""
    limited = {each.account: each.limit for each in charged(owner, origin, limits) if each.limit is not None}
    if not limited:
        return None
    of_each = select(Account.owner, Account.text_bytes).where(Account.owner.in_(limited))
    used: dict[str, int] = {row.owner: row.text_bytes for row in connection.execute(of_each)}
    return min(limit - used.get(account, 0) for account, limit in limited.items())


def count_text(connection: Connection, owner: str, origin: str | None, more: int, limits: Limits) -> None:
    """Count bytes of text, or count them no longer. Raises QuotaExceeded if there were too many of them."""
    for each in charged(owner, origin, limits):
        room = [] if each.limit is None or more <= 0 else [Account.text_bytes <= each.limit - more]
        total = case((Account.text_bytes > -more, Account.text_bytes + more), else_=0)
        count = update(Account).where(Account.owner == each.account, *room).values(text_bytes=total)
        if not _counted(connection, each.account, count):
            used = text_bytes(connection, each.account)
            theirs = f"those{each.whose}" if each.whose else "yours"
            raise QuotaExceeded(
                f"texts{each.whose} may have {each.limit:,} bytes together, and {theirs} have {used:,}: "
                f"these {more:,} more are too many; delete a model to make room"
            )


def count_generation(connection: Connection, owner: str, origin: str | None, limits: Limits) -> None:
    """Count a generation in this minute. Raises QuotaExceeded, and counts nothing, if there have been enough."""
    moment = now(connection).timestamp()
    for each in charged(owner, origin, limits):
        if each.limit is not None:
            _count_generation(connection, each, each.limit, moment)


def _count_generation(connection: Connection, each: Charged, limit: int, moment: float) -> None:
    minute = int(moment // 60)
    count = (
        update(Account)
        .where(Account.owner == each.account, or_(Account.minute != minute, Account.generations < limit))
        .ordered_values(
            (Account.generations, case((Account.minute == minute, Account.generations + 1), else_=1)),
            (Account.minute, minute),  # after its use above: MySQL assigns in order
        )
    )
    if not limit or not _counted(connection, each.account, count):
        seconds = math.ceil(60 - moment % 60)
        raise QuotaExceeded(f"{limit:,} texts{each.whose} may be written in a minute; more in {seconds} s", seconds)
