"""How figures read on a page. It knows numbers and times, not models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_UNITS = (("year", 365 * 86400), ("month", 30 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60))


def age(moment: datetime, now: datetime | None = None) -> str:
    """How long ago that was: `just now`, `5 minutes ago`, `2 days ago`."""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for unit, length in _UNITS:
        number = int(seconds // length)
        if number >= 1:
            return f"{number} {unit}{'s' * (number > 1)} ago"
    return "just now"


def percent(share: float | None) -> str:
    """A share of 1 in whole per cent, rounded down: what is not finished is not shown as 100 %."""
    return "" if share is None else f"{int(share * 100)} %"


def loss(nats: float | None) -> str:
    """A loss with three decimals."""
    return "" if nats is None else f"{nats:.3f}"


FILTERS: Mapping[str, Callable[..., Any]] = {"age": age, "percent": percent, "loss": loss}
