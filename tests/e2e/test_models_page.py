"""The list of models and the way to a new one, in a browser. The server is real; whoever trains is played."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from charrnn import Workspace
from charrnn.jobs.records import Claim, Delivery
from charrnn.jobs.status import Status
from tests.e2e.browser import (
    DESK,
    PATIENCE,
    PHONE,
    Visit,
    axe,
    drop,
    new_context,
    open_dashboard,
    row,
    shoot,
    wait_for_control,
)
from tests.server.running import Server, running
from tests.server.sending import files
from tests.workspace.played import OTHER, TEXT, Attempt, saved_model

expect.set_options(timeout=PATIENCE)
NASTY = '<img src=x onerror="document.title=1"> <script>document.title=2</script>'
LARGE = 200_000_000  # bytes
LOOKS = [(f"{scheme}-{size['width']}", {"color_scheme": scheme, "viewport": size})
         for scheme in ("light", "dark") for size in (DESK, PHONE)]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that leaves the training to others, which is whoever plays it here."""
    folder = tmp_path_factory.mktemp("server")
    leave = "--CharRNNServer.supervise=False"
    with running(folder, leave, spare_dashboards=1, CHARRNN_LEASE_SECONDS="3600") as server:
        yield server


@pytest.fixture
def workspace(server: Server) -> Iterator[Workspace]:
    """What the server has, without any model."""
    workspace = Workspace(data_folder=server.folder / "data", lease_seconds=3600)
    for record in workspace.list(limit=200).models:
        if record.status == Status.RUNNING:
            workspace._store.finish(Claim(record.id, record.attempt), Status.STOPPED, Delivery())
        workspace.stop(record.id)
        workspace.delete(record.id)
    workspace._store.supervisor_alive("played", "here", os.getpid(), 1)
    yield workspace
    workspace.close()


@pytest.fixture
def new(page: Page, server: Server, workspace: Workspace) -> Page:
    """The page of a new model."""
    open_dashboard(page, server)
    go_to_new(page)
    return page


def go_to_new(page: Page) -> None:
    page.get_by_role("navigation", name="Places").get_by_role("button", name="New model").click()
    expect(page.get_by_text("Drop a text file here")).to_be_visible()


def choose_file(page: Page, content: bytes | Path, name: str = "poems.txt") -> None:
    given: Any = content
    if isinstance(content, bytes):
        given = {"name": name, "mimeType": "text/plain", "buffer": content}
    page.locator(".new-model input[type=file]").set_input_files(given)


def wait_for_report(page: Page) -> None:
    expect(page.get_by_text("How long may it learn?")).to_be_visible()


def only(workspace: Workspace) -> Any:
    (record,) = workspace.list().models
    return record


