"""Budgets and learning rates: how far a training is, and how large its steps are there.

It knows steps, seconds and epochs as numbers. It does not know who counts them.

A training is a list of segments. The first warms up to the peak and falls along a cosine to 5 % of it at its end
(Loshchilov and Hutter 2017, without restarts); each continuation opens another, to half the peak. A segment without
an end holds the peak until someone stops it, and then falls over a short stretch of time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

FLOOR = 0.05  # of the peak, where the cosine ends
CONTINUED = 0.5  # of the peak, where a continuation begins
VALIDATION_SHARE = 0.03  # of the budget, for all validations together
READING_COST = 1 / 3  # of a character that is only read, against one trained on
MOST_VALIDATION, LEAST_VALIDATION = 200_000, 5_000  # characters


@dataclass(frozen=True)
class Position:
    """Where a training is."""

    step: int
    seconds: float


@dataclass(frozen=True)
class Segment:
    """A stretch of training with a budget of its own; ends are totals, counted from the very beginning."""

    start_step: int = 0
    start_seconds: float = 0.0
    end_step: int | None = None
    end_seconds: float | None = None
    peak: float = 1.0  # of the learning rate given
    stop_seconds: float | None = None  # when it was asked to stop, for a segment without an end

    @property
    def endless(self) -> bool:
        return self.end_step is None and self.end_seconds is None

    def progress(self, at: Position) -> float:
        """0 to 1: the largest used fraction of the budgets given. 0 for a segment without an end."""
        fractions = [0.0]
        if self.end_step is not None:
            fractions.append((at.step - self.start_step) / max(1, self.end_step - self.start_step))
        if self.end_seconds is not None:
            fractions.append((at.seconds - self.start_seconds) / max(1e-9, self.end_seconds - self.start_seconds))
        return min(1.0, max(fractions))

    def seconds_left(self, at: Position, seconds_per_step: float) -> float | None:
        """An estimate; None for a segment without an end."""
        left = []
        if self.end_step is not None:
            left.append((self.end_step - at.step) * seconds_per_step)
        if self.end_seconds is not None:
            left.append(self.end_seconds - at.seconds)
        return max(0.0, min(left)) if left else None

    def factor(self, at: Position, schedule: str, warmup_steps: int) -> float:
        """The learning rate at `at`, as a share of the one given."""
        done = at.step - self.start_step
        warm = min(1.0, (done + 1) / (warmup_steps + 1))
        return self.peak * warm * (1.0 if schedule == "constant" else cosine(self.progress(at)))

    def stopped(self, at: Position, decay_seconds: float) -> Segment:
        """What follows when a segment without an end is asked to stop: the same rate, falling to its end."""
        return Segment(self.start_step, at.seconds, None, at.seconds + decay_seconds, self.peak, at.seconds)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def cosine(progress: float) -> float:
    """1 at progress 0, 5 % at progress 1."""
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def decay_seconds(seconds_so_far: float) -> float:
    """How long the rate falls after a stop: 5 % of the time so far, at most 30 seconds."""
    return min(30.0, 0.05 * seconds_so_far)


def validation_marks() -> tuple[float, ...]:
    """The shares of the budget at which the validation part is scored: 1, 2, 5, 10, 20 … 100 %."""
    return (0.01, 0.02, 0.05, *(tenth / 10 for tenth in range(1, 11)))


def validation_sample(characters: float | None) -> int:
    """How many characters a validation may read, so that all of them take at most 3 % of a budget of so many."""
    if characters is None:
        return MOST_VALIDATION
    affordable = VALIDATION_SHARE * characters / READING_COST / len(validation_marks())
    return int(min(MOST_VALIDATION, max(LEAST_VALIDATION, affordable)))


def next_sample_step(step: int) -> int:
    """The first of 1, 2, 5, 10, 20, 50 … beyond `step`."""
    power = 1
    while True:
        for digit in (1, 2, 5):
            if digit * power > step:
                return digit * power
        power *= 10
