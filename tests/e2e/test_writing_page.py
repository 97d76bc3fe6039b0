"""Writing in a browser on a real server, with the model that ships and with workers that are played: no training."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import charrnn
from charrnn import Workspace
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from tests.e2e.browser import DESK, PATIENCE, PHONE, Visit, address, axe, new_context, shoot, wait_for_control
from tests.server.running import Server, running
from tests.workspace.played import LETTERS, TEXT, Attempt

expect.set_options(timeout=PATIENCE)
SHIPPED = Path(charrnn.__file__).parent / "data" / "python.safetensors"
LINE = "the cat has claimed the chair,"
WAYS = ["Write", "Write together", "Temperatures", "Surprise", "Is it copying?"]


@dataclass
class Models:
    """Ids of models that the server has."""

    shipped: str  # without a text
    learned: str  # the same, which has "learned" a text about a cat
    slow: str  # takes minutes for what a page may ask for
    unlearned: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that leaves the training to others."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, "--CharRNNServer.supervise=False", spare_dashboards=1) as server:
        yield server


@pytest.fixture(scope="module")
def models(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    workspace = Workspace(data_folder=server.folder / "data", lease_seconds=3600)
    learned = workspace.create("About a cat", TEXT).id
    workspace.start(learned)
    attempt = Attempt(workspace)
    attempt.publish(SHIPPED, step=700, progress=1.0)
    attempt.end()
    large = tmp_path_factory.mktemp("model") / "large.safetensors"
    Model.initial("lstm", Vocabulary(LETTERS), rnn_size=640, num_layers=2).save(large)
    yield Models(
        workspace.import_model(SHIPPED, "Python").id, learned, workspace.import_model(large, "Slow").id,
        workspace.create("Faust").id,
    )  # fmt: skip
    workspace.close()


def open_writer(page: Page, server: Server, id: str, way: str = "Write") -> Locator:
    """The writer with a model, and one of its ways to write."""
    page.goto(f"{address(server)}#writing/{id}", wait_until="commit")
    wait_for_control(page)
    expect(page.get_by_role("tab", name="Write", exact=True)).to_be_visible()
    page.get_by_role("tab", name=way, exact=True).click()
    return page.get_by_role("tabpanel", name=way, exact=True)


def written(panel: Locator) -> list[str]:
    """The texts that are shown, prompts included."""
    return panel.locator("article .written").all_inner_texts()


def until_longer(panel: Locator, length: int) -> int:
    """Wait until more than so many characters are written, and return how many there are."""
    text = panel.locator("article .written").first
    expect(text).to_have_text(re.compile(rf"[\s\S]{{{length + 1},}}"))
    return len(text.inner_text())


def write(panel: Locator, characters: int | None = None) -> None:
    """Write, and wait until it is done."""
    panel.get_by_role("button", name=re.compile("^Write( them)?$")).click()
    expect(panel.locator(".status")).to_have_text(re.compile(r"characters\.\s*$"))


def test_the_text_grows_after_its_prompt_until_it_has_the_length(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Prompt").fill("def size(self")
    panel.get_by_label("Length").fill("500")
    write(panel)
    expect(panel.locator(".status")).to_have_text("500 characters.")
    (text,) = written(panel)
    assert text.startswith("def size(self")
    assert panel.locator(".prompt").inner_text() == "def size(self"
    expect(panel.get_by_role("button", name="Write", exact=True)).to_be_visible()
    shoot(page, "writing-write")


def test_a_long_text_stops_at_once_and_what_was_written_stays(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.slow)
    panel.get_by_label("Length").fill("100000")
    panel.get_by_label("Variations").select_option("4")
    panel.get_by_role("button", name="Write", exact=True).click()
    first = until_longer(panel, 0)
    until_longer(panel, first)
    panel.get_by_role("button", name="Stop").click()
    expect(panel.locator(".status")).to_have_text(re.compile("Stopped: what was written stays"))
    stopped = written(panel)
    assert 0 < sum(map(len, stopped)) < 400_000
    other = page.get_by_role("tabpanel", name="Temperatures")
    page.get_by_role("tab", name="Temperatures").click()
    other.get_by_label("Length").fill("30")
    write(other)  # the model is free for something else
    page.get_by_role("tab", name="Write", exact=True).click()
    assert written(panel) == stopped


def test_variations_stand_side_by_side_and_the_same_seed_writes_them_again(
    page: Page, server: Server, models: Models
) -> None:
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Variations").select_option("3")
    panel.get_by_label("Length").fill("80")
    panel.get_by_text("More choices").click()
    panel.get_by_label("A new seed each time").uncheck()
    panel.get_by_label("Seed", exact=True).fill("7")
    write(panel)
    texts = written(panel)
    assert len(set(texts)) == 3
    expect(panel.get_by_role("heading")).to_have_text(["Text 1", "Text 2", "Text 3"])
    left, right = (card.bounding_box() for card in panel.locator("article").all()[:2])
    assert left is not None
    assert right is not None
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    write(panel)
    assert written(panel) == texts
    panel.get_by_role("button", name="New seed").click()
    write(panel)
    assert not set(written(panel)) & set(texts)


def test_what_was_chosen_is_there_after_a_reload(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.learned)
    panel.get_by_label("Prompt").fill("import os")
    panel.get_by_label("Length").fill("44")
    panel.get_by_label("Temperature").press("Home")
    expect(panel.get_by_text("0.00 · always the likeliest")).to_be_visible()
    panel.get_by_text("More choices").click()
    panel.get_by_label("Top-k").fill("9")
    write(panel)
    panel = open_writer(page, server, models.learned)
    page.reload(wait_until="commit")
    wait_for_control(page)
    expect(panel.get_by_label("Prompt")).to_have_value("import os")
    expect(panel.get_by_label("Length")).to_have_value("44")
    expect(panel.get_by_label("Temperature")).to_have_value("0")
    expect(panel.get_by_label("Top-k")).to_have_value("9")
    panel.get_by_label("Temperature").press("End")
    panel.get_by_label("Top-k").fill("")
    panel.get_by_label("Prompt").fill("")
    write(panel)


def test_a_stored_temperature_that_the_slider_has_no_place_for_is_shown_and_kept(
    page: Page, server: Server, models: Models
) -> None:
    model = f"/models/{models.learned}"
    for stored, shown in ((3.7, "3.70 · wild"), (0.33, "0.33 · careful")):
        assert server.ask("PATCH", model, json={"sampling": {"temperature": stored}}).status_code == 200
        panel = open_writer(page, server, models.learned)
        page.reload(wait_until="commit")
        wait_for_control(page)
        expect(panel.get_by_text(shown)).to_be_visible()
        write(panel)
        assert server.get(model).json()["sampling"]["temperature"] == stored
    panel.get_by_label("Temperature").press("Home")
    expect(panel.get_by_text("0.00 · always the likeliest")).to_be_visible()


def test_what_cannot_be_is_said_at_its_field(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Length").fill("0")
    panel.get_by_role("button", name="Write", exact=True).click()
    expect(panel.get_by_text("Give a whole number from 1 to 100,000.")).to_be_visible()
    expect(panel.get_by_label("Length")).to_be_focused()
    panel.get_by_label("Length").fill("10")
    panel.get_by_label("Prompt").fill("x" * 10_001)
    panel.get_by_role("button", name="Write", exact=True).click()
    expect(panel.get_by_role("alert")).to_have_text(re.compile("prompt: may have 10,000 characters here"))


def test_characters_that_were_never_seen_are_marked_and_named(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Prompt").fill("名 = 🙂")
    expect(panel.get_by_text("The model has never seen “名” and “🙂”")).to_be_visible()
    write(panel)
    expect(panel.locator(".written .strange")).to_have_text(["名", "🙂"])
    panel.get_by_label("Prompt").fill("name")
    expect(panel.get_by_text("The model has never seen")).to_be_hidden()


def test_text_that_runs_from_right_to_left_does_so(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Prompt").fill("שלום עולם")
    write(panel)
    for element in (panel.get_by_label("Prompt"), panel.locator(".written > div").first):
        assert element.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_one_prompt_is_written_at_several_temperatures(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped, "Temperatures")
    panel.get_by_label("Prompt").fill("class ")
    panel.get_by_label("Length").fill("60")
    panel.get_by_label("Temperatures").fill("0, 0.5 1.1")
    write(panel)
    headings = ["0 · always the likeliest", "0.5 · steady", "1.1 · bold"]
    expect(panel.get_by_role("heading")).to_have_text(headings)
    texts = written(panel)
    assert all(text.startswith("class ") for text in texts)
    assert len(set(texts)) == 3
    panel.get_by_label("Temperatures").fill("0.5, hot")
    panel.get_by_role("button", name="Write them").click()
    expect(panel.get_by_text("Give one to four numbers from 0 to 2")).to_be_visible()
    assert written(panel) == texts


def first_offer(panel: Locator) -> str:
    """The character that the model offers first, once it has thought about the text that is there."""
    expect(panel.locator(".offers:not([aria-busy]) .offer").first).to_be_visible()
    name = panel.locator(".offer .name").first.inner_text()
    return {"space": " ", "newline": "\n"}.get(name, name)


def test_what_the_model_offers_is_taken_by_click_by_key_and_given_back(
    page: Page, server: Server, models: Models
) -> None:
    panel = open_writer(page, server, models.shipped, "Write together")
    text = panel.get_by_label("Your text")
    text.fill("import")
    offers = panel.get_by_role("button", name=re.compile("^Take "))
    first = first_offer(panel)
    expect(offers).to_have_count(10)
    offers.first.click()
    expect(text).to_have_value(f"import{first}")
    second = first_offer(panel)
    page.keyboard.press("1")
    expect(text).to_have_value(f"import{first}{second}")
    first_offer(panel)
    text.press("End")
    page.keyboard.type("12")  # in the text, digits are digits
    expect(text).to_have_value(f"import{first}{second}12")
    for before in (f"import{first}{second}", f"import{first}", "import"):
        panel.get_by_role("button", name="Undo").click()
        expect(text).to_have_value(before)


def test_the_model_goes_on_for_a_while_and_hands_back(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped, "Write together")
    text = panel.get_by_label("Your text")
    text.fill("import")
    panel.get_by_role("button", name="Let it write a word").click()
    expect(text).to_have_value(re.compile(r"^import[\s\S]+$"))
    word = text.input_value()
    assert len(word) <= len("import") + 24
    panel.get_by_role("button", name="Let it write a line").click()
    expect(text).not_to_have_value(word)
    assert text.input_value().startswith(word)
    shoot(page, "writing-together")


def test_surprise_colours_each_character_and_is_never_html(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.shipped, "Surprise")
    hostile = "<script>document.title='taken'</script>\n<b onclick=x>bold</b> 名"
    panel.get_by_label("Text", exact=True).fill(hostile)
    panel.get_by_role("button", name="Show the surprise").click()
    shown = panel.locator(".surprise")
    expect(shown.locator("> span")).to_have_count(len(hostile))
    assert shown.locator(":is(b, script, img)").count() == 0
    assert shown.inner_text().replace("↵", "") == hostile
    assert page.title() != "taken"
    expect(panel.get_by_text("Nats per character")).to_be_visible()
    expect(shown.locator(".strange")).to_have_text(["名"])
    levels = {span.get_attribute("data-level") for span in shown.locator("> span").all()}
    assert len(levels - {None}) >= 3
    shown.focus()
    expect(panel.locator(".readout")).to_have_text(re.compile("“<”: the first character"))
    page.keyboard.press("ArrowRight")
    expect(panel.locator(".readout")).to_have_text(re.compile(r"“s”: [\d.]+ nats\. The model held it .*% probable"))
    page.keyboard.press("End")
    expect(panel.locator(".readout")).to_have_text(re.compile("never seen"))
    shown.locator("> span").nth(39).hover()
    expect(panel.locator(".readout")).to_have_text(re.compile("“newline”"))
    panel.get_by_label("Text", exact=True).fill("x" * 5001)
    panel.get_by_role("button", name="Show the surprise").click()
    expect(panel.get_by_role("alert")).to_have_text(re.compile("5,000 characters"))


def test_what_the_model_wrote_is_there_to_be_looked_at(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.learned)
    panel.get_by_label("Prompt").fill("import os")
    panel.get_by_label("Length").fill("50")
    write(panel)
    (text,) = written(panel)
    page.get_by_role("tab", name="Surprise").click()
    own = page.get_by_role("tabpanel", name="Surprise").get_by_label("Text", exact=True)
    assert own.input_value().rstrip() == text.rstrip()
    page.get_by_role("tab", name="Is it copying?").click()
    own = page.get_by_role("tabpanel", name="Is it copying?").get_by_label("Text", exact=True)
    assert own.input_value().rstrip() == text.removeprefix("import os").rstrip()


def test_a_run_that_stands_in_the_training_text_is_shown_there(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.learned, "Is it copying?")
    panel.get_by_label("Text", exact=True).fill(f"<b>And then {LINE[:24]} throne")
    panel.get_by_role("button", name="Search the training text").click()
    expect(panel.get_by_text("The longest copied run has 24 characters.")).to_be_visible()
    expect(panel.locator("mark")).to_have_text([LINE[:24], LINE[:24]])
    expect(panel.get_by_role("region", name="This text, with the run marked")).to_have_text(
        f"<b>And then {LINE[:24]} throne"
    )
    expect(panel.get_by_role("region", name="The training text around the run")).to_have_text(re.compile("chair,"))
    panel.get_by_label("Text", exact=True).fill("名")
    panel.get_by_role("button", name="Search the training text").click()
    expect(panel.get_by_text("Not one of these characters stands in the training text.")).to_be_visible()


def test_a_model_without_its_text_says_that_there_is_nothing_to_compare_with(
    page: Page, server: Server, models: Models
) -> None:
    panel = open_writer(page, server, models.shipped, "Is it copying?")
    expect(panel.get_by_text("This model came as a file")).to_be_visible()
    expect(panel.get_by_role("button", name="Search the training text")).to_be_hidden()


def test_a_model_that_has_learned_nothing_says_so_and_leads_elsewhere(
    page: Page, server: Server, models: Models
) -> None:
    page.goto(f"{address(server)}#writing/{models.unlearned}", wait_until="commit")
    wait_for_control(page)
    expect(page.get_by_text("Faust has learned nothing yet.")).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(0)
    axe(page)
    expect(page.get_by_role("button", name="Go to its training")).to_be_visible()
    page.locator(".invitation").get_by_role("button", name="New model").click()
    expect(page).to_have_url(re.compile("#new$"))


def test_a_text_is_copied_and_downloaded_as_it_stands(
    page: Page, server: Server, models: Models, tmp_path: Path
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel = open_writer(page, server, models.shipped)
    panel.get_by_label("Prompt").fill("def größe(")
    panel.get_by_label("Length").fill("3000")
    write(panel)
    panel.get_by_role("button", name="Copy").click()
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as downloading:
        panel.get_by_role("button", name="Download").click()
    assert downloading.value.suggested_filename == "Python.txt"
    downloading.value.save_as(tmp_path / "text.txt")
    saved = (tmp_path / "text.txt").read_text(encoding="utf-8")
    assert saved == copied
    assert saved.startswith("def größe(")
    assert len(saved) == len("def größe(") + 3000


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something has the focus."""
    for _ in range(80):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {wanted}")


