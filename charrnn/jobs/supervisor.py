"""Claims queued models and starts a worker for each, at most so many at a time; takes models back from dead workers.

It knows the store and processes of this host. It does not know what a worker does.

Workers do not need it: when it is killed they go on, and the next supervisor finds them. It takes a model back at once
when a worker that it started is dead, and otherwise only when the lease has run out although its own connection to
the database has been good for as long as a lease lasts: while the database is away, no worker can renew one.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from contextlib import suppress
from pathlib import Path

from charrnn.child import environment, python
from charrnn.config import Settings
from charrnn.errors import CharRNNError, DatabaseUnavailable
from charrnn.jobs.records import Claim, Delivery, ModelRecord
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store

WORKER = "charrnn.jobs.worker"
TICK = 1.0  # seconds
LOOK_EVERY = 0.1  # seconds: how soon a dead worker is seen
HEARD_EVERY = 2.0  # seconds between two words to other supervisors, and to whoever asks whether there is one
STARTING_SECONDS = 15.0  # that a worker gets at least, before its first word
ENDING_SECONDS = 8.5  # that workers get to save and say so, before they are killed
HEARD_OF_SECONDS = 10.0  # since a supervisor's last word, after which it is taken for gone
MESSAGES_LIMIT = 1_000_000  # bytes of a worker's messages that are kept
MESSAGES_KEPT = 20  # files, of workers that ended badly
LAST_WORDS = 500  # characters of a dead worker's last message that its log quotes


class Supervisor:
    """One supervisor. Several may share a database, and even a host; no model is ever started twice."""

    def __init__(self, settings: Settings, store: Store, *, host: str | None = None) -> None:
        self.settings, self.store = settings, store
        self.id, self.host = uuid.uuid4().hex, host or socket.gethostname()
        self.connection = Connection(settings.lease_seconds)
        self.workers: dict[Claim, StartedWorker] = {}
        self.dead: dict[Claim, str] = {}  # not yet taken back, and why they died
        self.adopted: list[ModelRecord] = []  # of this host, started by a supervisor that is gone
        self.starting = threading.Lock()  # held while a worker is started, so that none is once the end has begun
        self.until_idle = False
        self.told_at = -float("inf")
        self.idle, self.ended, self.workers_ended = threading.Event(), threading.Event(), threading.Event()

    def run(self, stopping: threading.Event, *, until_idle: bool = False) -> None:
        """Supervise until `stopping` is set, or with `until_idle` until nothing is queued or running any more.

        At the end all workers of this host are asked to save and to give their models back; within ten seconds.
        """
        self.until_idle = until_idle
        ticks = threading.Thread(target=self._tick_until_ended, name="charrnn-supervisor", daemon=True)
        ticks.start()
        while not stopping.wait(LOOK_EVERY) and not self.idle.is_set():
            pass
        with self.starting:
            self.ended.set()
        self._end_workers()
        self.workers_ended.set()
        ticks.join(timeout=1)

    # what happens every second -------------------------------------------------------------------------------------

    def _tick_until_ended(self) -> None:
        while not self.ended.is_set():
            self._bury()
            try:
                self._tick()
            except Exception as error:
                self.connection.bad(error)
            else:
                self.connection.good()
            self._nap()
        self.workers_ended.wait()
        self._bury()
        with suppress(CharRNNError):
            self._take_back_dead()
            self.store.supervisor_gone(self.id)

    def _nap(self) -> None:
        """Until the next tick, which comes at once when a worker has ended."""
        until = time.monotonic() + TICK
        while time.monotonic() < until and not self.ended.wait(LOOK_EVERY):
            if any(worker.has_ended() for worker in self.workers.values()):
                return

    def _tick(self) -> None:
        self._tell()
        self._take_back_dead()
        if self.connection.has_been_good_for_a_lease():
            for claim in self.store.expired():
                if claim not in self.workers:
                    self.store.reclaim(claim, "the worker has not been heard of for too long", only_expired=True)
        running = self.store.running(self.host)
        self.adopted = self._adopted(running)
        started = self._start_workers(self.settings.running_limit - len(running))
        if self.until_idle and not (running or started or self.workers) and self._nothing_to_do():
            # Whoever queues a model looks for a supervisor afterwards. So this one is gone first, and looks again
            self.store.supervisor_gone(self.id)
            self.told_at = -float("inf")
            if self._nothing_to_do():
                self.idle.set()

    def _tell(self) -> None:
        if time.monotonic() - self.told_at >= HEARD_EVERY:
            self.store.supervisor_alive(self.id, self.host, os.getpid(), self.settings.running_limit)
            self.told_at = time.monotonic()

    def _bury(self) -> None:
        """Let the dead go, together with what they had started, and remember to take their models back."""
        for claim, worker in list(self.workers.items()):
            if worker.has_ended():
                self.dead[claim] = worker.bury()
                del self.workers[claim]
            else:
                worker.bound_messages()

    def _take_back_dead(self) -> None:
        for claim, why in list(self.dead.items()):
            self.store.reclaim(claim, why)  # changes nothing if the worker said its last word
            del self.dead[claim]

    def _start_workers(self, room: int) -> int:
        started = 0
        while started < room:
            claim = self.store.claim(self.host, max(STARTING_SECONDS, self.settings.lease_seconds))
            if claim is None:
                break
            with self.starting:
                if self.ended.is_set():
                    self.store.release(claim, Delivery())
                    break
                try:
                    self.workers[claim] = StartedWorker(claim, self.host, self.settings)
                except OSError as error:
                    self.dead[claim] = f"the worker could not be started: {error}"
            started += 1
        return started

    def _adopted(self, running: list[ModelRecord]) -> list[ModelRecord]:
        others = [record for record in running if Claim(record.id, record.attempt) not in self.workers]
        if not others:
            return []
        supervisors = self.store.supervisors(HEARD_OF_SECONDS)
        parents = {other.pid for other in supervisors if other.host == self.host and other.id != self.id}
        return [record for record in others if record.worker_pid and parent_of(record.worker_pid) not in parents]

    def _nothing_to_do(self) -> bool:
        return not any(self.store.page(status=status, limit=1).models for status in (Status.QUEUED, Status.RUNNING))

    # the end -------------------------------------------------------------------------------------------------------

    def _end_workers(self) -> None:
        """Ask all workers of this host to save and end, and kill those that have not by the time there is."""
        until = time.monotonic() + ENDING_SECONDS
        started = list(self.workers.values())
        found = (open_worker(record) for record in self.adopted)
        adopted = [descriptor for descriptor in found if descriptor is not None]
        for worker in started:
            worker.process.terminate()
        for descriptor in adopted:
            send(descriptor, signal.SIGTERM)
        while time.monotonic() < until and not (
            all(worker.has_ended() for worker in started) and all(map(is_gone, adopted))
        ):
            time.sleep(LOOK_EVERY)
        for worker in started:
            worker.kill()
        for descriptor in adopted:
            send(descriptor, signal.SIGKILL)
            os.close(descriptor)


class Connection:
    """How long the database has been within reach."""

    def __init__(self, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self.good_since: float | None = None
        self.last = 0.0
        self.told = ""

    def good(self) -> None:
        """It has just answered."""
        now = time.monotonic()
        if self.good_since is None or now - self.last > max(3 * TICK, self.lease_seconds / 3):
            self.good_since = now  # nothing is known of a gap: this machine may have slept, and its workers too
        self.last, self.told = now, ""

    def bad(self, error: Exception) -> None:
        """It has not answered, or not as it should. The first of several such errors in a row is told."""
        self.last, self.good_since = time.monotonic(), None
        if str(error) == self.told:
            return
        self.told = str(error)
        if isinstance(error, DatabaseUnavailable):
            print(f"{error}; workers go on, and deliver when it is back", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(error)

    def has_been_good_for_a_lease(self) -> bool:
        """Whether every living worker must have been able to renew its lease."""
        return self.good_since is not None and self.last - self.good_since >= self.lease_seconds


class StartedWorker:
    """A worker process that we started, in a session and process group of its own."""

    def __init__(self, claim: Claim, host: str, settings: Settings) -> None:
        folder = settings.data_folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        forget_old_messages(folder)
        self.messages = folder / f"{claim.model_id}-{claim.attempt}.log"
        with self.messages.open("ab") as messages:
            self.process = subprocess.Popen(
                python(WORKER, claim.model_id, str(claim.attempt), host),
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages, start_new_session=True,
                env=environment(**settings.environment()),
            )  # fmt: skip

    def has_ended(self) -> bool:
        """Whether it has ended. Its number stays its own until it is buried."""
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def kill(self) -> None:
        """End it and what it has started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def bury(self) -> str:
        """End what it had started, and say how it died."""
        self.kill()
        code = self.process.wait()
        if code == 0:
            self.messages.unlink(missing_ok=True)
            return "the worker has ended"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        said = last_words(self.messages)
        return f"the worker {how}" + (f"; it said: {said}" if said else "")

    def bound_messages(self) -> None:
        """Keep what it says from filling the disk."""
        with suppress(OSError):
            if self.messages.stat().st_size > MESSAGES_LIMIT:
                os.truncate(self.messages, 0)


