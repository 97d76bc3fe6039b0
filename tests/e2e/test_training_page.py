"""A training in a browser: watched, steered, taken home, and laid beside another one."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from charrnn import Workspace
from charrnn.jobs.records import Claim, Delivery, Metric
from charrnn.jobs.status import Status
from tests.e2e.browser import DESK, PATIENCE, PHONE, Visit, axe, new_context, open_dashboard, shoot
from tests.jobs.trainings import VERSE, wait_for
from tests.server.running import Server, running
from tests.workspace.played import Attempt

expect.set_options(timeout=PATIENCE)
NASTY = '<img src=x onerror="document.title=1"> <script>document.title=2</script>'
LONG = "W" * 200  # as long as a name can be, and wide
LOOKS = [(f"{scheme}-{size['width']}", {"color_scheme": scheme, "viewport": size})
         for scheme in ("light", "dark") for size in (DESK, PHONE)]  # fmt: skip
TEXT = (VERSE * 200).encode()
LEASE = 3600  # seconds: who is played does not say that he is alive


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that leaves the training to others, which is whoever plays it here."""
    leave = "--CharRNNServer.supervise=False"
    folder = tmp_path_factory.mktemp("server")
    with running(folder, leave, spare_dashboards=1, CHARRNN_LEASE_SECONDS=str(LEASE)) as server:
        yield server


@pytest.fixture
def workspace(server: Server) -> Iterator[Workspace]:
    """What the server has, without any model."""
    workspace = Workspace(data_folder=server.folder / "data", lease_seconds=LEASE)
    for record in workspace.list(limit=200).models:
        if record.status == Status.RUNNING:
            workspace._store.finish(Claim(record.id, record.attempt), Status.STOPPED, Delivery())
        workspace.stop(record.id)
        workspace.delete(record.id)
    workspace._store.supervisor_alive("played", "here", os.getpid(), 1)
    yield workspace
    workspace.close()


def begun(workspace: Workspace, name: str = "boats", **options: Any) -> tuple[str, Attempt]:
    """A training that somebody plays: its id, and who plays it."""
    id = workspace.create(name, TEXT, start=True, **options).id
    return id, Attempt(workspace)


def tell(attempt: Attempt, first: int, last: int) -> None:
    """Deliver these steps, of which every tenth is validated and writes; the one after them is under way."""
    attempt.deliver(
        lines=[(step, f"step {step} of it") for step in range(first, last + 1)],
        metrics=[
            Metric(step, step / 2, step / 40, 1 + 2 / step**0.5, 0.9 + 2 / step**0.5 if step % 10 == 0 else None)
            for step in range(first, last + 1)
        ],
        samples=[(step, f"wrote {step} {NASTY}") for step in range(first, last + 1) if step % 10 == 0],
        fields={
            "step": last + 1, "progress": last / 200, "epoch": last / 40, "seconds": last / 2,
            "seconds_left": 100 - last / 2, "characters_per_second": 12345.0,
            "best_validation_loss": 0.9 + 2 / last**0.5,
        },
    )  # fmt: skip


def watch(page: Page, server: Server, name: str) -> None:
    """Open the dashboard, and there the training of that name."""
    open_dashboard(page, server)
    page.locator(".models").get_by_role("button", name=name).first.click()
    expect(training(page).get_by_role("heading", level=2, name=name)).to_be_visible()


def training(page: Page) -> Locator:
    return page.locator(".training")


def slider(page: Page) -> Locator:
    return training(page).locator(".samples").get_by_role("slider")


def steps_drawn(page: Page) -> str:
    """The curve of the training, once the lines to beat are there, for which it makes room."""
    drawing = page.locator(".training .curves svg[role=img]")
    expect(drawing).to_have_attribute("aria-label", re.compile("guessing evenly.*pairs"))
    return drawing.locator("path.series.s0").get_attribute("d") or ""


