"""The dashboard's page in a browser: what is there at once, what takes its place, and what is said when it breaks."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, Route, WebSocket, expect

from tests.e2e.browser import (
    PATIENCE,
    PHONE,
    Visit,
    address,
    axe,
    new_context,
    open_dashboard,
    shoot,
    wait_for_control,
)
from tests.jobs.trainings import wait_for
from tests.server.dashboards import kernels
from tests.server.places import BY_HAND, PREFIX, workspace_of
from tests.server.running import Server, running
from tests.workspace.played import trained

expect.set_options(timeout=PATIENCE)
CLASS = 30
OPENING = "**/charrnn/dashboard/kernels"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Server]:
    """A server below a prefix with a model in it; a kernel is started when somebody opens the page."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, BY_HAND, base_url=PREFIX) as server:
        with workspace_of(server) as workspace:
            trained(workspace, model_file, "sonnets")
        yield server


def xsrf(page: Page) -> str:
    """What the page sends along with what it asks for."""
    told: dict[str, str] = json.loads(page.locator("#charrnn-page").inner_text())
    return told["xsrf"]


def test_the_list_is_there_at_once_and_the_dashboard_takes_its_place(page: Page, server: Server) -> None:
    held: list[Route] = []
    page.route(OPENING, lambda route: held.append(route))
    page.goto(address(server), wait_until="commit")
    expect(page.locator("#start li")).to_contain_text("sonnets")
    expect(page.get_by_role("status")).to_have_text("Starting the dashboard …")
    axe(page)
    shoot(page, "start")
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "start-phone")
    wait_for(lambda: page.evaluate("1") and held)
    held[0].continue_()
    wait_for_control(page)
    expect(page.locator("main")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "dashboard-phone")


def test_whoever_finds_all_in_use_waits_and_comes_in_by_itself(page: Page, server: Server, visit: Visit) -> None:
    visit.expect("503")
    refusals = []

    def refuse_once(route: Route) -> None:
        if refusals:
            route.continue_()
            return
        refusals.append(route)
        problem = {"reason": "Busy", "message": "as many dashboards are open as this server has room for"}
        route.fulfill(status=503, body=json.dumps(problem), content_type="application/json")

    page.route(OPENING, refuse_once)
    page.goto(address(server), wait_until="commit")
    expect(page.get_by_role("status")).to_contain_text("Waiting for a free one")
    wait_for_control(page)


def test_what_keeps_the_dashboard_from_starting_is_said(page: Page, server: Server, visit: Visit) -> None:
    visit.expect("503")
    problem = {"reason": "CannotStart", "message": "the dashboard cannot start: <b>no disk</b>"}
    page.route(OPENING, lambda route: route.fulfill(status=503, body=json.dumps(problem)))
    page.goto(address(server), wait_until="commit")
    expect(page.get_by_role("alert")).to_contain_text("cannot start: <b>no disk</b>")
    expect(page.get_by_text("Starting the dashboard")).to_be_hidden()
    expect(page.get_by_text("sonnets")).to_be_visible()
    shoot(page, "start-failed")
    axe(page)
    page.unroute(OPENING)
    page.get_by_role("button", name="Reload the page").click()
    wait_for_control(page)


def test_a_kernel_that_dies_is_told_and_a_reload_brings_another(page: Page, server: Server, visit: Visit) -> None:
    visit.expect("WebSocket|404")
    wait_for(lambda: kernels(server) == set())
    open_dashboard(page, server)
    (pid,) = kernels(server)
    os.kill(pid, signal.SIGKILL)
    expect(page.get_by_role("alert").filter(has_text="This dashboard has ended")).to_be_visible()
    shoot(page, "ended")
    axe(page, "#notice")
    page.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_text("This dashboard has ended")).to_have_count(0)
    wait_for_control(page)
    assert pid not in kernels(server)


def test_a_page_that_was_too_slow_for_its_kernel_opens_another(page: Page, server: Server, visit: Visit) -> None:
    visit.expect("404")
    held: list[Route] = []
    page.route("**/voila.js", lambda route: held.append(route))
    with page.expect_response(OPENING) as answer:
        page.goto(address(server), wait_until="commit")
    id = answer.value.json()["id"]
    page.evaluate(
        "([url, token]) => fetch(url, {method: 'POST', headers: {'X-XSRFToken': token}}).then(() => null)",
        [f"{PREFIX}charrnn/dashboard/kernels/{id}/leave", xsrf(page)],
    )
    assert len(held) == 1
    held[0].continue_()
    wait_for_control(page)
    assert page.evaluate("document.body.dataset.kernelId") != id


