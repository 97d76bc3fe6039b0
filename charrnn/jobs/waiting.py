"""When what waits in the queue should start: an estimate from what is known of the trainings before it.

It knows budgets, and how many trainings run at a time. It does not know databases.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.jobs.records import ModelRecord
from charrnn.jobs.status import Status

USUAL_MINUTES = 3.0  # of a training without any budget


@dataclass(frozen=True)
class Waiting:
    """A model's place in the queue, from 1, and the seconds until it should start; None: nobody can say."""

    place: int
    seconds: float | None


def waiting(active: Sequence[ModelRecord], at_a_time: int) -> dict[str, Waiting]:
    """Those that wait, by id, as they will be started when `at_a_time` trainings run side by side."""
    running = [record for record in active if record.status == Status.RUNNING]
    queued = sorted((each for each in active if each.queued_at and each.status == Status.QUEUED), key=_turn)
    places = [seconds_to_go(record) for record in running]  # when each place is free
    places += [0.0] * (max(1, at_a_time) - len(places))
    heapq.heapify(places)
    found = {}
    for place, record in enumerate(queued, start=1):
        start = heapq.heappop(places)
        heapq.heappush(places, start + seconds_to_go(record))
        found[record.id] = Waiting(place, None if math.isinf(start) else start)
    return found


def seconds_to_go(record: ModelRecord) -> float:
    """How long a training should still take; infinite where its options do not say so."""
    if record.status == Status.RUNNING and record.seconds_left is not None:
        return max(0.0, record.seconds_left)
    options: Mapping[str, Any] = record.options
    minutes = options.get("minutes")
    if minutes is None:
        if any(options.get(name) for name in ("max_steps", "max_epochs", "until_stopped")):
            return math.inf
        minutes = USUAL_MINUTES
    return max(0.0, 60.0 * float(minutes) - record.seconds)


def _turn(record: ModelRecord) -> tuple[Any, str]:
    return record.queued_at, record.id
