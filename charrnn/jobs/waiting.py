"""When what waits in the queue should start: an estimate from what is known of the trainings before it.

It knows budgets, and how many trainings run at a time. It does not know databases.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.jobs.records import Turn
from charrnn.jobs.status import Status

USUAL_MINUTES = 3.0  # of a training without any budget


@dataclass(frozen=True)
class Waiting:
    """A model's place in the queue, from 1, and the seconds until it should start; None: nobody can say."""

    place: int
    seconds: float | None


def waiting(active: Sequence[Turn], at_a_time: int) -> dict[str, Waiting]:
    """Those that wait, by id, as they will be started when `at_a_time` trainings run side by side."""
    running = [turn for turn in active if turn.status == Status.RUNNING]
    queued = sorted((each for each in active if each.queued_at and each.status == Status.QUEUED), key=_order)
    places = [seconds_to_go(turn) for turn in running]  # when each place is free
    places += [0.0] * (max(1, at_a_time) - len(places))
    heapq.heapify(places)
    found = {}
    for place, turn in enumerate(queued, start=1):
        start = heapq.heappop(places)
        heapq.heappush(places, start + seconds_to_go(turn))
        found[turn.id] = Waiting(place, None if math.isinf(start) else start)
    return found


def seconds_to_go(turn: Turn) -> float:
    """How long a training should still take; infinite where its options do not say so."""
    if turn.status == Status.RUNNING and turn.seconds_left is not None:
        return max(0.0, turn.seconds_left)
    minutes = turn.options.get("minutes")
    if minutes is None:
        if any(turn.options.get(name) for name in ("max_steps", "max_epochs", "until_stopped")):
            return math.inf
        minutes = USUAL_MINUTES
    return max(0.0, 60.0 * float(minutes) - turn.seconds)


def _order(turn: Turn) -> tuple[Any, str]:
    return turn.queued_at, turn.id
