"""What tests in a browser share: one browser, a real server, and a page whose errors fail the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.e2e.browser import Visit, chromium, new_context
from tests.server.running import Server, running
from tests.workspace.played import saved_model


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one for the tests of a module: while it is there, its event loop is the main thread's."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, to be imported."""
    return saved_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`jupyter charrnn` with a folder of its own, one for the tests of a module: models of other tests may be in it."""
    with running(tmp_path_factory.mktemp("server"), spare_dashboards=1) as server:
        yield server


@pytest.fixture
def visit(server: Server) -> Iterator[Visit]:
    """What went on in the browser; checked after the test."""
    visit = Visit(server)
    yield visit
    visit.check()


@pytest.fixture
def context(browser: Browser, visit: Visit) -> Iterator[BrowserContext]:
    """A fresh browser, 1440 pixels wide."""
    context = new_context(browser, visit)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Its first page, empty: `open_dashboard(page, server)` opens the dashboard."""
    return context.new_page()
