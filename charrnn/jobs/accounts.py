"""What users have used of their quotas: bytes of text, trainings in the queue, generations.

It counts by owner, in the transaction of whatever is counted. It does not know what the limits are.
"""

from __future__ import annotations

import math

from sqlalchemy import Connection, case, or_, select, update

from charrnn.errors import QuotaExceeded
from charrnn.jobs import listing
from charrnn.jobs.records import ModelRecord
from charrnn.jobs.schema import Account, Model
from charrnn.jobs.status import ACTIVE
from charrnn.jobs.writing import now, upsert


def check_queue(connection: Connection, record: ModelRecord, limit: int | None) -> None:
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
    upsert(connection, Account, [row], {"owner": Account.owner})


def text_bytes(connection: Connection, owner: str) -> int:
    """Bytes of all texts of an owner."""
    return connection.scalar(select(Account.text_bytes).where(Account.owner == owner)) or 0


def count_text(connection: Connection, owner: str, more: int, limit: int | None) -> None:
    """Count bytes of text, or count them no longer. Raises QuotaExceeded if there were more than `limit` of them."""
    _open_account(connection, owner)
    room = [] if limit is None or more <= 0 else [Account.text_bytes <= limit - more]
    total = case((Account.text_bytes > -more, Account.text_bytes + more), else_=0)
    if not connection.execute(update(Account).where(Account.owner == owner, *room).values(text_bytes=total)).rowcount:
        used = text_bytes(connection, owner)
        raise QuotaExceeded(
            f"texts may have {limit:,} bytes together, and yours have {used:,}: these {more:,} more are too many; "
            "delete a model to make room"
        )


def count_generation(connection: Connection, owner: str, limit: int) -> None:
    """Count a generation in this minute. Raises QuotaExceeded if there have been `limit`."""
    _open_account(connection, owner)
    moment = now(connection).timestamp()
    minute = int(moment // 60)
    count = (
        update(Account)
        .where(Account.owner == owner, or_(Account.minute != minute, Account.generations < limit))
        .ordered_values(
            (Account.generations, case((Account.minute == minute, Account.generations + 1), else_=1)),
            (Account.minute, minute),  # after its use above: MySQL assigns in order
        )
    )
    if not limit or not connection.execute(count).rowcount:
        seconds = math.ceil(60 - moment % 60)
        raise QuotaExceeded(f"{limit:,} texts may be written in a minute; more in {seconds} s", seconds)
