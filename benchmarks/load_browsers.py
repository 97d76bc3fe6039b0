"""People who have the dashboard open in Chromium, several at a time, in a process of their own.

    python -m benchmarks.load_browsers PORT PEOPLE SECONDS

Each is a browser of somebody else, from an address of its own. They open the dashboard, and now and then load it again,
look at a model and have it write. It prints, as JSON, what took how long and what went wrong.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
from playwright.async_api import Browser, Error, Page, async_playwright

from tests.e2e.browser import CHROMIUM, CONTROL, DESK, OPTIONS

PAUSE = 30.0  # seconds between two things that somebody does, on average
PATIENCE = 60_000  # milliseconds


class Someone:
    """One person with a browser."""

    def __init__(self, site: str, times: dict[str, list[float]], errors: Counter[str], chance: random.Random) -> None:
        self.site, self.times, self.errors, self.chance = site, times, errors, chance

    async def live(self, browser: Browser, number: int, end: float) -> None:
        """Open the dashboard, and use it until the end."""
        await asyncio.sleep(self.chance.uniform(0, min(120.0, (end - time.monotonic()) / 3)))
        headers = {"X-Forwarded-For": f"10.200.7.{number + 1}"}
        context = await browser.new_context(viewport=DESK, extra_http_headers=headers)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE)
        try:
            page = await context.new_page()
            page.on("pageerror", lambda error: self.errors.update([f"in a page: {str(error)[:80]}"]))
            page.on("response", self._answered)
            await self.counted("open the dashboard", lambda: self.open(page))
            while time.monotonic() < end:
                what, work = self.chance.choices(
                    [
                        ("load the dashboard again", lambda: self.open(page)),
                        ("click on a model", lambda: self.click(page)),
                        ("have it write in the dashboard", lambda: self.write(page)),
                    ],
                    [1, 2, 2],
                )[0]
                await self.counted(what, work)
                pause = min(self.chance.expovariate(1 / PAUSE), 2 * PAUSE)
                await asyncio.sleep(max(0.0, min(pause, end - time.monotonic())))
        finally:
            await context.close()

    async def open(self, page: Page) -> None:
        """Until there is something to work with."""
        await page.goto(f"{self.site}/charrnn", wait_until="commit")
        await page.wait_for_selector(CONTROL)
        await page.wait_for_selector("#start", state="detached")

    async def click(self, page: Page) -> None:
        """Back to the list, and into its first model."""
        await self.to_list(page)
        model = page.locator("#rendered_cells a[href*='/']").first
        if await model.count():
            await model.click()
        await page.wait_for_selector(CONTROL)

    async def to_list(self, page: Page) -> None:
        await page.evaluate("location.hash = ''")
        await page.wait_for_selector(CONTROL)

    async def write(self, page: Page) -> None:
        """Have the shipped model write, where the dashboard shows a button for it."""
        button = page.get_by_role("button", name=re.compile("^Write$")).first
        if not await button.count():
            await self.to_list(page)
            return
        await button.click()
        await page.wait_for_selector("article .written")

    async def counted(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        began = time.perf_counter()
        try:
            await work()
        except Error as error:
            self.errors[f"{what}: {str(error).splitlines()[0][:80]}"] += 1
        else:
            self.times[what].append(time.perf_counter() - began)

    def _answered(self, response: Any) -> None:
        if response.status >= 500:
            self.errors[f"in a page: status {response.status}"] += 1


async def use(port: int, people: int, seconds: float) -> dict[str, Any]:
    """All of them, for so long."""
    times: dict[str, list[float]] = defaultdict(list)
    errors: Counter[str] = Counter()
    end = time.monotonic() + seconds
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        everybody = [Someone(f"http://127.0.0.1:{port}", times, errors, random.Random(n)) for n in range(people)]
        ends = await asyncio.gather(
            *(someone.live(browser, number, end) for number, someone in enumerate(everybody)), return_exceptions=True
        )
        errors.update(f"a browser: {str(each).splitlines()[0][:80]}" for each in ends if isinstance(each, Exception))
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        cpu = sum(sum(each.cpu_times()[:2]) for each in processes)
        await browser.close()
    return {"times": times, "errors": errors, "cpu": cpu}


def main() -> None:
    port, people, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(use(int(port), int(people), float(seconds)))))


if __name__ == "__main__":
    main()
