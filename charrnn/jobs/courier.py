"""Delivers what a worker has to say about every second, which renews its lease, and brings back who asked to stop.

It knows the store, and that it may be away: then it tries again, and nothing is lost or doubled. It does not know what
is trained, nor what becomes of a stop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from charrnn.errors import DatabaseUnavailable
from charrnn.jobs.outbox import Outbox
from charrnn.jobs.records import Claim
from charrnn.jobs.store import Store

DELIVER_EVERY = 1.0  # seconds
LONGEST_PAUSE = 2.0  # seconds between two tries to reach the database
LOOK_EVERY = 0.1  # seconds


class Courier:
    """A thread that delivers, for as long as the context lasts. Any thread may ask it what is known."""

    def __init__(
        self, store: Store, claim: Claim, outbox: Outbox, lease_seconds: float, look: Callable[[], None]
    ) -> None:
        """`look` is called ten times a second, from the thread."""
        self.store, self.claim, self.outbox, self.lease_seconds = store, claim, outbox, lease_seconds
        self.look = look
        self.stops = 0  # how often somebody asked to stop
        self.error: Exception | None = None  # why nothing is delivered any more
        self.arrived_fields: set[str] = set()  # that the model's row has by now
        self._delivering = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="charrnn-courier", daemon=True)

    def __enter__(self) -> Courier:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended the deliveries, Fenced for one, if something did."""
        if self.error is not None:
            raise self.error

    def flush(self) -> None:
        """Deliver all that waits, unless the database is away. Raises Fenced if the model is another worker's."""
        while self._deliver() and self.outbox.backlog and self.error is None:
            pass
        self.check()

    def _run(self) -> None:
        pause, last = DELIVER_EVERY, time.monotonic()
        while not self._ended.wait(LOOK_EVERY):
            self.look()
            if time.monotonic() - last < pause or self.error is not None:
                continue
            if self._deliver():
                pause = 0.0 if self.outbox.backlog else DELIVER_EVERY
            else:
                pause = min(LONGEST_PAUSE, max(2 * pause, LOOK_EVERY))
            last = time.monotonic()

    def _deliver(self) -> bool:
        """Deliver what waits. False when the database is away."""
        with self._delivering:
            if self.error is not None:
                return True
            delivery = self.outbox.take()
            try:
                stops = self.store.deliver(self.claim, delivery, self.lease_seconds)
            except DatabaseUnavailable:
                return False
            except Exception as error:  # Fenced, or something that no second try would deliver either
                self.error = error
                return True
            self.outbox.delivered()
            self.arrived_fields |= delivery.fields.keys()
            self.stops = max(self.stops, stops)
            return True
