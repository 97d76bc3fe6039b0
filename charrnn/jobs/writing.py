"""What every writing of the store is made of: guarded updates, upserts, new ids, and values that databases can hold.

It knows how SQLite and MySQL differ in SQL. It does not know what is written when.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, update
from sqlalchemy.dialects import mysql, sqlite

from charrnn.jobs.schema import STRETCH, Base, Counter, Model, utc_now

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's, of 5 bits each


def change_model(connection: Connection, conditions: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> bool:
    """Whether there was a model that met the conditions, and was changed.

    `values` must not be computed from columns that it changes: MySQL would take the new values.
    """
    change = update(Model).where(*conditions).values(**values, updated_at=utc_now())
    return connection.execute(change).rowcount == 1


def upsert(
    connection: Connection,
    table: type[Base],
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


def now(connection: Connection) -> datetime:
    """The database's time."""
    return connection.execute(select(utc_now())).scalar_one()


def next_id(connection: Connection) -> tuple[str, int, datetime]:
    """An id above all others, its stretch, and the time. Whoever makes a model waits here for others who do."""
    first = {"id": 1, "models": 1, "last_id": "0" * 26}
    upsert(connection, Counter, [first], {"models": Counter.models + 1})
    row = connection.execute(select(Counter.models, Counter.last_id, utc_now().label("now"))).one()
    id = _ulid(row.now, row.last_id)
    connection.execute(update(Counter).values(last_id=id))
    return id, (row.models - 1) // STRETCH, row.now


def _ulid(now: datetime, last: str) -> str:
    """A ULID of that time, or the one after `last` if that is no older."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    previous = sum(_DIGITS.index(digit) << 5 * place for place, digit in enumerate(reversed(last)))
    if number >> 80 <= previous >> 80:
        number = previous + 1
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(26)))


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Losses may be infinite or no number, which databases do not have."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()
    }


def storable(text: str) -> str:
    """Lone surrogates, that UTF-8 cannot hold, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