def test_curves_samples_and_log_move_as_it_learns(page: Page, server: Server, workspace: Workspace) -> None:
    _, attempt = begun(workspace)
    tell(attempt, 1, 40)
    watch(page, server, "boats")
    expect(training(page).locator(".standing")).to_contain_text("step 41")
    expect(training(page).locator(".standing")).to_contain_text("1:20 left")
    expect(training(page).locator(".samples label")).to_have_text("Sample 4 of 4, after 40 steps")
    expect(training(page).get_by_role("log")).to_contain_text("step 40 of it")
    before = steps_drawn(page)
    tell(attempt, 41, 60)
    expect(training(page).locator(".samples label")).to_have_text("Sample 6 of 6, after 60 steps")
    expect(training(page).get_by_role("log").locator(".line")).to_have_count(60)
    assert steps_drawn(page) != before
    expect(page).to_have_title("30 % · boats · charrnn")
    slider(page).focus()
    page.keyboard.press("Home")
    expect(training(page).locator(".samples label")).to_have_text("Sample 1 of 6, after 10 steps")
    tell(attempt, 61, 70)
    expect(training(page).locator(".samples label")).to_have_text("Sample 1 of 7, after 10 steps")
    page.keyboard.press("End")
    tell(attempt, 71, 80)
    expect(training(page).locator(".samples label")).to_have_text("Sample 8 of 8, after 80 steps")
    attempt.end(lines=[(81, "that was all")])
    expect(training(page).locator(".badge")).to_have_text("Done")
    expect(training(page).get_by_role("log")).to_contain_text("that was all")
    expect(page).to_have_title("Done · boats · charrnn")


def test_what_a_text_says_is_never_part_of_the_page(page: Page, server: Server, workspace: Workspace) -> None:
    _, attempt = begun(workspace, NASTY)
    tell(attempt, 1, 20)
    attempt.deliver(lines=[(21, NASTY)])
    watch(page, server, NASTY)
    expect(training(page).locator("pre.sample")).to_have_text(f"wrote 20 {NASTY}")
    expect(training(page).get_by_role("log").locator(".line").last).to_contain_text(NASTY)
    expect(page).to_have_title(f"10 % · {NASTY} · charrnn")
    with page.expect_download() as numbers:
        training(page).get_by_role("button", name="Numbers (CSV)").click()
    assert numbers.value.suggested_filename == "img src-x onerror-document.title-1- -script-document.title-2-script.csv"
    places = page.get_by_role("navigation", name="Places")
    expect(places.locator(".chosen")).to_have_text(NASTY)
    _, other = begun(workspace, LONG)
    tell(other, 1, 20)
    places.get_by_role("button", name="Compare").click()
    compare = page.locator(".compare")
    for name in (NASTY, LONG):
        compare.get_by_role("checkbox", name=name).check()
    for where in (".legend li", "thead th", "article h4"):
        expect(compare.locator(where)).to_have_text([NASTY, LONG])
    expect(compare.locator("article pre").first).to_have_text(f"wrote 20 {NASTY}")
    table = compare.locator(".scroll")
    assert table.evaluate("box => box.scrollWidth <= box.clientWidth"), "a long name makes the table wide"
    assert compare.locator("thead").evaluate("head => head.clientHeight < 150"), "a long name makes the table high"
    widths = compare.locator(".legend svg").evaluate_all("lines => lines.map((line) => line.clientWidth)")
    assert widths == [28, 28], "a long name leaves no room for the line that it stands for"
    assert page.locator("#rendered_cells :is(img, script:not([type]))").count() == 0


def test_a_loss_is_shown_in_the_unit_that_was_chosen_also_after_a_reload(
    page: Page, server: Server, workspace: Workspace
) -> None:
    _, attempt = begun(workspace)
    tell(attempt, 1, 40)
    watch(page, server, "boats")
    chart = training(page).locator("svg[role=img]")
    expect(chart).to_have_attribute("aria-label", re.compile("guessing evenly.*pairs"))
    nats = chart.get_attribute("aria-label") or ""
    training(page).get_by_label("Loss in").select_option("bits")
    expect(chart).to_contain_text("bits per character")
    assert chart.get_attribute("aria-label") != nats
    training(page).get_by_label("Over", exact=True).select_option("step")
    expect(chart).to_contain_text("steps")
    watch(page, server, "boats")
    expect(training(page).locator("svg[role=img]")).to_contain_text("bits per character")
    expect(training(page).get_by_label("Over", exact=True)).to_have_value("step")
    training(page).locator(".frame").focus()
    page.keyboard.press("Home")
    expect(training(page).locator(".reading")).to_have_text("steps 1: training 4.33")
    page.keyboard.press("End")
    expect(training(page).locator(".reading")).to_contain_text("steps 40: training")


