"""Writing with a model from a page: what is sent to it, and when it stops."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn import Workspace
from charrnn.errors import (
    CharRNNError,
    InvalidOptions,
    ModelNotFound,
    NoText,
    NothingLearned,
    QuotaExceeded,
)
from charrnn.policy import Policy
from charrnn.widgets import writer as module
from charrnn.widgets.writer import Writer
from tests.command_line import variables
from tests.workspace.played import TEXT, Attempt, saved_model, trained

PARTS = dict[str, Any]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def id(workspace: Workspace, model_file: Path) -> str:
    return workspace.import_model(model_file, "small").id


@pytest.fixture
def writer(workspace: Workspace, id: str) -> Iterator[Writer]:
    writer = Writer(id, workspace)
    writer.look()
    yield writer
    writer.close()


def joined(parts: Iterator[PARTS]) -> list[str]:
    """The texts that came in pieces, whose ends were told."""
    texts: list[str] = []
    ends = None
    for part in parts:
        assert ends is None, "nothing comes after the ends"
        for index, piece in enumerate(part.get("texts", [])):
            texts += [""] * (index + 1 - len(texts))
            texts[index] += piece
        ends = part.get("ends")
    assert ends == ["length"] * len(texts)
    return texts


CHOICES: list[PARTS] = [
    {"temperature": 0.7},
    {"temperature": 0},
    {"temperature": 1.2, "top_k": 5},
    {"temperature": 1.0, "top_p": 0.6},
]


@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize("count", [1, 3])
def test_a_seed_writes_the_texts_that_the_workspace_writes_with_it(
    writer: Writer, workspace: Workspace, id: str, choices: PARTS, count: int
) -> None:
    expected = workspace.generate(id, "The ", length=400, seed=7, count=count, **choices)
    assert joined(writer.write("The ", 400, seed=7, count=count, **choices)) == expected


def test_the_same_prompt_is_written_at_several_temperatures_with_the_same_seed(
    writer: Writer, workspace: Workspace, id: str
) -> None:
    texts = joined(writer.temperatures("The ", 150, [0.2, 0.8, 1.1], 5))
    assert texts == [
        workspace.generate(id, "The ", length=150, seed=5, temperature=temperature) for temperature in (0.2, 0.8, 1.1)
    ]


def test_pieces_are_sent_a_few_times_a_second_however_fast_the_model_is(writer: Writer) -> None:
    begin = time.monotonic()
    parts = sum("texts" in part for part in writer.write("The ", 50_000, 0.8))
    assert parts <= (time.monotonic() - begin) / module.PART_SECONDS + 1


class Listening:
    """A page that asks and does something at each part that it hears, in the thread that writes."""

    def __init__(self, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writer = writer
        self.heard: list[PARTS] = []
        self.at_part = lambda number: None
        self._answered = threading.Condition()
        monkeypatch.setattr(writer, "send", self._hear)

    def _hear(self, message: PARTS, buffers: object = None) -> None:
        if "part" in message:
            self.at_part(sum("part" in each for each in self.heard) + 1)
        with self._answered:
            self.heard.append(message)
            self._answered.notify_all()

    def tell(self, message: PARTS) -> None:
        self.writer._handle_custom_msg(message, [])

    def answer(self, number: str) -> PARTS:
        def answers() -> list[PARTS]:
            return [each for each in self.heard if each["answer"] == number and "part" not in each]

        with self._answered:
            assert self._answered.wait_for(lambda: bool(answers()), timeout=60)
            return answers()[0]


@pytest.fixture
def page(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Listening:
    return Listening(writer, monkeypatch)


LONG: PARTS = {"prompt": "The ", "length": 100_000, "temperature": 0.8, "count": 4}


def test_writing_stops_at_once_when_the_page_wants_no_more(page: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_SECONDS", 0.0)
    page.at_part = lambda number: page.tell({"cancel": "1"}) if number == 3 else None
    page.tell({"ask": "1", "what": "write", "with": LONG})
    assert page.answer("1") == {"answer": "1", "value": None}
    parts = [each["part"] for each in page.heard if "part" in each]
    assert len(parts) == 3
    assert not any("ends" in part for part in parts)


def test_while_it_writes_it_answers_other_questions(page: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_SECONDS", 0.0)
    go_on = threading.Event()

    def wait_at_the_third(number: int) -> None:
        if number == 3:
            assert go_on.wait(60)
            page.tell({"cancel": "1"})

    page.at_part = wait_at_the_third
    page.tell({"ask": "1", "what": "write", "with": LONG})
    page.tell({"ask": "2", "what": "predict", "with": {"text": "The ", "temperature": 1}})
    assert page.answer("2")["value"]["choices"]
    assert not any(each["answer"] == "1" and "part" not in each for each in page.heard)
    go_on.set()
    assert page.answer("1")["value"] is None


@pytest.mark.filterwarnings("ignore:the model has never seen")  # told to the page; see the last test
def test_what_the_model_has_never_seen_is_told_before_the_text_begins(writer: Writer) -> None:
    assert next(writer.write("Größe: Thß", 10, 0.8)) == {"unseen": "Göß:"}
    assert writer.unseen("Größe: Thß") == "Göß:"
    assert writer.unseen("The") == ""
    assert writer.predict("Größe", 1.0)["unseen"] == "Göß"


def test_halves_of_characters_are_read_as_one_that_is_lost(writer: Writer) -> None:
    assert writer.unseen("a\ud83de") == "\ufffd"
    assert writer.unseen("a\ud83d\ude42") == "\U0001f642"  # two halves are a whole
    json.dumps(writer.surprise("a\ud83de")).encode()
    assert len(joined(writer.write("\ude42", 5, 0.8))[0]) == 5


def test_the_likeliest_next_characters_are_those_of_the_workspace(
    writer: Writer, workspace: Workspace, id: str
) -> None:
    expected = workspace.predict(id, "The ca", top=10, temperature=0.6)
    assert writer.predict("The ca", 0.6)["choices"] == [
        {"character": each.character, "probability": each.probability} for each in expected
    ]
    assert len(expected) == 10


def test_it_goes_on_for_a_word_or_for_a_line_and_hands_back(writer: Writer) -> None:
    for _ in range(20):
        word = writer.go_on("The", 1.0, "word")
        assert 1 <= len(word) <= module.WORD
        assert len(word) == module.WORD or len(word.split()) == 1
        line = writer.go_on("The ", 1.0, "line")
        assert 1 <= len(line) <= module.LINE
        assert len(line) == module.LINE or (line.endswith("\n") and line.strip("\n").count("\n") == 0)


@pytest.mark.parametrize(
    ("text", "word", "line"),
    [("", None, None), ("ab", None, None), (" ab c", 3, None), ("\n\nab\nc", 4, 5), ("a\n", 1, 2), ("\n", None, None)],
)
def test_words_and_lines_end_where_something_else_begins(text: str, word: int | None, line: int | None) -> None:
    assert module._word_ends(text) == word
    assert module._line_ends(text) == line


def test_surprise_is_the_score_of_the_workspace(writer: Writer, workspace: Workspace, id: str) -> None:
    text = "The cat <script>\nhas claimed§ the chair"
    shown, score = writer.surprise(text), workspace.score(id, text)
    assert shown["text"] == text
    np.testing.assert_array_equal([np.nan if nats is None else nats for nats in shown["nats"]], score.nats)
    assert shown["mean"] == score.nats_per_character
    assert shown["bits"] == pytest.approx(score.nats_per_character / np.log(2))
    assert shown["perplexity"] == pytest.approx(np.exp(score.nats_per_character))
    assert (shown["unknown"], shown["unseen"]) == (score.unknown, "<>§")
    json.dumps(shown, allow_nan=False)


def test_where_nothing_counts_there_is_no_mean(writer: Writer) -> None:
    for text in ("a", "a§", "§§"):
        shown = writer.surprise(text)
        assert (shown["mean"], shown["bits"], shown["perplexity"]) == (None, None, None)
        assert shown["nats"] == [None] * len(text)


def test_the_search_for_copies_tells_how_far_it_is_and_ends_with_the_longest(
    workspace: Workspace, model_file: Path
) -> None:
    id = trained(workspace, model_file).id
    writer = Writer(id, workspace)
    text = "And then the cat has claimed the throne"
    parts = list(writer.copied(text))
    found = workspace.copied(id, text)
    assert found is not None
    assert text[found.start : found.start + found.length] == "the cat has claimed the "
    assert parts[-1] == {"done": 1.0, "found": vars(found)}
    assert parts[0]["done"] == 0
    json.dumps(parts)
    assert list(writer.copied("§"))[-1] == {"done": 1.0, "found": None}
    writer.close()


def test_a_model_without_its_text_says_why_there_is_nothing_to_compare_with(writer: Writer) -> None:
    assert writer.state["text"] is None
    with pytest.raises(NoText, match="came as a file"):
        list(writer.copied("The cat"))


WRONG: list[tuple[PARTS, str]] = [
    ({"count": 0}, "count"),
    ({"count": 5}, "count"),
    ({"length": 0}, "length"),
    ({"length": 100_001}, "length"),
    ({"prompt": "a" * 10_001}, "prompt"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_k": 0}, "top_k"),
    ({"top_p": 1.5}, "top_p"),
    ({"seed": -1}, "seed"),
]


@pytest.mark.parametrize(("given", "field"), WRONG)
def test_what_cannot_be_written_is_refused_with_the_field(writer: Writer, given: PARTS, field: str) -> None:
    with pytest.raises(InvalidOptions) as refused:
        next(writer.write(**{"prompt": "The ", "length": 10, "temperature": 0.8, **given}))
    assert set(refused.value.fields) == {field}


def test_texts_that_are_too_long_to_look_at_and_empty_ones_are_refused(writer: Writer) -> None:
    with pytest.raises(InvalidOptions, match="5,000 characters"):
        writer.surprise("a" * 5001)
    with pytest.raises(InvalidOptions, match="20,000 characters"):
        next(writer.copied("a" * 20_001))
    with pytest.raises(InvalidOptions, match="no text"):
        writer.surprise("")
    with pytest.raises(InvalidOptions, match="no text"):
        next(writer.copied(""))
    with pytest.raises(InvalidOptions, match="side by side"):
        next(writer.temperatures("", 10, [0.1] * 5, 1))
    with pytest.raises(InvalidOptions, match="temperature"):
        next(writer.temperatures("", 10, [0.1, -2], 1))


def test_what_was_chosen_is_there_the_next_time(writer: Writer, workspace: Workspace, id: str) -> None:
    joined(writer.write("The ", 12, 0.4, top_k=3, seed=9, count=2))
    assert workspace.get(id).sampling == {"prompt": "The ", "length": 12, "temperature": 0.4, "top_k": 3}
    joined(writer.write("A", 12, 0.4, top_p=0.5, seed=9, same_seed=True))
    kept = {"prompt": "A", "length": 12, "temperature": 0.4, "top_p": 0.5, "seed": 9}
    assert workspace.get(id).sampling == kept
    joined(writer.temperatures("B", 13, [0.1, 0.2], 3))
    assert workspace.get(id).sampling == kept
    other = Writer(id, workspace)
    other.look()
    assert other.state["sampling"] == kept
    other.close()


def test_whoever_does_not_own_the_model_writes_with_it_and_changes_nothing(workspace: Workspace, id: str) -> None:
    writer = Writer(id, workspace.as_user("ada"))
    assert len(joined(writer.write("The ", 12, 0.4))[0]) == 12
    assert workspace.get(id).sampling == {}
    writer.close()


def test_limits_are_told_in_words(workspace: Workspace, id: str) -> None:
    policy = Policy(max_generations_per_minute=1, max_characters=100)
    writer = Writer(id, workspace.as_user("ada", policy))
    with pytest.raises(QuotaExceeded, match="100 may be asked for at a time"):
        next(writer.write("The ", 60, 0.8, count=2))
    joined(writer.write("The ", 50, 0.8, count=2))
    for ask in (
        lambda: next(writer.write("The ", 5, 0.8)),
        lambda: writer.predict("a", 1.0),
        lambda: writer.surprise("ab"),
    ):
        with pytest.raises(QuotaExceeded, match="minute"):
            ask()
    assert writer.unseen("§") == "§"  # costs nothing
    writer.close()


def test_a_model_that_learns_writes_from_its_first_file_on_and_with_the_newest(
    workspace: Workspace, tmp_path: Path
) -> None:
    id = workspace.create("poems", TEXT).id
    writer = Writer(id, workspace)
    writer.look()
    assert (writer.state["ready"], writer.state["learning"], writer.state["status"]) == (False, False, "ready")
    with pytest.raises(NothingLearned):
        next(writer.write("The ", 5, 0.8))
    workspace.start(id)
    attempt = Attempt(workspace)
    writer.look()
    assert (writer.state["ready"], writer.state["learning"]) == (False, True)
    for seed in (1, 2):
        file = saved_model(tmp_path / f"{seed}.safetensors", seed)
        attempt.publish(file, step=seed)
        writer.look()
        assert (writer.state["ready"], writer.state["learning"], writer.state["step"]) == (True, True, seed)
        assert joined(writer.write("The ", 50, 0.8, seed=1)) == [
            charrnn.load(file).generate("The ", length=50, temperature=0.8, seed=1)
        ]
    writer.close()


def test_it_follows_the_name_of_its_model_changes_to_another_and_notices_when_it_is_gone(
    writer: Writer, workspace: Workspace, id: str, model_file: Path
) -> None:
    workspace.rename(id, "smaller")
    writer.look()
    assert writer.state["name"] == "smaller"
    other = workspace.import_model(model_file, "other").id
    writer.choose(other)
    assert (writer.state["id"], writer.state["name"]) == (other, "other")
    workspace.delete(other)
    writer.look()
    assert (writer.state["id"], writer.state["gone"], writer.state["ready"]) == (other, True, False)
    assert writer.state["problem"] == ""
    with pytest.raises(ModelNotFound):
        next(writer.write("The ", 5, 0.8))


def test_without_a_model_it_asks_for_one(workspace: Workspace) -> None:
    writer = Writer(workspace=workspace)
    writer.look()
    assert (writer.state["id"], writer.state["ready"]) == (None, False)
    for ask in (lambda: next(writer.write("", 5, 0.8)), lambda: writer.predict("", 1.0), lambda: writer.unseen("")):
        with pytest.raises(CharRNNError, match="choose a model"):
            ask()
    writer.close()


def test_a_model_is_chosen_by_its_name_or_its_record_too(workspace: Workspace, id: str) -> None:
    for model in ("small", id, workspace.get(id)):
        writer = Writer(model, workspace)
        writer.look()
        assert writer.state["id"] == id
        writer.close()
    with pytest.raises(ModelNotFound):
        Writer("large", workspace)


def test_a_model_in_a_notebook_writes_as_well(workspace: Workspace, model_file: Path) -> None:
    model = charrnn.load(model_file)
    writer = Writer(model, workspace)
    writer.look()
    assert (writer.state["ready"], writer.state["held"], writer.state["text"]) == (True, True, None)
    expected = model.generate("The ", length=80, temperature=0.6, top_k=4, seed=2, count=2)
    assert joined(writer.write("The ", 80, 0.6, top_k=4, seed=2, count=2)) == expected
    assert joined(writer.temperatures("The ", 20, [0.5], 2)) == [
        model.generate("The ", length=20, temperature=0.5, seed=2)
    ]
    assert writer.surprise("The cat")["nats"][1:] == model.score("The cat")[1:].tolist()
    assert len(writer.predict("The ", 1.0)["choices"]) == 10
    assert 1 <= len(writer.go_on("The ", 1.0, "word")) <= module.WORD
    with pytest.raises(NoText, match="notebook"):
        writer.copied("The cat").__next__()
    writer.close()


def test_a_file_that_went_is_told_and_not_raised_into_the_page(page: Listening, workspace: Workspace, id: str) -> None:
    workspace._storage.delete(str(workspace.get(id).model_file))
    page.tell({"ask": "1", "what": "write", "with": LONG})
    assert "has no models/" in page.answer("1")["error"]["message"]
    assert page.answer("1")["error"]["reason"] == "FileNotInStorage"


def test_characters_that_were_never_seen_are_no_warning_in_the_notebook(model_file: Path) -> None:
    code = (
        "import sys, charrnn\n"
        "from charrnn.widgets.writer import Writer\n"
        "model = charrnn.load(sys.argv[1])\n"
        "writer = Writer(model)\n"
        "list(writer.write('§', 5, 0.8)); writer.predict('§', 1.0); writer.go_on('§', 1.0, 'word')\n"
        "print('fine', flush=True)\n"
        "model.predict('§')\n"  # asked for by its owner, it does warn
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(model_file)], env=variables(), capture_output=True, text=True, timeout=120
    )
    assert told.stdout == "fine\n"
    assert told.stderr.count("the model has never seen '§'") == 1
