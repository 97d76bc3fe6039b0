"""From a text to a model that writes, as somebody does it who has never seen this: a real server, a real training."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.browser import PATIENCE, Visit, drop, new_context, open_dashboard, row, shoot, wait_for_control
from tests.jobs.trainings import wait_for
from tests.server.running import Server, running

expect.set_options(timeout=PATIENCE)
LONG = 4 * PATIENCE  # milliseconds: a training begins by importing TensorFlow and compiling its step
TEXT = "".join(f"{number} small boats rock beside the quiet pier,\nand count the lamps.\n" for number in range(900))
OPTIONS = {"rnn_size": "48", "batch_size": "8", "seq_length": "32", "dropout": "0"}
#: not over before somebody stops it, however fast the machine
SHORT = "1 minute"
#: a stand-in for the messages of the system's desktop, where a test has none
NOTIFICATIONS = """
window.told = [];
window.Notification = class {
  static permission = "default";
  static asked = 0;
  static async requestPermission() { Notification.asked += 1; return (Notification.permission = "granted"); }
  constructor(title, { body }) { window.told.push(`${title}: ${body}`); }
};
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server as everybody starts it, which trains."""
    with running(tmp_path_factory.mktemp("server"), spare_dashboards=1) as server:
        yield server


def training(page: Page) -> Locator:
    return page.locator(".training")


def badge(page: Page) -> Locator:
    return training(page).locator(".badge")


def press(page: Page, name: str) -> None:
    training(page).get_by_role("button", name=name, exact=True).click()


def place(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Places").get_by_role("button", name=name, exact=True).click()


def steps(page: Page) -> int:
    """How many steps the page says it has done."""
    found = re.search(r"step ([\d,]+)", training(page).locator(".standing").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def begin(page: Page, name: str, budget: str) -> None:
    """Drop the text on the page of a new model, and have it learned for so long."""
    drop(page, ".new-model", TEXT, f"{name}.txt")
    expect(page.get_by_text("How long may it learn?")).to_be_visible()
    page.get_by_label(budget, exact=True).check()
    page.get_by_text("Advanced: every option").click()
    for option, value in OPTIONS.items():
        page.locator(f".advanced [name={option}]").fill(value)
    page.get_by_role("button", name="Start learning").click()
    expect(training(page).get_by_role("heading", level=2, name=name)).to_be_visible()


def test_from_a_text_to_a_model_that_writes(page: Page, server: Server) -> None:
    page.set_default_timeout(LONG)
    page.add_init_script(NOTIFICATIONS)
    open_dashboard(page, server)
    place(page, "New model")
    begin(page, "Boats", SHORT)

    # the chart and the samples move
    samples = training(page).locator(".samples label")
    expect(samples).to_contain_text(re.compile(r"Sample \d+ of ([2-9]|\d\d)"), timeout=LONG)
    seen = steps(page)
    curve = training(page).locator(".curves svg[role=img] path.series.s0")
    drawn = curve.get_attribute("d")
    expect(curve).not_to_have_attribute("d", drawn or "", timeout=LONG)
    assert page.evaluate("Notification.asked") == 0
    shoot(page, "story-training")

    # a reload in the middle shows the same, and goes on
    page.reload()
    wait_for_control(page)
    expect(training(page).get_by_role("heading", level=2, name="Boats")).to_be_visible()
    expect(samples).to_contain_text(re.compile(r"Sample \d+ of ([2-9]|\d\d)"))
    wait_for(lambda: steps(page) > seen)

    # stopped, it rests; going on, it ends by itself, and says so wherever the person is
    press(page, "Stop")
    expect(badge(page)).to_have_text("Stopped", timeout=LONG)
    stopped = steps(page)
    assert stopped > seen
    press(page, "Go on")
    press(page, "Tell me when it is done")
    place(page, "Models")
    wait_for(lambda: page.evaluate("window.told.length"), LONG / 1000)
    assert page.evaluate("[window.told, Notification.asked]") == [["charrnn: Boats: done"], 1]
    expect(row(page, "Boats").locator(".badge")).to_have_text("Complete")
    row(page, "Boats").get_by_role("button", name="Open").click()
    expect(page).to_have_title("Done · Boats · charrnn")
    wait_for(lambda: steps(page) > stopped)
    for line in ("interrupted at step", f"going on at step {stopped:,}", f"finished at step {steps(page):,}"):
        expect(training(page).get_by_role("log")).to_contain_text(line)
    shoot(page, "story-done")

    # it writes, and what it offers can be taken
    press(page, "Write with it")
    writing = page.get_by_role("tabpanel", name="Write", exact=True)
    writing.get_by_label("Prompt").fill("7 small")
    writing.get_by_label("Length").fill("200")
    writing.get_by_role("button", name="Write", exact=True).click()
    expect(writing.locator(".status")).to_have_text("200 characters.")
    assert "boats rock" in writing.locator("article .written").inner_text()
    page.get_by_role("tab", name="Write together", exact=True).click()
    together = page.get_by_role("tabpanel", name="Write together", exact=True)
    together.get_by_label("Your text").fill("7 small boat")
    offers = together.get_by_role("button", name=re.compile("^Take "))
    expect(offers.first).to_have_accessible_name(re.compile("^Take s,"))
    offers.first.click()
    expect(together.get_by_label("Your text")).to_have_value("7 small boats")

    # a fork goes its own way; the first one learns on, and begins again
    place(page, "Training")
    press(page, "Fork…")
    training(page).get_by_label("Its name").fill("Lamps")
    press(page, "Make the new model")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Lamps")
    page.get_by_role("button", name="Start learning").click()
    expect(training(page).get_by_role("heading", level=2, name="Lamps")).to_be_visible()
    place(page, "Models")
    row(page, "Boats").get_by_role("button", name="Open").click()
    press(page, "Start over…")
    press(page, "Forget and start over")
    expect(badge(page)).to_have_text(re.compile("Waiting|Learning"))
    for name in ("Boats", "Lamps"):
        of = row(page, name)
        place(page, "Models")
        stop = of.get_by_role("button", name=re.compile("^Stop"))
        expect(of.get_by_text(re.compile("left|begins|place|starts|Complete|Stopped")).first).to_be_visible()
        if stop.is_visible():
            stop.click()
        expect(of.locator(".badge")).to_have_text(re.compile("Stopped|Complete|Ready"), timeout=LONG)

    # side by side
    place(page, "Compare")
    for name in ("Boats", "Lamps"):
        page.locator(".compare .offered li").filter(has_text=name).get_by_role("checkbox").check()
    expect(page.get_by_role("region", name="Figures").get_by_role("columnheader", name="Lamps")).to_be_visible()
    shoot(page, "story-compare")

    # and gone
    place(page, "Models")
    for name in ("Boats", "Lamps"):
        of = row(page, name)
        of.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete for good").click()
        expect(of).to_have_count(0)
    expect(page.get_by_text("Drop a text here")).to_be_visible()
    assert server.get("/models").json()["models"] == []


def test_a_training_outlives_the_server_under_an_open_page(browser: Browser, tmp_path: Path) -> None:
    options: dict[str, Any] = {"spare_dashboards": 0, "CHARRNN_LEASE_SECONDS": "10"}
    with running(tmp_path, **options) as server:
        visit = Visit(server)
        page = new_context(browser, visit).new_page()
        open_dashboard(page, server)
        place(page, "New model")
        begin(page, "Boats", "Until I stop it")
        wait_for(lambda: steps(page) > 400, LONG / 1000)
        port = server.port
        server.stop(signal.SIGKILL)
        expect(page.get_by_role("alert").filter(has_text="The server does not answer")).to_be_visible()
        before = steps(page)
    with running(tmp_path, port=port, **options) as server:
        expect(page.get_by_role("alert").filter(has_text="This dashboard has ended")).to_be_visible()
        page.get_by_role("button", name="Reload the page").click()
        wait_for_control(page)
        expect(training(page).get_by_role("heading", level=2, name="Boats")).to_be_visible()
        wait_for(lambda: steps(page) > before + 400, LONG / 1000)
        press(page, "Stop")
        expect(badge(page)).to_have_text("Stopped", timeout=LONG)
        assert visit.foreign() == []
        assert not any("uncaught" in problem for problem in visit.problems)
        page.context.close()
