"""Two hundred visitors on one instance for ten minutes: what they wait for, what fails, and what the database has.

    python -m benchmarks server_load --minutes 10

The public launch as a deployment has it: MariaDB, files in a folder, a load balancer that says who comes from where,
and room for all of them. Server, trainings, visitors and twenty dashboards in Chromium share the cores. A refusal that
the policy means (413, 429) is no error. Whatever happens, everything that was started is ended.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.table import Row, say
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from tests import mariadb
from tests.command_line import output
from tests.server.dashboards import kernels
from tests.server.running import Server, running

USERS, DASHBOARDS, MINUTES = 200, 20, 10.0
LOOK_SECONDS = 5.0  # between two looks at the memory
LATE_SECONDS = 240.0  # that visitors may take to leave
GONE_SECONDS = 150.0  # in which kernels of closed dashboards have to be gone
SHARES = (0.5, 0.95, 0.99)
TRAINED = {"queued", "running", "complete"}
FAULT = re.compile(r"^Traceback|^\[(?:E|C) .*|^.*\b5\d\d (?:GET|POST|PATCH|DELETE) .*", re.MULTILINE)


def rows(minutes: float = MINUTES, users: int = USERS, dashboards: int = DASHBOARDS) -> Iterator[Row]:
    """Latencies, errors, memory, and the state of the database."""
    with tempfile.TemporaryDirectory(prefix="charrnn-", ignore_cleanup_errors=True) as name, _stoppable():
        folder = Path(name)
        with mariadb.started(folder / "mariadb") as database:
            database.execute("CREATE DATABASE charrnn")
            settings: dict[str, Any] = {
                "CHARRNN_DATABASE_URL": database.url("charrnn"),
                "CHARRNN_STORAGE_URL": f"file://{folder / 'storage'}",
                "CHARRNN_TRUSTED_PROXIES": "127.0.0.1",
                "CHARRNN_VISITORS_TOGETHER": str(users + dashboards),
                "CHARRNN_MAX_DASHBOARDS": str(dashboards + 4),
            }
            before = {key: os.environ.get(key) for key in settings}
            os.environ.update(settings)
            try:
                output("db", "upgrade")
            finally:
                for key, value in before.items():
                    os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)
            with _whole_family(), running(
                folder, "--public", token=None, spare_dashboards=1 if dashboards else 0, **settings
            ) as server:  # fmt: skip
                used, visited, memory = _used(server, folder, 60 * minutes, users, dashboards)
                yield from _latencies(used, visited)
                yield from _failures(used, visited, server)
                yield from _resources(used, visited, memory, 60 * minutes)
                yield from _left(server, bool(dashboards))
            yield from _kept(database, folder / "storage", used)


def _used(
    server: Server, folder: Path, seconds: float, users: int, dashboards: int
) -> tuple[dict[str, Any], dict[str, Any], dict[str, int]]:
    """What visitors over HTTP found, what those with browsers found, and the most memory that was used."""
    model = folder / "writer.safetensors"
    Model.initial("lstm", Vocabulary("".join(map(chr, range(10, 127)))), rnn_size=64, num_layers=1).save(model)
    say(f"{users} visitors and {dashboards} dashboards for {seconds / 60:g} minutes")
    memory = _Memory(server)
    with memory:
        load = _begun("load_users", server.port, users, seconds, model)
        browsers = _begun("load_browsers", server.port, dashboards, seconds, model) if dashboards else None
        try:
            give_up = time.monotonic() + seconds + LATE_SECONDS
            used = _heard("load_users", load, give_up)
            visited = (
                _heard("load_browsers", browsers, give_up) if browsers else {"times": {}, "errors": {}, "cpu": 0.0}
            )
        finally:
            _end([process.pid for process in (load, browsers) if process is not None and process.poll() is None])
    return used, visited, memory.most


def _begun(module: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def _heard(module: str, process: subprocess.Popen[str], give_up: float) -> dict[str, Any]:
    """What it printed. One that failed, or that does not end, is an error of the benchmark's, told as such."""
    nothing: dict[str, Any] = {"times": {}, "errors": {}, "cpu": 0.0}
    try:
        printed, _ = process.communicate(timeout=max(1.0, give_up - time.monotonic()))
        heard: dict[str, Any] = json.loads(printed)
    except subprocess.TimeoutExpired:
        return {**nothing, "errors": {f"{module} did not end": 1}}
    except ValueError:
        return {**nothing, "errors": {f"{module} failed ({process.returncode})": 1}}
    return heard


# the rows -----------------------------------------------------------------------------------------------------------


def _latencies(*sides: Mapping[str, Any]) -> Iterator[Row]:
    for side in sides:
        for what, times in sorted(side["times"].items()):
            yield _row(f"{what}, {len(times):,} times: p50 / p95 / p99 / longest, ms", _percentiles(times))
    if pulse := sides[0].get("pulse"):
        yield _row("the server's pulse, twice a second: p50 / p95 / p99 / longest, ms", _percentiles(pulse))


