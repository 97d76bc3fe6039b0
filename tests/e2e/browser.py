"""A browser that somebody sits at: opens the dashboard, and remembers whatever went wrong while it was open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Playwright,
    Request,
    sync_playwright,
)

from tests.server.running import Server

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 60_000  # milliseconds that a test waits for a condition: other things may run on the machine
SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"
CONTROL = "#rendered_cells :is(button, a[href], input, select, textarea, [tabindex])"
SERIOUS = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser, without a window."""
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """What went on in the pages of one context that no test should have to look for."""

    server: Server
    requests: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)  # requests of scripts that JupyterHub would take for forged
    problems: list[str] = field(default_factory=list)  # uncaught errors, and errors on the console
    expected: list[re.Pattern[str]] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        """Listen to all its pages."""
        context.on("request", self._requested)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))

    def expect(self, pattern: str) -> None:
        """Let errors that match be: a test that takes the server away has to have some."""
        self.expected.append(re.compile(pattern))

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)
        if request.resource_type in ("fetch", "xhr") and "x-xsrftoken" not in request.headers:
            self.unmarked.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(f"{message.text} ({message.location.get('url', '')})")

    def foreign(self) -> list[str]:
        """Requests that went to another host than the server."""
        ours = f"127.0.0.1:{self.server.port}"
        return [
            url for url in self.requests
            if not url.startswith(("data:", "about:", f"blob:http://{ours}/")) and urlsplit(url).netloc != ours
        ]  # fmt: skip

    def check(self) -> None:
        """Fails if a request left the host or was not marked as ours, or if there was an error nobody expected."""
        assert self.foreign() == []
        assert self.unmarked == []
        assert [each for each in self.problems if not any(known.search(each) for known in self.expected)] == []


def new_context(browser: Browser, visit: Visit, **options: Any) -> BrowserContext:
    """A browser of somebody else: no cookies, 1440 pixels wide unless said otherwise."""
    context = browser.new_context(**{"viewport": DESK, **options})
    context.set_default_timeout(PATIENCE)
    visit.follow(context)
    return context


def address(server: Server, path: str = "/charrnn") -> str:
    """Where a page is; with the token, if the server asks for one."""
    return server.site + path + ("" if server.token is None else f"?token={server.token}")


def open_dashboard(page: Page, server: Server) -> None:
    """Open the dashboard, and wait until there is something to work with."""
    page.goto(address(server), wait_until="commit")
    wait_for_control(page)


def wait_for_control(page: Page) -> None:
    """Wait until the dashboard has taken the place of the list that was shown meanwhile."""
    page.wait_for_selector(CONTROL)
    page.wait_for_selector("#start", state="detached")


def drop(page: Page, target: str, content: str, name: str) -> None:
    """What happens when somebody drops a file there."""
    data = page.evaluate_handle(
        """([content, name]) => {
            const data = new DataTransfer();
            data.items.add(new File([content], name, { type: "text/plain" }));
            return data;
        }""",
        [content, name],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(target, event, {"dataTransfer": data})


def row(page: Page, name: str) -> Locator:
    """The row of a model in the list."""
    called = page.locator(".name").filter(has_text=re.compile(f"^{re.escape(name)}$"))
    return page.get_by_role("row").filter(has=called)


def axe(page: Page, within: str | None = None) -> None:
    """Fails for whatever keeps people with screen readers, or without good eyes, from using the page."""
    result = Axe().run(page, context=within)
    findings = [
        f"{each['id']} ({each['impact']}): {each['help']}: {[node['target'] for node in each['nodes']][:5]}"
        for each in result.response["violations"]
        if each["impact"] in SERIOUS
    ]
    assert findings == []


def shoot(page: Page, name: str, *, whole: bool = True) -> Path:
    """A picture of the page, in a folder that git ignores, to be looked at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path