def test_everything_is_done_by_keyboard(page: Page, server: Server, models: Models) -> None:
    panel = open_writer(page, server, models.slow)
    tab_to(page, panel.get_by_label("Prompt"))
    page.keyboard.type("the ")
    tab_to(page, panel.get_by_label("Temperature"))
    page.keyboard.press("ArrowRight")
    expect(panel.get_by_text("0.85 · lively")).to_be_visible()
    tab_to(page, panel.get_by_label("Length"))
    page.keyboard.press("Control+a")
    page.keyboard.type("100000")
    tab_to(page, panel.get_by_role("button", name="Write", exact=True))
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Stop")).to_be_focused()
    until_longer(panel, 10)
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Write", exact=True)).to_be_focused()
    expect(panel.locator(".status")).to_have_text(re.compile("Stopped"))
    page.keyboard.press("Shift+Tab")
    tab = page.get_by_role("tab", name="Write", exact=True)
    for _ in range(20):
        if tab.evaluate("element => element === document.activeElement"):
            break
        page.keyboard.press("Shift+Tab")
    expect(tab).to_be_focused()
    for name in [*WAYS[1:], "Write"]:
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name, exact=True)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name, exact=True)).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".offers:not([aria-busy]) .offer").first).to_be_visible()
    text = page.get_by_label("Your text")
    before = text.input_value()
    page.keyboard.press("1")
    expect(text).not_to_have_value(before)