def hold_kernels(page: Page, server: Server, seconds: float) -> None:
    """Stop every kernel for so long as soon as the page connects to one."""
    wait_for(lambda: kernels(server) == set())

    def hold(_: WebSocket) -> None:
        for pid in kernels(server):
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(seconds, os.kill, (pid, signal.SIGCONT)).start()

    page.on("websocket", hold)


@pytest.mark.parametrize("seconds", [1.8, 1.9, 5.0])
def test_a_kernel_that_answers_late_is_waited_for(page: Page, server: Server, seconds: float) -> None:
    hold_kernels(page, server, seconds)
    open_dashboard(page, server)


def test_a_start_that_takes_a_minute_is_told_until_it_is_over(page: Page, server: Server) -> None:
    page.add_init_script(
        """
        const wait = window.setTimeout.bind(window);
        window.setTimeout = (act, after, ...more) => wait(act, after === 60000 ? 2000 : after, ...more);
        """
    )
    hold_kernels(page, server, 5.0)
    page.goto(address(server), wait_until="commit")
    notice = page.get_by_role("alert").filter(has_text="slow to start")
    expect(notice).to_be_visible()
    expect(notice.get_by_role("button", name="Reload the page")).to_be_visible()
    wait_for_control(page)
    expect(notice).to_have_count(0)


def test_a_page_that_is_slow_to_make_a_widget_keeps_it(page: Page, server: Server) -> None:
    page.add_init_script(
        """
        const create = URL.createObjectURL.bind(URL);  // which anywidget calls with the code of a view
        const wait = "await new Promise((done) => setTimeout(done, 3000));\\n";
        URL.createObjectURL = (code) => create(new Blob([wait, code], { type: code.type }));
        """
    )
    open_dashboard(page, server)


@pytest.mark.alone
def test_thirty_are_open_at_once_each_in_little_memory(
    browser: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path, BY_HAND, CHARRNN_MAX_DASHBOARDS=str(CLASS)) as server:
        visit = Visit(server)
        context = new_context(browser, visit)
        context.set_default_timeout(5 * PATIENCE)  # they share the cores with thirty pages
        began = time.monotonic()
        pages = [context.new_page() for _ in range(CLASS)]
        for page in pages:
            page.goto(address(server), wait_until="commit")
        for page in pages:
            wait_for_control(page)
        seconds = time.monotonic() - began
        found = [psutil.Process(pid) for pid in kernels(server)]
        assert len(found) == CLASS
        memory = [each.memory_full_info().pss / 1e6 for each in found]
        maps = [Path(f"/proc/{each.pid}/maps").read_text(encoding="utf-8") for each in found]
        with capsys.disabled():
            print(
                f" [{CLASS} dashboards: all to be worked with after {seconds:.0f} s, {sum(memory):.0f} MB, "
                f"the largest {max(memory):.0f} MB, the server {server.memory() / 1e6:.0f} MB] "
            )
        assert max(memory) < 150
        assert not any("tensorflow" in each for each in maps)
        expect(pages[0].get_by_role("heading", name="Models")).to_be_visible()
        visit.check()
        context.close()
        wait_for(lambda: kernels(server) == set())


def test_leaving_the_page_ends_its_kernel_and_a_download_does_not(page: Page, server: Server) -> None:
    wait_for(lambda: kernels(server) == set())
    open_dashboard(page, server)
    before = kernels(server)
    assert len(before) == 1
    id = server.get("/models").json()["models"][0]["id"]
    with page.expect_download() as download:
        page.evaluate("url => { location.href = url }", f"{PREFIX}charrnn/api/v1/models/{id}/file")
    assert download.value.suggested_filename == "sonnets.safetensors"
    other = page.get_by_role("navigation", name="Places").get_by_role("button", name="New model")
    other.click()
    expect(other).to_have_attribute("aria-current", "page")
    assert kernels(server) == before
    page.reload()
    wait_for_control(page)
    wait_for(lambda: len(kernels(server)) == 1 and not kernels(server) & before)
    page.goto("about:blank")
    wait_for(lambda: kernels(server) == set())


def test_a_server_that_is_away_is_told_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND) as server:
        visit = Visit(server)
        page = new_context(browser, visit).new_page()
        open_dashboard(page, server)
        port = server.port
        server.stop(signal.SIGKILL)
        expect(page.get_by_role("alert").filter(has_text="The server does not answer")).to_be_visible()
    with running(tmp_path, BY_HAND, port=port) as server:
        expect(page.get_by_role("alert").filter(has_text="This dashboard has ended")).to_be_visible()
        page.get_by_role("button", name="Reload the page").click()
        wait_for_control(page)
        assert visit.foreign() == []
        assert not any("uncaught" in problem for problem in visit.problems)
        page.context.close()
