"""What a worker has to say and has not yet delivered, in order and bounded in memory.

It knows lines and their positions, metrics, samples and figures. It does not know the database, nor what an event is.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace
from typing import Any

from charrnn.jobs.records import Delivery, Metric

MOST_WAITING = 100_000  # lines, and as many metrics: some 70 MB
MOST_DELIVERED = 2_000  # of each at a time, so that a delivery takes well under a lease


class Outbox:
    """Filled by one thread and emptied by another.

    While more waits than there is room for, what can be spared is left out, and a line says how much of it; no line
    that was given a position is ever lost.
    """

    def __init__(self, position: int) -> None:
        """`position` is that of the first line."""
        self.position = position
        self.lock = threading.Lock()
        self.lines: deque[tuple[int, str]] = deque()
        self.metrics: dict[int, Metric] = {}  # by step
        self.samples: dict[int, str] = {}  # by step
        self.fields: dict[str, Any] = {}
        self.left_out = 0
        self.last_metric = Metric(-1)
        self.taken: Delivery | None = None

    def line(self, text: str, *, can_be_spared: bool = False) -> None:
        """Add a line to the log."""
        with self.lock:
            if can_be_spared and len(self.lines) >= MOST_WAITING:
                self.left_out += 1
                return
            if self.left_out:
                self._append(f"note: {self.left_out:,} lines are left out here: the database was away for too long")
                self.left_out = 0
            self._append(text)

    def _append(self, text: str) -> None:
        self.lines.append((self.position, text))
        self.position += 1

    def metric(self, step: int, **values: Any) -> None:
        """Add a point to the curves, or values to the last one if it is of the same step."""
        with self.lock:
            before = self.last_metric if self.last_metric.step == step else Metric(step)
            self.last_metric = replace(before, **values)
            if step in self.metrics or len(self.metrics) < MOST_WAITING:
                self.metrics[step] = self.last_metric

    def sample(self, step: int, text: str) -> None:
        """Add what the model writes at a step."""
        with self.lock:
            self.samples[step] = text

    def set(self, **fields: Any) -> None:
        """Set fields of the model; the newest value is delivered."""
        with self.lock:
            self.fields |= fields

    def take(self) -> Delivery:
        """What is to be delivered next: the same again until it was `delivered`."""
        with self.lock:
            if self.taken is None:
                self.taken = Delivery(
                    [self.lines.popleft() for _ in range(min(MOST_DELIVERED, len(self.lines)))],
                    [self.metrics.pop(step) for step in [*self.metrics][:MOST_DELIVERED]],
                    [(step, self.samples.pop(step)) for step in [*self.samples][:MOST_DELIVERED]],
                    self.fields,
                )
                self.fields = {}
            return self.taken

    def delivered(self) -> None:
        """What was taken has arrived."""
        with self.lock:
            self.taken = None

    @property
    def backlog(self) -> bool:
        """Whether more waits than what is taken."""
        with self.lock:
            return bool(self.lines or self.metrics or self.samples or self.fields)