def _failures(used: Mapping[str, Any], visited: Mapping[str, Any], server: Server) -> Iterator[Row]:
    for what, count in sorted(used.get("refused", {}).items()):
        yield _row(f"refused by the policy: {what}", f"{count:,}")
    errors = {**used["errors"], **visited["errors"]}
    yield _row("errors", f"{sum(errors.values()):,}", "0")
    for what, count in sorted(errors.items()):
        yield _row(f"error: {what.replace('|', '/')}", f"{count:,}")
    faults = [found[0] for found in FAULT.finditer(server.messages)]
    yield _row("tracebacks and errors in the server's log", str(len(faults)), "0")
    for fault in faults[:10]:
        say(f"in the server's log: {fault[:300]}")
    if "Traceback" in server.messages:
        say(server.messages[server.messages.index("Traceback") - 300 :][:4000])


def _resources(
    used: Mapping[str, Any], visited: Mapping[str, Any], memory: Mapping[str, int], seconds: float
) -> Iterator[Row]:
    for what, most in memory.items():
        yield _row(f"most memory: {what}, MB", f"{most / 1e6:,.0f}")
    available = seconds * len(os.sched_getaffinity(0))
    for name, side in (("visitors over HTTP", used), ("Chromium", visited)):
        yield _row(f"share of the cores that the load itself took: {name}", f"{side['cpu'] / available:.1%}")


def _left(server: Server, has_dashboards: bool) -> Iterator[Row]:
    """Kernels that stay although nobody has a dashboard open any more, beside the one that waits."""
    spare, give_up = int(has_dashboards), time.monotonic() + GONE_SECONDS
    while (left := len(kernels(server))) > spare and time.monotonic() < give_up:
        time.sleep(1)
    yield _row("kernels left after the last dashboard was closed", str(max(0, left - spare)), "0")


def _kept(database: mariadb.MariaDB, storage: Path, used: Mapping[str, Any]) -> Iterator[Row]:
    """What became of what was accepted, once the server has ended and its workers have saved."""
    found = database.execute("SELECT id, name, status, corpus, model_file FROM model", "charrnn")
    models = {_text(id): (_text(name), _text(status), corpus, file) for id, name, status, corpus, file in found}
    names = [name for name, *_ in models.values()]
    uploaded, started = used.get("uploaded", {}), used.get("started", [])
    states = [models[id][1] for id in started if id in models]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    yield _row(f"accepted texts: {len(uploaded):,}; lost", _missing(uploaded, models), "0")
    yield _row("there twice", str(sum(names.count(name) > 1 for name in uploaded.values())), "0")
    wrong = [id for id in started if id not in models or models[id][1] not in TRAINED]
    yield _row(f"accepted trainings: {len(started):,} ({counts}); neither trained nor queued", str(len(wrong)), "0")
    for id in wrong[:5]:
        say(f"neither trained nor queued: {id}, {models.get(id)}")
    bare = [id for id in uploaded if id in models and not _has_files(storage, *models[id][1:])]
    yield _row("accepted texts whose files are not there", str(len(bare)), "0")
    unsure = used.get("unsure", [])
    yield _row(f"texts without an answer: {len(unsure):,}; of them there", str(sum(name in names for name in unsure)))
    folders = [path for path in (storage / "models").glob("*") if path.name not in models and any(path.iterdir())]
    yield _row("files of models that do not exist", str(len(folders)), "0")


def _missing(uploaded: Mapping[str, str], models: Mapping[str, tuple[Any, ...]]) -> str:
    return str(sum(id not in models or models[id][0] != name for id, name in uploaded.items()))


def _has_files(storage: Path, status: str, corpus: Any, model_file: Any) -> bool:
    keys = [json.loads(_text(corpus))["text_key"] if corpus else "", _text(model_file) if model_file else ""]
    return bool(keys[0]) and (status != "complete" or bool(keys[1])) and all(
        (storage / key).is_file() for key in keys if key
    )  # fmt: skip


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _percentiles(times: Sequence[float]) -> str:
    ordered = sorted(times)
    found = [ordered[math.ceil(share * len(ordered)) - 1] for share in SHARES]
    return " / ".join(f"{1000 * seconds:,.0f}" for seconds in (*found, ordered[-1]))


def _row(figure: str, ours: str, bar: str = "") -> Row:
    return Row(figure, ours, "", "", bar, "")


# processes ----------------------------------------------------------------------------------------------------------


class _Memory:
    """The most memory that server, kernels and workers had, looked at now and then."""

    def __init__(self, server: Server) -> None:
        self.most = {"server": 0, "all kernels": 0, "all workers": 0}
        self._server = server
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(psutil.NoSuchProcess):
                self._look()

    def _look(self) -> None:
        now = {"server": self._server.memory(), "all kernels": 0, "all workers": 0}
        for each in psutil.Process(self._server.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                kind = "all kernels" if "ipykernel" in " ".join(each.cmdline()) else "all workers"
                now[kind] += each.memory_full_info().pss
        self.most = {kind: max(most, now[kind]) for kind, most in self.most.items()}


@contextmanager
def _whole_family() -> Iterator[None]:
    """End whatever the block has started and left behind: kernels and workers of a server that had to be killed."""
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    known: set[psutil.Process] = set()
    over = threading.Event()

    def remember() -> None:
        while not over.wait(1):
            known.update(each for each in psutil.Process().children(recursive=True) if each.pid not in before)

    thread = threading.Thread(target=remember, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        left = [each for each in known if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        for each in left:
            say(f"a process was left behind and is ended: {each.pid}")
            with suppress(psutil.NoSuchProcess):
                each.kill()


def _end(pids: Sequence[int]) -> None:
    """End processes with all that they have started."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for each in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let SIGTERM end the benchmark as Ctrl-C does: in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit("stopped")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
