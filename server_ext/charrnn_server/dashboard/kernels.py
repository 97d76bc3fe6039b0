"""The processes in which dashboards run: started ahead, handed out to one visitor each, ended when nobody looks.

It knows kernels, who has which, and who is connected to it. It does not know HTTP, nor what the dashboard shows.

They are none of Jupyter's: no route of its kernels' API finds them, no list shows them, no configuration of others
holds for them. What a browser may send to one is in `MESSAGES`, and there is no code among it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager, ServerKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from charrnn import child, errors
from charrnn.errors import CharRNNError

MESSAGES = ("comm_open", "comm_msg", "comm_close", "comm_info_request", "kernel_info_request")
STARTING_SECONDS = 60.0  # that a kernel may take to start, and a dashboard to be made in it
ENDING_SECONDS = 3.0  # that it may take to end what it does
SETTLING_SECONDS = 5.0  # that a dashboard which was just opened has the machine to itself
TICK = 1.0  # seconds, at most, between two looks at who is there
#: IPython's kernel as it is, without the debugger, which nobody here may use: 10 MB less
LAUNCH = """
import sys
sys.modules["debugpy"] = None
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
QUIET = ("--HistoryManager.enabled=False", "--log-level=ERROR")
WARM = "import charrnn.widgets, charrnn.jobs.database, charrnn.jobs.store"
ENTER = "from charrnn.widgets import visitor as _; _.enter(**__import__('json').loads({!r}))"
#: one thread for linear algebra, since many kernels share the machine; nothing of the user's own IPython
ENVIRONMENT = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
        "1",
    ),
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
KERNEL_BYTES = 150_000_000  # that a kernel may need
CONTAINERS = tuple(  # where the system says how much memory a container may have, and has: of both versions
    (f"/sys/fs/cgroup/{limit}", f"/sys/fs/cgroup/{used}")
    for limit, used in (
        ("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
)  # fmt: skip
SERVERS = ("JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")  # in its environment, for nobody else


class Busy(CharRNNError):
    """As many dashboards are open as may be, on this server or by one person."""


class CannotStart(CharRNNError):
    """A dashboard could not be made; the server's log says why."""


class Socket(Protocol):
    """A browser's connection to a kernel."""

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """End it."""


@dataclass(eq=False)
class Dashboard:
    """A kernel that somebody has, and who looks at it now."""

    id: str
    owner: str | None
    client: NotebookClient
    since: float  # when it began to be without a browser
    was_opened: bool = False
    sockets: set[Socket] = field(default_factory=set)


@dataclass(frozen=True)
class Opened:
    """A dashboard that was made: its kernel, and what the cells of its notebook show."""

    id: str
    outputs: list[dict[str, Any]]


class OneKernel(KernelSpecManager):
    """This very Python, whatever else is installed under its name."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-P", "-c", LAUNCH, "-f", "{connection_file}", *QUIET]
        return KernelSpec(argv=argv, display_name="charrnn", language="python")


class Once(ServerKernelManager):
    """A kernel that is not started again when it dies: it would not know for whom it is."""

    autorestart = False
    shutdown_wait_time = ENDING_SECONDS


class Kernels(AsyncMappingKernelManager):
    """All kernels of dashboards."""

    default_kernel_name = "charrnn"
    kernel_manager_class = f"{__name__}.Once"


class Dashboards:
    """All dashboards of a server.

    `environment` is called once, in a thread, for what kernels find in theirs, `limit` for how many there may be at a
    time; `notebook` for the notebook to run. One person may have `each` (None: any number). `spare` kernels wait for
    whoever comes next. A dashboard ends so many seconds after its last browser has gone (`abandoned`), or was to come
    (`unopened`).
    """

    def __init__(
        self, *, environment: Callable[[], Mapping[str, str]], notebook: Callable[[], Path], limit: Callable[[], int],
        each: int | None, spare: int, abandoned: float, unopened: float, connections: str, log: logging.Logger | Any,
    ) -> None:  # fmt: skip
        self._environment, self._notebook, self._limit = environment, notebook, limit
        self._each, self._spare, self._abandoned, self._unopened = each, spare, abandoned, unopened
        self.log = log
        self._folder = tempfile.TemporaryDirectory(prefix="charrnn-dashboards-")
        self.kernels: Any = Kernels(  # type: ignore[no-untyped-call]
            connection_dir=connections, root_dir=self._folder.name, log=log,
            kernel_spec_manager=OneKernel(log=log), allowed_message_types=list(MESSAGES), buffer_offline_messages=False,
        )  # fmt: skip
        self._variables: dict[str, str] | None = None
        self._most: int | None = None
        self._open: dict[str, Dashboard] = {}
        self._opening = 0
        self._starting = asyncio.Semaphore(os.cpu_count() or 1)
        self._spares: deque[asyncio.Task[tuple[str, NotebookClient]]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching = False
        self._refilling = False
        self._closed = False

    # what is there ----------------------------------------------------------------------------------------------------

    async def is_full(self) -> bool:
        """Whether no more can be opened now."""
        if self._most is None:
            self._most = await asyncio.to_thread(self._limit)
        return len(self._open) + self._opening >= self._most

    def of(self, id: str, owner: str | None) -> Dashboard | None:
        """The dashboard with this kernel, if it is theirs."""
        dashboard = self._open.get(id)
        return dashboard if dashboard is not None and dashboard.owner == owner else None

    def __len__(self) -> int:
        return len(self._open)

    # opening ----------------------------------------------------------------------------------------------------------

    async def open(self, user: str | None, origin: str | None) -> Opened:
        """A new dashboard for somebody. Raises Busy and CannotStart."""
        if self._closed or await self.is_full():
            raise Busy("as many dashboards are open as this server has room for")
        if self._each is not None and sum(each.owner == user for each in self._open.values()) >= self._each:
            raise Busy(f"you have {self._each} dashboards open already: close one")
        self._opening += 1
        try:
            id, client, outputs = await self._ready(user, origin)
            self._open[id] = Dashboard(id, user, client, time.monotonic())
        except CharRNNError:
            raise
        except Exception as error:
            self.log.exception("a dashboard could not be made")
            raise CannotStart("the dashboard cannot start: the server's log says why") from error
        finally:
            self._opening -= 1
            self.begin()
        self._watch()
        return Opened(id, outputs)

    async def _ready(self, user: str | None, origin: str | None) -> tuple[str, NotebookClient, list[dict[str, Any]]]:
        """A kernel that nobody had before, and what it shows: one that waits or, if none of them lives, a new one."""
        while self._spares:
            spare = self._spares.popleft()
            try:
                return await self._made(*await spare, user, origin)
            except CharRNNError:
                raise
            except Exception as error:
                self.log.warning("a kernel that was started ahead cannot be used: %s", error)
        return await self._made(*await self._started(), user, origin)

    async def _started(self) -> tuple[str, NotebookClient]:
        """A new kernel that has everything imported. As many start at a time as there are cores."""
        async with self._starting:
            return await self._start()

    async def _start(self) -> tuple[str, NotebookClient]:
        if self._variables is None:
            self._variables = dict(await asyncio.to_thread(self._environment))
        variables = child.environment(
            **{**self._variables, **ENVIRONMENT, "IPYTHONDIR": str(Path(self._folder.name) / "ipython")}
        )
        for name in SERVERS:
            variables.pop(name, None)
        starting = asyncio.ensure_future(self.kernels.start_kernel(path="", env=variables))
        try:
            id = await asyncio.shield(starting)
        except asyncio.CancelledError:  # half a kernel cannot be ended
            await self.kernels.shutdown_kernel(await starting, now=True)
            raise
        kernel = self.kernels.get_kernel(id)
        patience = int(STARTING_SECONDS)  # without it, what a busy machine shows late is silently not shown at all
        client = NotebookClient(
            _notebook([]), km=kernel, startup_timeout=patience, iopub_timeout=patience, raise_on_iopub_timeout=True
        )
        try:
            client.kc = await client.async_start_new_kernel_client()
            await self._execute(client, [WARM])
        except BaseException:
            await self._shut_down(id, client, now=True)
            raise
        return id, client

    async def _made(
        self, id: str, client: NotebookClient, user: str | None, origin: str | None
    ) -> tuple[str, NotebookClient, list[dict[str, Any]]]:
        """A kernel and what it shows, for somebody whom no browser can change any more. It ends with every error."""
        try:
            return id, client, await asyncio.wait_for(self._shown(client, user, origin), STARTING_SECONDS)
        except BaseException:
            await self._shut_down(id, client, now=True)
            raise

    async def _shown(self, client: NotebookClient, user: str | None, origin: str | None) -> list[dict[str, Any]]:
        """What the notebook shows to somebody."""
        sources = await asyncio.to_thread(_sources, self._notebook)
        await self._execute(client, [ENTER.format(json.dumps({"user": user, "origin": origin}))])
        return await self._execute(client, sources)

    async def _execute(self, client: NotebookClient, sources: Iterable[str]) -> list[dict[str, Any]]:
        client.nb = _notebook(sources)
        client.reset_execution_trackers()
        shown = []
        for number, cell in enumerate(client.nb.cells):
            try:
                done = await client.async_execute_cell(cell, number, store_history=False)
            except CellExecutionError as error:
                self.log.error("the dashboard cannot start: %s", error)
                ours = isinstance(getattr(errors, error.ename, None), type)  # which are for people to read
                why = error.evalue if ours else "the server's log says why"
                raise CannotStart(f"the dashboard cannot start: {why}") from None
            shown += [output for output in done.outputs if "data" in output]
        return shown

    # ahead of time ----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start kernels ahead from now on."""
        if self._spare and len(self._spares) < self._spare:
            self._later(self.refill())

    async def refill(self) -> None:
        """Start kernels ahead, while nobody waits for anything."""
        if self._refilling or self._closed:
            return
        self._refilling = True
        try:
            while len(self._spares) < self._spare and not self._closed:
                await self._settled()
                if self._closed:
                    return
                task = asyncio.create_task(self._started())
                self._spares.append(task)
                await asyncio.wait([task])
                if not task.cancelled() and task.exception() is not None:
                    self.log.warning("no kernel can be started ahead: %s", task.exception())
                    with contextlib.suppress(ValueError):
                        self._spares.remove(task)
                    return
        finally:
            self._refilling = False

    async def _settled(self) -> None:
        """Wait until nobody waits for a dashboard that is being made or shown, as long as that may take."""

        def waited_for(each: Dashboard) -> bool:
            return not each.was_opened and time.monotonic() - each.since < SETTLING_SECONDS

        while not self._closed and (self._opening or any(map(waited_for, self._open.values()))):
            await asyncio.sleep(0.25)

    # who looks --------------------------------------------------------------------------------------------------------

    def connected(self, dashboard: Dashboard, socket: Socket) -> None:
        """A browser has come."""
        dashboard.sockets.add(socket)
        dashboard.was_opened = True

    def asked_for(self, dashboard: Dashboard) -> None:
        """A browser without a connection has asked for it: one that is slow, or that tries to connect again."""
        dashboard.since = time.monotonic()

    def disconnected(self, dashboard: Dashboard, socket: Socket) -> None:
        """A browser is gone."""
        dashboard.sockets.discard(socket)
        dashboard.since = time.monotonic()

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            self._later(self._reap())

    async def _reap(self) -> None:
        """End kernels that nobody looks at, and forget those that have died."""
        pause = min(TICK, self._abandoned / 4, self._unopened / 4)
        while not self._closed:
            await asyncio.sleep(pause)
            for dashboard in list(self._open.values()):
                alone = 0.0 if dashboard.sockets else time.monotonic() - dashboard.since
                patience = self._abandoned if dashboard.was_opened else self._unopened
                with contextlib.suppress(Exception):
                    if alone > patience or not await self.kernels.get_kernel(dashboard.id).is_alive():
                        self._later(self.end(dashboard))

    # ending -----------------------------------------------------------------------------------------------------------

    async def end(self, dashboard: Dashboard) -> None:
        """End a dashboard, whoever looks at it."""
        if self._open.pop(dashboard.id, None) is None:
            return
        for socket in list(dashboard.sockets):
            socket.close(1001, "this dashboard has ended")
        await self._shut_down(dashboard.id, dashboard.client)

    async def _shut_down(self, id: str, client: NotebookClient, *, now: bool = False) -> None:
        """End a kernel: `now` where nobody has it yet, since one that is asked while it starts complains aloud."""
        _let_go(client)
        with contextlib.suppress(Exception):
            await self.kernels.shutdown_kernel(id, now=now)

    async def close(self) -> None:
        """End all of them."""
        self._closed = True
        clients = [dashboard.client for dashboard in self._open.values()]
        clients += [task.result()[1] for task in self._spares if task.done() and not task.exception()]
        spares = list(self._spares)
        self._spares.clear()
        for task in [*spares, *self._tasks]:
            task.cancel()
        await asyncio.gather(*spares, *self._tasks, return_exceptions=True)
        for dashboard in self._open.values():
            for socket in list(dashboard.sockets):
                socket.close(1001, "the server ends")
        had = set(self._open)
        self._open.clear()
        for client in clients:
            _let_go(client)
        ids = list(self.kernels.list_kernel_ids())
        ends = (self.kernels.shutdown_kernel(id, now=id not in had) for id in ids)
        await asyncio.gather(*ends, return_exceptions=True)
        self._folder.cleanup()

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _let_go(client: NotebookClient) -> None:
    """Close our own connection to a kernel."""
    channels: Any = client.kc
    if channels is not None:
        channels.stop_channels()


def _notebook(sources: Iterable[str]) -> nbformat.NotebookNode:
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        for source in sources
    ]
    notebook: nbformat.NotebookNode = nbformat.from_dict(  # type: ignore[no-untyped-call]
        {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    )
    return notebook


def _sources(notebook: Callable[[], Path]) -> list[str]:
    """The code of a notebook, cell by cell."""
    cells = json.loads(notebook().read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def room_for_dashboards() -> int:
    """How many kernels fit into 60 % of the memory that is available now, at least one."""
    available = _available()
    for limit, used in CONTAINERS:
        with contextlib.suppress(OSError, ValueError):  # not in a container, or one without a limit
            available = min(available, int(Path(limit).read_text()) - int(Path(used).read_text()))
    return max(1, int(0.6 * available / KERNEL_BYTES))


def _available() -> int:
    """Bytes of memory that programs could have; half of all where the system does not tell."""
    with contextlib.suppress(OSError):
        found = re.search(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found is not None:
            return 1024 * int(found[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