def wait_until(page: Page, condition: Any) -> None:
    """Wait until what does not show on the page has happened."""
    for _ in range(PATIENCE // 50):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never happened")


def is_as_wide_as_the_window(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


# a text becomes a model -----------------------------------------------------------------------------------------------


def test_a_file_dropped_on_the_empty_list_is_reported_on_and_started(
    page: Page, server: Server, workspace: Workspace
) -> None:
    open_dashboard(page, server)
    expect(page.get_by_text("Drop a text here")).to_be_visible()
    drop(page, ".models", "שלום עולם\nand a \u0301 mark\n" * 100, "Peace.txt")
    wait_for_report(page)
    expect(page.get_by_label("Name", exact=True)).to_have_value("Peace")
    histogram = page.locator(".histogram")
    expect(histogram.get_by_text("space", exact=True)).to_be_visible()
    expect(histogram.get_by_text("newline", exact=True)).to_be_visible()
    assert page.locator(".number").first.inner_text().split() == ["2,300", "characters"]
    hebrew = page.locator(".preview > div").first
    assert hebrew.evaluate("line => getComputedStyle(line).direction") == "rtl"
    page.get_by_label("1 minute", exact=True).check()
    page.get_by_role("button", name="Start learning").click()
    wait_until(page, lambda: only(workspace).status == "queued")
    assert only(workspace).options == {"minutes": 1.0}
    assert (only(workspace).name, only(workspace).corpus.name) == ("Peace", "Peace.txt")


def test_a_pasted_text_becomes_a_model_under_the_name_that_was_given(new: Page, workspace: Workspace) -> None:
    new.get_by_role("button", name="Use this text").click()
    expect(new.get_by_text("There is no text in it yet.")).to_be_visible()
    new.get_by_label("Name", exact=True).fill("Kettle")
    new.get_by_label("Or paste a text").fill(TEXT.decode())
    new.get_by_role("button", name="Use this text").click()
    wait_for_report(new)
    assert (only(workspace).name, only(workspace).corpus.characters) == ("Kettle", len(TEXT))


def test_a_sample_becomes_a_model_and_waits_in_the_list_until_it_is_started(new: Page, workspace: Workspace) -> None:
    new.get_by_role("button", name="Take the sample python").click()
    wait_for_report(new)
    new.get_by_label("Name", exact=True).fill("Snake")
    new.get_by_role("button", name="Not now").click()
    expect(row(new, "Snake").get_by_text("Ready")).to_be_visible()
    row(new, "Snake").get_by_role("button", name="Start…").click()
    wait_for_report(new)
    new.get_by_label("30 minutes", exact=True).check()
    new.get_by_role("button", name="Start learning").click()
    wait_until(new, lambda: only(workspace).status == "queued")
    assert only(workspace).options == {"minutes": 30.0}


def test_the_easy_ways_of_the_empty_list_need_one_click(page: Page, server: Server, workspace: Workspace) -> None:
    open_dashboard(page, server)
    page.get_by_role("button", name="Write with it").click()
    wait_until(page, lambda: [each.status for each in workspace.list().models] == ["complete"])
    assert only(workspace).model_file is not None
    workspace.delete(only(workspace).id)
    page.get_by_role("navigation", name="Places").get_by_role("button", name="Models").click()
    page.get_by_role("button", name="Learn Python").click()
    wait_until(page, lambda: [each.status for each in workspace.list().models] == ["queued"])
    assert only(workspace).options == {"minutes": 1.0}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04" + bytes(range(256)) * 40, "looks like a ZIP container"),
        (b"a line of text\n" * 10 + b"\0 and more\n", "has a NUL at byte 150"),
        (b"", "empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_reason_and_the_next_one_taken(
    new: Page, workspace: Workspace, visit: Visit, content: bytes, words: str
) -> None:
    visit.expect("status of 422")
    choose_file(new, content, "a file.bin")
    expect(new.get_by_role("alert").filter(has_text=words)).to_be_visible()
    assert workspace.list().models == []
    choose_file(new, TEXT)
    wait_for_report(new)
    assert only(workspace).name == "poems"


def test_a_very_short_text_is_taken_with_a_warning(new: Page) -> None:
    choose_file(new, b"Twinkle, twinkle, little star\n" * 5)
    expect(new.get_by_label("Good to know").get_by_text("Very short")).to_be_visible()


@pytest.mark.parametrize(
    ("encoding", "mark", "name", "place"),
    [("cp1252", b"", "Windows-1252", "byte 7"), ("utf-16-le", b"\xff\xfe", "UTF-16", "byte 0"),
     ("utf-16-be", b"", "UTF-16", "byte 0")],
)  # fmt: skip
def test_a_text_in_another_encoding_says_where_and_is_converted_on_request(
    new: Page, workspace: Workspace, visit: Visit, encoding: str, mark: bytes, name: str, place: str
) -> None:
    visit.expect("status of 422")
    text = "Ein schöner Tag, süße Käfer\n" * 100
    choose_file(new, mark + text.encode(encoding), "Tag.txt")
    convert = new.get_by_role("button", name="Convert it and go on")
    expect(convert).to_be_focused()
    refused = new.locator(".refused")
    expect(refused.get_by_text(f"is written in {name}")).to_be_visible()
    expect(refused.get_by_text("Ein schöner Tag")).to_be_visible()
    expect(refused.get_by_text(place)).to_be_visible()
    assert workspace.list().models == []
    shoot(new, f"new-model-{encoding}")
    new.keyboard.press("Enter")
    wait_for_report(new)
    assert only(workspace).corpus.characters == len(text)
    assert only(workspace).corpus.preview.startswith("Ein schöner Tag, süße Käfer\n")


def test_wrong_options_are_told_beside_their_fields_and_the_first_is_focused(new: Page, workspace: Workspace) -> None:
    choose_file(new, TEXT)
    wait_for_report(new)
    new.get_by_text("Advanced: every option").click()
    new.get_by_label("Rnn size").fill("many")
    new.get_by_label("Dropout").fill("2")
    new.get_by_text("Advanced: every option").click()
    new.get_by_role("button", name="Start learning").click()
    expect(new.get_by_label("Rnn size")).to_be_focused()
    expect(new.get_by_text("must be a whole number, not 'many'")).to_be_visible()
    expect(new.get_by_text("must be less than 1.0, not '2'")).to_be_visible()
    expect(new.get_by_label("Dropout")).to_have_attribute("aria-invalid", "true")
    axe(new)
    shoot(new, "new-model-wrong-options")
    assert only(workspace).status == "ready"
    new.get_by_label("Rnn size").fill("32")
    new.get_by_label("Dropout").fill("")
    new.get_by_label("Cell").select_option("gru")
    new.get_by_role("button", name="Start learning").click()
    wait_until(new, lambda: only(workspace).status == "queued")
    assert only(workspace).options == {"minutes": 3.0, "rnn_size": 32, "cell": "gru"}


def test_a_text_that_waits_for_its_start_is_there_after_a_reload(new: Page, workspace: Workspace) -> None:
    choose_file(new, TEXT)
    wait_for_report(new)
    expect(new).to_have_url(re.compile(f"#new/{only(workspace).id}$"))
    new.reload(wait_until="commit")
    wait_for_control(new)
    wait_for_report(new)
    new.get_by_role("button", name="Not now, keep it in the list").click()
    expect(new).to_have_url(re.compile("#models$"))
    go_to_new(new)
    expect(new).to_have_url(re.compile("#new$"))


def test_another_text_takes_the_place_of_the_first(new: Page, workspace: Workspace) -> None:
    choose_file(new, TEXT, "first.txt")
    wait_for_report(new)
    new.get_by_role("button", name="Take another text").click()
    new.get_by_role("button", name="Keep the text it has").click()
    expect(new.get_by_role("heading", name="first.txt")).to_be_focused()
    new.get_by_role("button", name="Take another text").click()
    choose_file(new, OTHER, "second.txt")
    expect(new.get_by_role("heading", name="second.txt")).to_be_visible()
    assert only(workspace).corpus.bytes == len(OTHER)


def test_the_whole_way_is_open_to_the_keyboard_alone(page: Page, server: Server, workspace: Workspace) -> None:
    def tab_to(name: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if (
                page.evaluate("document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent")
                == name
            ):
                return
        raise AssertionError(f"no Tab leads to {name!r}")

    open_dashboard(page, server)
    expect(page.get_by_text("Drop a text here")).to_be_visible()
    tab_to("New model")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Drop a text file here")).to_be_visible()
    tab_to("Name")
    page.keyboard.type("By hand")
    tab_to("Or paste a text")
    page.keyboard.insert_text(TEXT.decode())
    tab_to("Use this text")
    page.keyboard.press("Enter")
    wait_for_report(page)
    expect(page.get_by_role("heading", name="Pasted text.txt")).to_be_focused()
    tab_to("3 minutes")
    page.keyboard.press("ArrowDown")
    tab_to("Start learning")
    page.keyboard.press("Enter")
    wait_until(page, lambda: only(workspace).status == "queued")
    assert (only(workspace).name, only(workspace).options) == ("By hand", {"minutes": 10.0})


# large texts ----------------------------------------------------------------------------------------------------------


def large(path: Path, size: int) -> Path:
    line = b"The kettle hums a low brown tune, the cat has claimed the chair.\n"
    with path.open("wb") as file:
        piece = line * (1_000_000 // len(line))
        while file.tell() < size:
            file.write(piece)
    return path


def test_an_upload_that_is_cancelled_leaves_nothing_behind(
    new: Page, server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    before = files(server)
    network = new.context.new_cdp_session(new)
    network.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000}
    network.send("Network.emulateNetworkConditions", slow)
    choose_file(new, large(tmp_path / "slow.txt", 60_000_000))
    expect(new.get_by_text(re.compile(r"slow\.txt: .* of 6\d MB"))).to_be_visible()
    axe(new)
    shoot(new, "new-model-upload")
    new.get_by_role("button", name="Cancel").click()
    expect(new.get_by_role("button", name="Choose a file")).to_be_focused()
    wait_until(new, lambda: files(server) == before)
    assert workspace.list().models == []
    network.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    choose_file(new, TEXT)
    wait_for_report(new)


def kernel(server: Server, id: str) -> psutil.Process:
    """The process of a dashboard."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    (found,) = [each for each in children if any(f"kernel-{id}" in word for word in each.cmdline())]
    return found


def test_200_megabytes_go_past_the_kernel(page: Page, server: Server, workspace: Workspace, tmp_path: Path) -> None:
    with page.expect_response("**/charrnn/dashboard/kernels") as opened:
        open_dashboard(page, server)
    go_to_new(page)
    choose_file(page, TEXT)  # so that all is imported that a report needs
    wait_for_report(page)
    process = kernel(server, opened.value.json()["id"])
    before = process.memory_info().rss
    page.get_by_role("button", name="Take another text").click()
    choose_file(page, large(tmp_path / "large.txt", LARGE))
    expect(page.get_by_role("heading", name="large.txt")).to_be_visible()
    record = only(workspace)
    assert record.corpus.bytes >= LARGE
    assert process.memory_info().rss - before < 30_000_000
    workspace.delete(record.id)
    expect(page.get_by_text("Drop a text file here")).to_be_visible()  # the view notices that it is gone


# the list -------------------------------------------------------------------------------------------------------------


def played(workspace: Workspace, tmp_path: Path) -> Attempt:
    """A model of every status; one of them runs."""
    learned = saved_model(tmp_path / "learned.safetensors")
    workspace.create("A draft")
    workspace.create("Ready, steady", TEXT)
    for name, status in (("Faust", Status.COMPLETE), ("Sea songs", Status.STOPPED)):
        workspace.create(name, TEXT, start=True)
        attempt = Attempt(workspace)
        attempt.publish(learned, best_validation_loss=1.43, progress=0.4, seconds=70.0)
        workspace._store.finish(attempt.claim, status, Delivery())
    workspace.create("Broken", TEXT, start=True)
    workspace._store.finish(Attempt(workspace).claim, Status.FAILED, Delivery(), error="the worker was killed")
    workspace.create("On its way", TEXT, start=True, minutes=10)
    running = Attempt(workspace)
    running.publish(learned, best_validation_loss=1.61, progress=0.42, seconds=250.0, seconds_left=340.0)
    for name in ("Next", "שירים"):
        workspace.create(name, TEXT, start=True, minutes=3)
    return running


def test_every_row_says_what_its_model_does_and_offers_what_can_be_done(
    page: Page, server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    played(workspace, tmp_path)
    open_dashboard(page, server)
    expected = {
        "A draft": ("Draft needs a text", ["Add text", "Rename", "Delete"]),
        "Ready, steady": ("Ready not started yet", ["Start…", "Rename", "Delete"]),
        "Faust": ("Complete", ["Open", "Write", "Continue…", "Rename", "Delete"]),
        "Sea songs": ("Stopped at 40 %", ["Open", "Write", "Continue", "Rename", "Delete"]),
        "Broken": ("Failed the worker was killed", ["Open", "Try again", "Rename", "Delete"]),
        "On its way": ("Running 42 %, about 6 minutes left", ["Open", "Write", "Stop", "Rename"]),
        "Next": ("Queued next in the queue, starts in about 6 minutes", ["Open", "Stop", "Rename"]),
        "שירים": ("Queued 2nd in the queue, starts in about 9 minutes", ["Open", "Stop", "Rename"]),
    }
    for name, (words, actions) in expected.items():
        shown = row(page, name)
        expect(shown.locator(".doing > div")).to_have_text(words)
        assert shown.get_by_role("button").all_inner_texts() == actions
    expect(row(page, "Faust").get_by_role("cell").nth(2)).to_contain_text("1.43")
    assert row(page, "On its way").get_by_role("progressbar").evaluate("bar => bar.value") == 0.42
    names = page.locator(".models .name").all_inner_texts()
    assert names == list(expected)[::-1]


def test_what_is_being_typed_or_asked_outlives_what_happens_meanwhile(
    page: Page, server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    running = played(workspace, tmp_path)
    open_dashboard(page, server)
    row(page, "On its way").get_by_role("button", name="Rename").click()
    field = page.get_by_label("New name of On its way")
    expect(field).to_be_focused()
    field.fill("Half a na")
    running.store.deliver(running.claim, Delivery(fields={"progress": 0.77, "seconds_left": 100.0}), 3600)
    workspace.create("Newer than all")
    expect(page.get_by_text("77 %, about 2 minutes left")).to_be_visible()
    expect(page.get_by_text("Newer than all")).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_value("Half a na")
    page.keyboard.type("me")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rename Half a name")).to_be_focused()
    assert workspace.get(running.claim.model_id).name == "Half a name"


def test_a_rename_can_be_left_and_one_that_cannot_be_is_told(page: Page, server: Server, workspace: Workspace) -> None:
    workspace.create("Faust")
    open_dashboard(page, server)
    page.get_by_role("button", name="Rename Faust").click()
    page.get_by_label("New name of Faust").fill("  ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="a model needs one")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Rename Faust")).to_be_focused()
    assert only(workspace).name == "Faust"


def test_nothing_is_deleted_before_it_was_asked_and_answered(page: Page, server: Server, workspace: Workspace) -> None:
    workspace.create("Keep me")
    workspace.create("Drop me", TEXT)
    open_dashboard(page, server)
    delete = page.get_by_role("button", name="Delete Drop me")
    delete.click()
    expect(page.get_by_text("Its text is lost for good; nothing was learned yet.")).to_be_visible()
    expect(page.get_by_role("button", name="Delete for good")).to_be_focused()
    page.keyboard.press("Escape")
    expect(delete).to_be_focused()
    assert len(workspace.list().models) == 2
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Drop me", exact=True)).to_have_count(0)
    assert only(workspace).name == "Keep me"
    expect(page.get_by_role("button", name="Add text Keep me")).to_be_focused()
    page.get_by_role("button", name="Delete Keep me").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Drop a text here")).to_be_visible()


def test_models_are_stopped_and_go_on_from_the_list(
    page: Page, server: Server, workspace: Workspace, tmp_path: Path
) -> None:
    running = played(workspace, tmp_path)
    open_dashboard(page, server)
    page.get_by_role("button", name="Stop Next").click()
    expect(row(page, "Next").get_by_text("Ready", exact=True)).to_be_visible()
    page.get_by_role("button", name="Stop On its way").click()
    expect(row(page, "On its way").get_by_role("button", name="Stop now")).to_be_visible()
    assert workspace.get(running.claim.model_id).stop_requested == 1
    page.get_by_role("button", name="Continue Sea songs").click()
    expect(row(page, "Sea songs").get_by_text("Queued", exact=True)).to_be_visible()
    page.get_by_role("button", name="Continue… Faust").click()
    page.get_by_role("button", name="10 minutes").click()
    expect(row(page, "Faust").get_by_text("Queued", exact=True)).to_be_visible()
    assert workspace.find("Faust").options["minutes"] == pytest.approx(10 + 70 / 60)


def test_models_are_searched_by_name_and_status(page: Page, server: Server, workspace: Workspace) -> None:
    for name in ("Faust", "fables", "Mephisto"):
        workspace.create(name)
    workspace.create("Fantasy", TEXT)
    open_dashboard(page, server)
    names = page.locator(".models .name")
    expect(names).to_have_text(["Fantasy", "Mephisto", "fables", "Faust"])
    page.get_by_label("Name begins with").fill("fa")
    expect(names).to_have_text(["Fantasy", "fables", "Faust"])
    page.get_by_label("Status").select_option("Draft")
    expect(names).to_have_text(["fables", "Faust"])
    page.get_by_label("Name begins with").fill("nothing")
    expect(page.get_by_text("No model fits.")).to_be_visible()
    expect(page.get_by_text("Drop a text here")).to_be_hidden()


def test_older_models_come_on_request(page: Page, server: Server, workspace: Workspace) -> None:
    for number in range(53):
        workspace.create(f"model {number}")
    open_dashboard(page, server)
    expect(page.get_by_text("50 of 53 models")).to_be_visible()
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".models .name")).to_have_count(53)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_html_in_a_name_or_a_text_is_shown_as_it_is_written(new: Page, server: Server, workspace: Workspace) -> None:
    title = new.title()
    new.get_by_label("Name", exact=True).fill(NASTY)
    choose_file(new, (NASTY + "\n").encode() * 50, "a <b>bold.txt")
    wait_for_report(new)
    expect(new.get_by_role("heading", name="a <b>bold.txt")).to_be_visible()
    expect(new.locator(".preview")).to_contain_text(NASTY)
    new.get_by_role("button", name="Not now").click()
    expect(new.locator(".models .name")).to_have_text(NASTY)
    new.get_by_role("button", name="Delete <img").click()
    expect(new.get_by_text(f"Delete “{NASTY}”?")).to_be_visible()
    assert new.locator(".models img, .models script, .new-model img, .new-model script").count() == 0
    assert new.title() == title


@pytest.mark.parametrize(("name", "look"), LOOKS, ids=[name for name, _ in LOOKS])
def test_everything_fits_and_can_be_read_by_all(
    browser: Browser, server: Server, workspace: Workspace, visit: Visit, tmp_path: Path, name: str, look: Any
) -> None:
    context = new_context(browser, visit, **look)
    page = context.new_page()

    def seen(what: str) -> None:
        page.mouse.move(0, 0)
        shoot(page, f"{what}-{name}")
        axe(page)
        assert is_as_wide_as_the_window(page)

    open_dashboard(page, server)
    expect(page.get_by_text("Drop a text here")).to_be_visible()
    seen("models-empty")
    go_to_new(page)
    seen("new-model")
    choose_file(page, OTHER, "Deich.txt")
    wait_for_report(page)
    seen("new-model-report")
    page.get_by_text("Advanced: every option").click()
    seen("new-model-advanced")
    played(workspace, tmp_path)
    workspace.create(NASTY * 2)
    page.get_by_role("navigation", name="Places").get_by_role("button", name="Models").click()
    expect(row(page, "On its way").get_by_text("about 6 minutes left")).to_be_visible()
    seen("models")
    page.get_by_role("button", name="Delete Faust").click()
    page.get_by_role("button", name="Rename Sea songs").click()
    expect(page.get_by_label("New name of Sea songs")).to_be_focused()
    seen("models-asked")
    context.close()
