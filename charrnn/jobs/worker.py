"""Trains one model that was claimed: `python -m charrnn.jobs.worker MODEL_ID ATTEMPT [HOST]`.

It knows the store, the storage and the process that trains. It does not know who started it, nor that anybody shares
its disk or its host.

Everything it writes is its attempt's: rows are written only while the model is, and files under the attempt's number,
to which the model's row is then made to point. Once the model is another worker's, it kills its training and writes
nothing more. SIGTERM saves, and gives the model back to the queue.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from charrnn.errors import CharRNNError, DatabaseUnavailable, Fenced, TrainingFailed
from charrnn.events import Finished
from charrnn.jobs.attempt import Attempt
from charrnn.jobs.courier import LONGEST_PAUSE, LOOK_EVERY, Courier
from charrnn.jobs.outbox import Outbox
from charrnn.jobs.records import Claim, Delivery
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store
from charrnn.lines import one_line
from charrnn.storage import Storage
from charrnn.training.process import TrainingProcess

SAVING_SECONDS = 5.5  # after SIGTERM: what has not been saved by then is not
DELIVERING_SECONDS = 7.5  # after SIGTERM: what has not been delivered by then is not
STUCK_SECONDS = 60.0  # after a second stop: a training that has not ended by then is killed
NICENESS = 10
DONE, FENCED = 0, 3  # exit codes

Answer = TypeVar("Answer")


class Worker:
    """One attempt at training one model, and the orders that come meanwhile."""

    def __init__(self, store: Store, storage: Storage, claim: Claim, *, host: str, lease_seconds: float) -> None:
        self.store, self.storage, self.claim = store, storage, claim
        self.host, self.lease_seconds = host, lease_seconds
        self.leaving_since: float | None = None
        self.process: TrainingProcess | None = None
        self.told_to_leave, self.told_stops, self.told_at = False, 0, 0.0

    def run(self) -> int:
        """Train to the end, and return the exit code of this process."""
        attempt = None
        try:
            record = self._persistently(
                lambda: self.store.begin(self.claim, self.host, os.getpid(), self.lease_seconds)
            )
            position = self._persistently(lambda: self.store.last_position(self.claim.model_id)) + 1
            self.courier = Courier(self.store, self.claim, Outbox(position), self.lease_seconds, self._hand_on)
            attempt = Attempt(self.storage, record, self.courier)
            self._end(*self._train(attempt))
            if self.courier.error is None:
                attempt.delete_what_others_left()
        except Fenced as error:
            print(f"{error}; this worker ends", file=sys.stderr)
            if attempt is not None:
                with suppress(CharRNNError):
                    attempt.withdraw(self.store.get(self.claim.model_id))
            return FENCED
        except DatabaseUnavailable as error:
            print(f"asked to end, and could not say so: {error}", file=sys.stderr)
        return DONE

    def _train(self, attempt: Attempt) -> tuple[Status, str | None]:
        """Train, and say what became of the model, and why it failed. Raises Fenced."""
        with self.courier:
            try:
                return self._status(attempt.run(self._started)), None
            except Fenced:
                raise
            except Exception as error:
                return self._status_after(error)

    def _status(self, finished: Finished) -> Status:
        if finished.reason not in ("interrupted", "stopped"):
            return Status.COMPLETE
        return Status.STOPPED if self.courier.stops else Status.QUEUED

    def _status_after(self, error: Exception) -> tuple[Status, str | None]:
        cause = self.courier.error or error
        if isinstance(cause, Fenced):
            raise cause
        if self.leaving_since is not None and isinstance(cause, TrainingFailed):
            return Status.QUEUED, None  # it had nothing to save yet, or took too long to
        if self._is_stuck() and isinstance(cause, TrainingFailed):
            self.courier.outbox.line("note: the training did not stop and was killed; what it saved last stays")
            return Status.STOPPED, None
        if isinstance(cause, CharRNNError):
            return Status.FAILED, str(cause)
        traceback.print_exception(cause)
        return Status.FAILED, f"{type(cause).__name__}: {cause}"

    def _end(self, status: Status, error: str | None) -> None:
        """Deliver all that waits, and last of all what became of the model."""
        outbox = self.courier.outbox
        if error is not None:
            outbox.line(f"failed: {one_line(error, 1000)}")
        elif status is Status.QUEUED:
            outbox.line("given back to the queue: the worker was asked to end")
        last = Delivery()
        if self.courier.error is None:  # otherwise something waits that cannot be delivered
            while (last := outbox.take()) and outbox.backlog:
                self._persistently(partial(self.store.deliver, self.claim, last, self.lease_seconds))
                outbox.delivered()
        if status is Status.QUEUED:
            self._persistently(lambda: self.store.release(self.claim, last))
        else:
            self._persistently(lambda: self.store.finish(self.claim, status, last, error))

    def _persistently(self, ask: Callable[[], Answer]) -> Answer:
        """The database's answer, however long it is away. Raises DatabaseUnavailable once it is time to leave."""
        pause = LOOK_EVERY
        while True:
            try:
                return ask()
            except DatabaseUnavailable:
                again = time.monotonic() + pause
                while time.monotonic() < again:
                    if self._leaving_for(DELIVERING_SECONDS):
                        raise
                    time.sleep(LOOK_EVERY)
                pause = min(LONGEST_PAUSE, 2 * pause)

    # orders --------------------------------------------------------------------------------------------------------

    def leave(self, *_: object) -> None:
        """Save, give the model back to the queue and end. Safe in a signal handler."""
        if self.leaving_since is None:
            self.leaving_since = time.monotonic()

    def _leaving_for(self, seconds: float) -> bool:
        return self.leaving_since is not None and time.monotonic() - self.leaving_since >= seconds

    def _started(self, process: TrainingProcess) -> None:
        self.process = process

    def _hand_on(self) -> None:
        """Tell the process that trains what it has not been told yet."""
        if self.process is None:
            return
        if self.courier.error is not None or self._leaving_for(SAVING_SECONDS) or self._is_stuck():
            self.process.kill()
        if self.leaving_since is not None and not self.told_to_leave:
            self.told_to_leave = True
            self.process.leave()
        while self.told_stops < self.courier.stops:
            self.told_stops, self.told_at = self.told_stops + 1, time.monotonic()
            self.process.stop()

    def _is_stuck(self) -> bool:
        """Whether it was asked to end at once, and does not."""
        return self.told_stops > 1 and time.monotonic() - self.told_at >= STUCK_SECONDS


def main() -> int:
    """What the supervisor starts. The settings come from the environment."""
    from charrnn.config import Settings
    from charrnn.jobs.database import Database

    os.nice(max(0, NICENESS - os.nice(0)))
    model_id, attempt, host = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or [socket.gethostname()])[0]
    settings = Settings()
    database = Database(settings.database_url.get_secret_value(), settings.database_tls, settings.database_tls_ca)
    worker = Worker(
        Store(database), Storage(settings.storage_url), Claim(model_id, attempt), host=host,
        lease_seconds=settings.lease_seconds,
    )  # fmt: skip
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, worker.leave)
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