LOOKS = [(scheme, size) for scheme in ("light", "dark") for size in (DESK, PHONE)]


@pytest.mark.parametrize(
    ("scheme", "size"), LOOKS, ids=lambda given: given if isinstance(given, str) else given["width"]
)
def test_every_way_to_write_can_be_read_by_everybody_and_fits(
    browser: Browser, visit: Visit, server: Server, models: Models, scheme: Any, size: Any
) -> None:
    context = new_context(browser, visit, color_scheme=scheme, viewport=size)
    page = context.new_page()
    panel = open_writer(page, server, models.learned)
    panel.get_by_label("Prompt").fill("def größe(self, 名)")
    panel.get_by_label("Length").fill("600")
    panel.get_by_label("Variations").select_option("2")
    panel.get_by_text("More choices").click()
    write(panel)
    done = {
        "Write": lambda panel: None,
        "Write together": lambda panel: expect(panel.locator(".offers:not([aria-busy]) .offer").first).to_be_visible(),
        "Temperatures": write,
        "Surprise": lambda panel: (
            panel.get_by_role("button", name="Show the surprise").click(),
            expect(panel.locator(".surprise > span").first).to_be_visible(),
        ),
        "Is it copying?": lambda panel: (
            panel.get_by_role("button", name="Search the training text").click(),
            expect(panel.locator(".verdict")).to_be_visible(),
        ),
    }
    for way, do in done.items():
        page.get_by_role("tab", name=way, exact=True).click()
        do(page.get_by_role("tabpanel", name=way, exact=True))
        page.mouse.move(0, 0)
        axe(page)
        wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], way
        name = way.strip("?").lower().replace(" ", "-")
        shoot(page, f"writing-{name}-{scheme}-{size['width']}")
    context.close()