def test_the_numbers_and_the_picture_can_be_taken_home(
    page: Page, server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    _, attempt = begun(workspace)
    tell(attempt, 1, 20)
    watch(page, server, "boats")
    with page.expect_download() as numbers:
        training(page).get_by_role("button", name="Numbers (CSV)").click()
    numbers.value.save_as(tmp_path / "numbers.csv")
    with (tmp_path / "numbers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 21))
    assert float(rows[3]["train_loss"]) == 2.0
    assert (rows[0]["validation_loss"], numbers.value.suggested_filename) == ("", "boats.csv")
    with page.expect_download() as picture:
        training(page).get_by_role("button", name="Picture (PNG)").click()
    picture.value.save_as(tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(content[16:20], "big") > 400


def test_two_browsers_follow_and_one_that_reloads_sees_the_same(
    page: Page, server: Server, workspace: Workspace, browser: Browser, visit: Visit
) -> None:
    _, attempt = begun(workspace)
    tell(attempt, 1, 30)
    watch(page, server, "boats")
    other = new_context(browser, visit).new_page()
    watch(other, server, "boats")
    tell(attempt, 31, 50)
    for each in (page, other):
        expect(training(each).locator(".samples label")).to_have_text("Sample 5 of 5, after 50 steps")
    seen = steps_drawn(page)
    assert seen == steps_drawn(other)
    watch(page, server, "boats")
    expect(training(page).locator(".samples label")).to_have_text("Sample 5 of 5, after 50 steps")
    assert steps_drawn(page) == seen
    training(other).get_by_role("button", name="Stop", exact=True).click()
    expect(training(page).get_by_role("button", name="Stop at once")).to_be_visible()
    other.context.close()


def test_a_failure_says_what_to_do(page: Page, server: Server, workspace: Workspace) -> None:
    id, attempt = begun(workspace)
    tell(attempt, 1, 20)
    workspace._store.finish(attempt.claim, Status.FAILED, Delivery(), f"no room on the disk {NASTY}")
    watch(page, server, "boats")
    expect(training(page).locator(".problem")).to_contain_text(f"no room on the disk {NASTY}")
    training(page).get_by_role("button", name="Go on").click()
    wait_for(lambda: workspace.get(id).status == Status.QUEUED)
    expect(training(page).locator(".standing")).to_contain_text("place 1 in the queue")


@pytest.mark.parametrize(("name", "options"), LOOKS)
def test_it_looks_right(
    server: Server, workspace: Workspace, browser: Browser, visit: Visit, name: str, options: dict[str, Any]
) -> None:
    for model in ("boats", "lamps"):
        _, attempt = begun(workspace, model, rnn_size=64 if model == "boats" else 128)
        tell(attempt, 1, 120)
    context = new_context(browser, visit, **options)
    page = context.new_page()
    watch(page, server, "boats")
    expect(training(page).locator("path.series.s1")).to_be_visible()
    shoot(page, f"training-{name}")
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("navigation", name="Places").get_by_role("button", name="Compare").click()
    for model in ("boats", "lamps"):
        page.locator(".compare").get_by_role("checkbox", name=model).check()
    expect(page.locator(".compare article")).to_have_count(2)
    expect(page.locator(".compare table")).to_contain_text("Units of a layer")
    expect(page.locator(".compare article pre").first).to_contain_text(NASTY)
    shoot(page, f"compare-{name}")
    axe(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".compare").get_by_role("slider").press("Home")
    expect(page.locator(".compare article").first).to_contain_text("after 10 steps")
    context.close()