def last_words(messages: Path) -> str:
    """The last line of a file of messages: of a traceback, what went wrong."""
    try:
        with messages.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4 * LAST_WORDS))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:LAST_WORDS] for line in reversed(lines) if line.strip()), "")


def forget_old_messages(folder: Path) -> None:
    """Remove all but the newest files."""
    with suppress(OSError):
        files = sorted(folder.glob("*-*.log"), key=lambda path: path.stat().st_mtime)
        for path in files[:-MESSAGES_KEPT]:
            path.unlink(missing_ok=True)


# processes that somebody else started ------------------------------------------------------------------------------


def parent_of(pid: int) -> int | None:
    """The process that started `pid`, or that took it over; None when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def open_worker(record: ModelRecord) -> int | None:
    """A descriptor of the process that is the record's worker; None when there is none on this machine.

    A number alone would not do: by now it may be that of another process.
    """
    assert record.worker_pid
    try:
        descriptor = os.pidfd_open(record.worker_pid)
    except OSError:
        return None
    with suppress(OSError):
        words = Path(f"/proc/{record.worker_pid}/cmdline").read_bytes().split(b"\0")
        if WORKER.encode() in words and record.id.encode() in words:
            return descriptor
    os.close(descriptor)
    return None


def send(descriptor: int, number: signal.Signals) -> None:
    """Send a signal to the process of a descriptor."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, number)


def is_gone(descriptor: int) -> bool:
    """Whether the process of a descriptor has ended."""
    return bool(select.select([descriptor], [], [], 0)[0])


def supervise(settings: Settings, *, until_idle: bool = False, host: str | None = None) -> None:
    """Supervise in this process until SIGTERM or SIGINT, or with `until_idle` until nothing is left to do.

    Raises DatabaseUnavailable, DatabaseOutdated and DatabaseTooNew when the database cannot be used to begin with.
    """
    from charrnn.jobs.database import Database

    database = Database(settings.database_url.get_secret_value(), settings.database_tls, settings.database_tls_ca)
    database.prepare()
    supervisor, stopping = Supervisor(settings, Store(database), host=host), threading.Event()
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))  # no more: locks are not safe in here
    running = threading.Thread(target=supervisor.run, args=(stopping,), kwargs={"until_idle": until_idle})
    running.start()
    while running.is_alive():
        if asked:
            stopping.set()
        running.join(LOOK_EVERY)
    database.close()
