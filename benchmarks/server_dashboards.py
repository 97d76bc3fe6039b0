"""How soon the dashboard is there, and what thirty of them cost, open at once, on the cores that the browser uses too.

    python -m benchmarks server_dashboards

Chromium opens the real page on a workspace with models in it. A page itself looks, frame by frame, when the list can be
seen and when there is something to work with; both count from the navigation. First by one browser after another, each
with an empty cache; then by thirty at once, as a class would. The memory is that of the kernels' processes: what each
has for itself and, of what it shares with others, its part.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import requests
from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks.table import Row, say
from tests.e2e.browser import CONTROL, address, chromium, wait_for_control
from tests.jobs.trainings import wait_for
from tests.server.dashboards import kernels
from tests.server.places import BY_HAND, new_model
from tests.server.running import TOKEN, Server, running

CLASS = 30
MODELS = 30
LOOK = """
(() => {
  const look = () => {
    const seen = (selector) => [...document.querySelectorAll(selector)].some((each) => each.checkVisibility());
    if (!window.listAt && seen("#start li")) window.listAt = performance.now();
    if (!window.controlAt && seen(CONTROL)) window.controlAt = performance.now();
    if (!window.controlAt) requestAnimationFrame(look);
  };
  look();
})();
"""


def rows(runs: int = 5) -> Iterator[Row]:
    """One after another, all at once, and what is left of those that are gone."""
    limit = {"CHARRNN_MAX_DASHBOARDS": str(CLASS + 1)}
    with (
        tempfile.TemporaryDirectory(prefix="charrnn-") as folder,
        running(Path(folder), BY_HAND, spare_dashboards=1, **limit) as server,
        chromium() as browser,
    ):
        for number in range(MODELS):
            new_model(server, f"model {number}")
        yield from _one_after_another(server, browser, runs)
        yield from _at_once(server, browser)
        yield from _abandoned(server)


def _one_after_another(server: Server, browser: Browser, runs: int) -> Iterator[Row]:
    say(f"the dashboard is opened {runs} times")
    times = []
    for _ in range(runs):
        wait_for(lambda: len(kernels(server)) == 1)  # that which waits
        with ExitStack() as stack:
            page = _page(browser, stack)
            times.append(_opened(page, server))
    lists, controls = ([1000 * each[number] for each in times] for number in (0, 1))
    yield Row("the list of models is to be seen, median / longest, ms", _both(lists), "", "", "1,000", "")
    yield Row("something to work with is there, median / longest, ms", _both(controls), "", "", "3,000", "")


def _at_once(server: Server, browser: Browser) -> Iterator[Row]:
    say(f"{CLASS} dashboards are opened at once")
    with ExitStack() as stack:
        pages = [_page(browser, stack) for _ in range(CLASS)]
        for page in pages:
            page.goto(address(server), wait_until="commit")
        times = [_times(page) for page in pages]
        lists, controls = ([each[number] for each in times] for number in (0, 1))
        yield Row(f"{CLASS} at once: the list, median / longest, s", _both(lists, 1), "", "", "", "")
        yield Row("and something to work with, median / longest, s", _both(controls, 1), "", "", "", "")
        wait_for(lambda: len(kernels(server)) >= CLASS)
        found = [psutil.Process(pid) for pid in kernels(server)]
        memory = [each.memory_full_info().pss / 1e6 for each in found]
        yield Row("memory of a kernel, median / largest, MB", _both(memory), "", "", "150", "")
        total = f"{sum(memory):,.0f} and {server.memory() / 1e6:.0f}"
        yield Row(f"memory of all {len(memory)} and of the server, MB", total, "", "", "", "")
        maps = [Path(f"/proc/{each.pid}/maps").read_text(encoding="utf-8") for each in found]
        yield Row("kernels with TensorFlow in them", str(sum("tensorflow" in each for each in maps)), "", "", "0", "")
    began = time.monotonic()
    wait_for(lambda: len(kernels(server)) <= 1, 180)
    yield Row(
        "all of them closed: until their kernels are gone, s", f"{time.monotonic() - began:.1f}", "", "", "120", ""
    )


def _abandoned(server: Server) -> Iterator[Row]:
    say("100 pages are loaded without a browser")
    headers = {"Authorization": f"token {TOKEN}", "Accept": "text/html"}
    for _ in range(100):
        requests.get(f"{server.site}/charrnn", headers=headers, timeout=60).raise_for_status()
    left = str(len(kernels(server)) - 1)
    yield Row("kernels after 100 abandoned page loads, beside the one that waits", left, "", "", "0", "")


def _page(browser: Browser, stack: ExitStack) -> Page:
    context: BrowserContext = browser.new_context()
    stack.callback(context.close)
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.add_init_script(LOOK.replace("CONTROL", repr(CONTROL)))
    return page


def _opened(page: Page, server: Server) -> tuple[float, float]:
    page.goto(address(server), wait_until="commit")
    return _times(page)


def _times(page: Page) -> tuple[float, float]:
    """Seconds from the navigation to the list, and to the first control."""
    wait_for_control(page)
    found: Any = page.evaluate("[window.listAt, window.controlAt]")
    return found[0] / 1000, found[1] / 1000


def _both(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):,.{digits}f} / {max(values):,.{digits}f}"
