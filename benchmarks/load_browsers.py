"""People who have the dashboard open in Chromium, several at a time, in a process of their own.

    python -m benchmarks.load_browsers PORT PEOPLE SECONDS MODEL

Each is a browser of somebody else, from an address of its own. They open the dashboard, and now and then load it again,
or have a model write. It prints, as JSON, what took how long and what went wrong.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.async_api import Browser, Error, Page, async_playwright

from tests.e2e.browser import CHROMIUM, CONTROL, DESK, OPTIONS

PAUSE = 30.0  # seconds between two things that somebody does, on average
PATIENCE = 60_000  # milliseconds
TRY_AGAIN = 10.0  # seconds
IMPORT = """
async (file) => {
  const xsrf = document.cookie.match(/_xsrf=([^;]+)/)?.[1] ?? "";
  const body = Uint8Array.from(atob(file), (each) => each.charCodeAt(0));
  const headers = {"X-XSRFToken": xsrf, "Content-Type": "application/octet-stream"};
  const answer = await fetch("/charrnn/api/v1/models/import?name=mine", {method: "POST", headers, body});
  if (answer.status !== 201) throw new Error(`status ${answer.status}`);
  return (await answer.json()).id;
}
"""


class Someone:
    """One person with a browser."""

    model = ""

    def __init__(
        self, site: str, file: bytes, times: dict[str, list[float]], errors: Counter[str], chance: random.Random
    ) -> None:
        self.file = file
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
            while time.monotonic() < end and not self.model:
                await self.counted("bring a model into the dashboard", lambda: self.bring(page))
                await asyncio.sleep(TRY_AGAIN if not self.model else 0)
            while time.monotonic() < end:
                what, work = self.chance.choices(
                    [
                        ("load the dashboard again", lambda: self.open(page)),
                        ("have it write in the dashboard", lambda: self.write(page)),
                    ],
                    [1, 2],
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

    async def bring(self, page: Page) -> None:
        """Hand over a model, as a script of the page does."""
        self.model = await page.evaluate(IMPORT, base64.b64encode(self.file).decode())

    async def write(self, page: Page) -> None:
        """Have the model write, and wait for its first characters."""
        await page.goto(f"{self.site}/charrnn#writing/{self.model}", wait_until="commit")
        await page.get_by_role("tab", name="Write", exact=True).click()
        panel = page.get_by_role("tabpanel", name="Write", exact=True)
        await panel.get_by_role("button", name="Write", exact=True).click()
        await panel.locator("article .written").first.wait_for()

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


async def use(port: int, people: int, seconds: float, file: bytes) -> dict[str, Any]:
    """All of them, for so long."""
    times: dict[str, list[float]] = defaultdict(list)
    errors: Counter[str] = Counter()
    end = time.monotonic() + seconds
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        everybody = [Someone(f"http://127.0.0.1:{port}", file, times, errors, random.Random(n)) for n in range(people)]
        ends = await asyncio.gather(
            *(someone.live(browser, number, end) for number, someone in enumerate(everybody)), return_exceptions=True
        )
        errors.update(f"a browser: {str(each).splitlines()[0][:80]}" for each in ends if isinstance(each, Exception))
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        cpu = sum(sum(each.cpu_times()[:2]) for each in processes)
        await browser.close()
    return {"times": times, "errors": errors, "cpu": cpu}


def main() -> None:
    port, people, seconds, model = sys.argv[1:]
    print(json.dumps(asyncio.run(use(int(port), int(people), float(seconds), Path(model).read_bytes()))))


if __name__ == "__main__":
    main()
