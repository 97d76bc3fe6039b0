"""The dashboard's page in a browser: what is there at once, what takes its place, and what is said when it breaks."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.e2e.browser import axe, open_dashboard, shoot
from tests.server.running import Server


def test_the_dashboard_takes_the_place_of_the_list(page: Page, server: Server) -> None:
    open_dashboard(page, server)
    assert page.locator("#start").count() == 0
    assert page.locator("main").count() == 1
    axe(page)
    shoot(page, "dashboard")
