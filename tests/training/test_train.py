"""Training as whoever calls `charrnn.train` sees it: real processes, real files, small networks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.errors import InvalidCorpus, InvalidModel, InvalidOptions, TrainingFailed, WouldOverwrite
from charrnn.events import Event, Finished, Note, Progress, Sampled, Saved, Started, Validated
from charrnn.network.model import Model, load
from charrnn.network.options import TrainingOptions
from charrnn.training import process
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.process import run
from tests.training.texts import POEM, SMALL, contents, has_mapped, processes_of, wait_for, write_verse

RESULTS = {"verse.txt", "m.safetensors", "m.checkpoint.safetensors"}


def train(source: Path, *, events: list[Event] | None = None, **arguments: Any) -> Model:
    listen = arguments.pop("callback", (events if events is not None else []).append)
    ours = {name: arguments.pop(name) for name in ("output", "resume", "force") if name in arguments}
    return run(source, TrainingOptions.parse(arguments), callback=listen, **ours)


def of_kind(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(autouse=True)
def _no_process_is_left_behind() -> Iterator[None]:
    before = processes_of(os.getpid())
    yield
    assert processes_of(os.getpid()) <= before


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event], Model]:
    """A folder in which a training of 100 steps has ended, its events and its model."""
    folder, events = tmp_path_factory.mktemp("hundred"), []
    model = train(
        write_verse(folder), events=events, output=folder / "m.safetensors", max_steps=100, log_every=10, **SMALL
    )
    return folder, events, model


@pytest.fixture
def ended(hundred: tuple[Path, list[Event], Model], tmp_path: Path) -> Path:
    """The model file of a training of 100 steps, in a folder of the test's own."""
    shutil.copytree(hundred[0], tmp_path, dirs_exist_ok=True)
    return tmp_path / "m.safetensors"


@pytest.fixture
def verse(tmp_path: Path) -> Path:
    return write_verse(tmp_path)


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_poem_learned_with_nothing_set_is_written_down_again(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    model = train(path, seed=seed)
    assert model.record["reason"] == "memorised"
    assert model.generate(POEM[:10], length=len(POEM) - 10, temperature=0) == POEM[10:]


@pytest.mark.parametrize(
    ("cell", "learning_rate", "embedding_size"), [("lstm", 0.01, 0), ("gru", 0.01, 8), ("rnn", 0.003, 0)]
)
def test_a_poem_is_learned_by_heart_and_written_down_again(
    tmp_path: Path, cell: str, learning_rate: float, embedding_size: int
) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    events: list[Event] = []
    model = train(
        path, events=events, cell=cell, rnn_size=32, embedding_size=embedding_size, batch_size=1, seq_length=50,
        learning_rate=learning_rate, schedule="constant", max_steps=8000,
    )  # fmt: skip
    assert model.generate(POEM[:10], length=len(POEM) - 10, temperature=0) == POEM[10:]
    assert model.finished
    assert model.record["reason"] == "memorised"
    assert model.record["step"] < 8000
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.finished, last.reason, last.validation_loss) == (True, "memorised", None)
    assert any("too short to hold" in note.text for note in of_kind(Note, events))
    assert contents(tmp_path) == {"poem.txt"}


def test_training_lowers_the_loss_on_text_it_has_not_seen(hundred: tuple[Path, list[Event], Model]) -> None:
    folder, events, model = hundred
    losses = [event.loss for event in of_kind(Validated, events)]
    assert losses[-1] < losses[0] - 0.5
    held_out = folder.parent / "held-out.txt"
    text = (folder / "verse.txt").read_text(encoding="utf-8")
    held_out.write_text(text[-len(text) // 10 :], encoding="utf-8")
    assert model.evaluate(held_out).nats_per_character == pytest.approx(losses[-1], abs=0.02)


# --- events and files ------------------------------------------------------------------------------------------------


def test_events_come_in_order_and_say_how_far_it_is(hundred: tuple[Path, list[Event], Model]) -> None:
    _, events, model = hundred
    first, last = events[0], events[-1]
    assert isinstance(first, Started)
    assert (first.step, first.resumed, first.parameters) == (0, False, model.parameters)
    assert first.characters == first.train_characters + first.validation_characters
    assert first.vocabulary_size == len(model.vocabulary)
    assert first.options == model.options
    assert isinstance(last, Finished)
    assert (last.step, last.finished, last.reason) == (100, True, "budget")

    told = [event for event in events if not isinstance(event, Saved)]  # files are written beside the training
    assert [event.step for event in told] == sorted(event.step for event in told)
    progress = of_kind(Progress, events)
    assert [event.step for event in progress] == list(range(10, 101, 10))
    assert [event.progress for event in progress] == pytest.approx([k / 10 for k in range(1, 11)])
    assert progress[-1].seconds_left == 0
    assert all(event.characters_per_second > 0 and event.loss > 0 for event in progress)
    assert progress[0].learning_rate > progress[-1].learning_rate > 0
    assert [event.step for event in of_kind(Validated, events)] == [1, 2, 5, *range(10, 101, 10)]
    assert [event.step for event in of_kind(Sampled, events)] == [0, 1, 2, 5, 10, 20, 50, 100]
    assert all(len(event.text) == 200 for event in of_kind(Sampled, events))
    assert last.validation_loss == min(event.loss for event in of_kind(Validated, events))
    assert last.loss == progress[-1].loss


def test_a_checkpoint_is_saved_before_a_model_and_both_at_the_end(hundred: tuple[Path, list[Event], Model]) -> None:
    folder, events, _ = hundred
    saved = [(Path(event.path).name, event.kind, event.step) for event in of_kind(Saved, events)]
    assert saved[0] == ("m.checkpoint.safetensors", "checkpoint", 1)
    assert saved[1] == ("m.safetensors", "model", 1)
    assert saved[-2:] == [("m.checkpoint.safetensors", "checkpoint", 100), ("m.safetensors", "model", 100)]
    assert contents(folder) == RESULTS


def test_the_model_in_the_file_is_the_one_returned(hundred: tuple[Path, list[Event], Model]) -> None:
    folder, _, model = hundred
    loaded = load(folder / "m.safetensors")
    assert loaded.finished
    assert loaded.record == model.record
    assert loaded.options == model.options
    assert all(np.array_equal(loaded.weights[name], array) for name, array in model.weights.items())


def test_the_record_tells_how_it_learned(hundred: tuple[Path, list[Event], Model]) -> None:
    _, events, model = hundred
    record = model.record
    assert (record["step"], record["source_name"], record["reason"]) == (100, "verse.txt", "budget")
    assert record["characters"] == record["train_characters"] + record["validation_characters"]
    assert record["best_validation_loss"] == min(event.loss for event in of_kind(Validated, events))
    assert [sample["step"] for sample in record["samples"]] == [0, 1, 2, 5, 10, 20, 50, 100]
    assert sum("validation_loss" in point for point in record["points"]) == 13
    assert sum("train_loss" in point for point in record["points"]) == 10
    assert record["epochs"] == pytest.approx(100 / (record["train_characters"] / 8 / 20), rel=0.05)
    assert {"charrnn", "tensorflow", "numpy", "python"} <= record["versions"].keys()


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(
    hundred: tuple[Path, list[Event], Model], verse: Path
) -> None:
    same = train(verse, max_steps=100, log_every=10, save_every=7, sample_every=9, **SMALL)
    assert all(np.array_equal(same.weights[name], array) for name, array in hundred[2].weights.items())
    other = train(verse, max_steps=1, seed=1, **SMALL)
    assert not np.array_equal(other.weights["output.weights"], same.weights["output.weights"])


# --- what is there already -------------------------------------------------------------------------------------------


def test_nothing_existing_is_overwritten_unasked(ended: Path) -> None:
    before = ended.read_bytes()
    with pytest.raises(WouldOverwrite, match=r"m\.safetensors exists"):
        train(ended.parent / "verse.txt", output=ended, max_steps=1, **SMALL)
    assert ended.read_bytes() == before
    assert contents(ended.parent) == RESULTS


def test_force_begins_anew(ended: Path) -> None:
    events: list[Event] = []
    model = train(ended.parent / "verse.txt", events=events, output=ended, force=True, max_steps=3, **SMALL)
    assert (model.record["step"], of_kind(Started, events)[0].step) == (3, 0)
    assert load(ended).record["step"] == Checkpoint.read(process.checkpoint_path(ended)).metadata["record"]["step"] == 3


def test_force_with_what_cannot_be_trained_leaves_the_old_model(ended: Path) -> None:
    before = ended.read_bytes()
    with pytest.raises(InvalidOptions, match="batch_size"):
        train(ended.parent / "verse.txt", output=ended, force=True, max_steps=3, batch_size=50_000)
    (ended.parent / "verse.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(InvalidCorpus, match="byte 3"):
        train(ended.parent / "verse.txt", output=ended, force=True, max_steps=3)
    assert ended.read_bytes() == before
    assert contents(ended.parent) == RESULTS


def test_a_finished_run_says_so_and_gives_its_model(ended: Path) -> None:
    before, events = ended.read_bytes(), []
    model = train(ended.parent / "verse.txt", events=events, output=ended, resume=True, max_steps=100, **SMALL)
    assert model.record["step"] == 100
    assert [type(event) for event in events] == [Note]
    assert "has ended at step 100" in events[0].text
    assert ended.read_bytes() == before


def test_a_run_killed_before_its_last_file_was_written_only_writes_it(ended: Path) -> None:
    expected = load(ended)
    older = Model(expected.vocabulary, expected.weights, expected.options, {"step": 90, "finished": False})
    older.save(ended)
    for _ in ("an older model", "none"):
        events: list[Event] = []
        model = train(ended.parent / "verse.txt", events=events, output=ended, resume=True, max_steps=100, **SMALL)
        assert of_kind(Progress, events) == []
        assert (model.finished, model.record["step"], model.record["reason"]) == (True, 100, "budget")
        assert all(np.array_equal(model.weights[name], array) for name, array in expected.weights.items())
        assert [point["step"] for point in model.record["points"]] == [p["step"] for p in expected.record["points"]]
        ended.unlink()


def test_going_on_without_a_checkpoint_starts_from_the_beginning_and_says_so(verse: Path) -> None:
    events: list[Event] = []
    model = train(verse, events=events, output=verse.parent / "m.safetensors", resume=True, max_steps=2, **SMALL)
    assert isinstance(events[0], Note)
    assert "starts from the beginning" in events[0].text
    assert model.record["step"] == 2


def test_a_model_without_its_checkpoint_cannot_be_gone_on_with(ended: Path) -> None:
    process.checkpoint_path(ended).unlink()
    with pytest.raises(WouldOverwrite, match="not its checkpoint"):
        train(ended.parent / "verse.txt", output=ended, resume=True, max_steps=200, **SMALL)
    assert ended.exists()


def test_options_that_differ_are_named_and_nothing_changes(ended: Path) -> None:
    before = {path: path.read_bytes() for path in ended.parent.iterdir()}
    for budget in (100, 200):  # finished, and to be continued
        with pytest.raises(InvalidOptions) as refused:
            train(
                ended.parent / "verse.txt", output=ended, resume=True, max_steps=budget,
                **{**SMALL, "rnn_size": 32, "cell": "gru"},
            )  # fmt: skip
        assert refused.value.fields.keys() == {"rnn_size", "cell"}
        assert "16" in refused.value.fields["rnn_size"]
        assert "32" in refused.value.fields["rnn_size"]
    assert {path: path.read_bytes() for path in ended.parent.iterdir()} == before


def test_a_text_that_differs_is_refused(ended: Path) -> None:
    source = ended.parent / "verse.txt"
    source.write_text(source.read_text(encoding="utf-8").replace("799", "!!!"), encoding="utf-8")
    with pytest.raises(InvalidCorpus, match="not the text"):
        train(source, output=ended, resume=True, max_steps=200)


def test_a_smaller_budget_than_what_was_done_is_refused(ended: Path) -> None:
    with pytest.raises(InvalidOptions, match="step 100") as refused:
        train(ended.parent / "verse.txt", output=ended, resume=True, max_steps=50)
    assert refused.value.fields.keys() == {"max_steps"}


def test_a_damaged_checkpoint_is_refused_by_name(ended: Path) -> None:
    checkpoint = process.checkpoint_path(ended)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    with pytest.raises(InvalidModel, match=r"m\.checkpoint\.safetensors"):
        train(ended.parent / "verse.txt", output=ended, resume=True, max_steps=200)


def test_a_larger_budget_continues_with_half_the_rate_and_keeps_the_best(
    hundred: tuple[Path, list[Event], Model], ended: Path
) -> None:
    events: list[Event] = []
    model = train(
        ended.parent / "verse.txt", events=events, output=ended, resume=True, max_steps=160, log_every=10, **SMALL
    )
    started = of_kind(Started, events)[0]
    assert (started.step, started.resumed) == (100, True)
    assert any("resumed at step 100" in note.text for note in of_kind(Note, events))
    assert not any("no longer" in note.text for note in of_kind(Note, events))
    peak = model.options["learning_rate"]
    assert max(event.learning_rate for event in of_kind(Progress, events)) <= peak / 2
    assert [event.progress for event in of_kind(Progress, events)] == pytest.approx([k / 6 for k in range(1, 7)])
    assert (model.finished, model.record["step"], model.options["max_steps"]) == (True, 160, 160)
    assert model.record["seconds"] > hundred[2].record["seconds"]
    assert model.record["best_validation_loss"] <= hundred[2].record["best_validation_loss"]
    assert [point["step"] for point in model.record["points"]][:10] == [
        point["step"] for point in hundred[2].record["points"]
    ][:10]
    assert contents(ended.parent) == RESULTS


# --- budgets ---------------------------------------------------------------------------------------------------------


def test_a_budget_of_minutes_ends_with_them(verse: Path) -> None:
    events: list[Event] = []
    model = train(verse, events=events, minutes=0.05, max_epochs=500, **SMALL)
    assert events[-1].seconds >= 3
    assert 0 < model.record["epochs"] < 500
    assert of_kind(Progress, events)[-1].progress == 1
    assert of_kind(Validated, events)[-1].step == model.record["step"]
    assert (model.finished, model.record["reason"]) == (True, "budget")


def test_a_budget_of_epochs_ends_with_them(verse: Path) -> None:
    model = train(verse, max_epochs=0.5, validation_fraction=0, **SMALL)
    assert model.record["epochs"] == pytest.approx(0.5, abs=0.003)
    assert model.record["validation_characters"] == 0
    assert model.record["notes"] == []
    assert model.record["train_loss"] < 4


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "kind", "says"),
    [
        (b"", {}, InvalidCorpus, "empty"),
        (b"ab", {}, InvalidCorpus, "at least 3"),
        (b"aaaa", {}, InvalidCorpus, "'a'"),
        (b"ab\x00cd", {}, InvalidCorpus, "byte 2"),
        (b"to be or not to be", {"batch_size": 4, "seq_length": 3}, InvalidOptions, "batch_size up to 2"),
        (b"to be or not to be", {"keep": "best"}, InvalidOptions, "5,000 characters"),
    ],
)
def test_texts_and_options_that_cannot_be_trained_are_refused(
    tmp_path: Path, content: bytes, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    source = tmp_path / "text.txt"
    source.write_bytes(content)
    with pytest.raises(kind, match=says):
        train(source, output=tmp_path / "m.safetensors", **options)
    assert contents(tmp_path) == {"text.txt"}


def test_files_that_cannot_be_read_or_written_are_refused_by_name(verse: Path) -> None:
    with pytest.raises(InvalidCorpus, match="a directory"):
        train(verse.parent)
    with pytest.raises(InvalidCorpus, match="nowhere"):
        train(verse.parent / "nowhere.txt")
    with pytest.raises(InvalidOptions, match=r"NAME\.safetensors"):
        train(verse, output=verse.parent / "model.pkl")
    (verse.parent / "folder.safetensors").mkdir()
    with pytest.raises(InvalidOptions, match="a folder"):
        train(verse, output=verse.parent / "folder.safetensors", force=True)
    with pytest.raises(TrainingFailed, match="cannot be made"):
        train(verse, output=verse / "m.safetensors")
    assert contents(verse.parent) == {"verse.txt", "folder.safetensors"}


def test_a_callback_that_fails_ends_the_training_and_a_second_training_has_to_wait(
    verse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "held", partial(process.held, patience=0.1))
    output = verse.parent / "m.safetensors"

    def fail(event: Event) -> None:
        if isinstance(event, Progress):
            with pytest.raises(WouldOverwrite, match="another process"):
                train(verse, output=output, force=True, max_steps=1)
            raise ZeroDivisionError("of the callback")

    with pytest.raises(ZeroDivisionError, match="of the callback"):
        train(verse, output=output, callback=fail, minutes=5, log_every=1, **SMALL)
    assert contents(verse.parent) <= RESULTS  # and neither lock, ids nor half a file


def test_a_training_that_diverges_says_so(verse: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"diverged: at step \d+ .* learning_rate below 10"):
        train(
            verse, output=verse.parent / "m.safetensors", learning_rate=10, weight_decay=1, warmup_steps=0,
            schedule="constant", max_steps=500, **SMALL,
        )  # fmt: skip
    assert contents(verse.parent) <= RESULTS


# --- interrupts ------------------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys, charrnn
def show(event):
    print(type(event).__name__, event.step, flush=True)
model = charrnn.train("verse.txt", output="m.safetensors", callback=show, progress=False, **json.loads(sys.argv[1]))
print("returned", model.finished, model.record["reason"], model.record["step"], len(model.generate(length=20)))
"""


def interrupted(folder: Path, options: str, progress: int) -> list[str]:
    """What a script prints that is interrupted once it has told so often of progress; 0: while it compiles."""
    package = str(Path(charrnn.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, options],
        cwd=folder, env={**os.environ, "PYTHONPATH": package}, stdout=subprocess.PIPE, encoding="utf-8",
    ) as script:  # fmt: skip
        assert script.stdout
        (child,) = wait_for(lambda: processes_of(script.pid))
        lines = []
        if not progress:
            wait_for(lambda: has_mapped(child, ".m.corpus.ids"))
            script.send_signal(signal.SIGINT)
        for line in script.stdout:
            lines.append(line.strip())
            if line.startswith("Progress") and sum(line.startswith("Progress") for line in lines) == progress:
                script.send_signal(signal.SIGINT)
    assert script.returncode == 0
    assert not Path(f"/proc/{child}").exists()
    return lines


def test_an_interrupt_while_it_compiles_gives_a_model_of_the_first_step(verse: Path) -> None:
    options = '{"rnn_size": 16, "batch_size": 8, "seq_length": 20, "minutes": 5}'
    assert interrupted(verse.parent, options, 0)[-1] == "returned False interrupted 1 20"
    assert contents(verse.parent) == RESULTS


def test_an_interrupt_saves_and_returns_the_model_so_far(verse: Path) -> None:
    options = '{"rnn_size": 16, "batch_size": 8, "seq_length": 20, "minutes": 5, "log_every": 10}'
    lines = interrupted(verse.parent, options, 5)
    word, finished, reason, step, written = lines[-1].split()
    assert (word, finished, reason, written) == ("returned", "False", "interrupted", "20")
    assert int(step) >= 50
    assert lines[-2] == f"Finished {step}"
    assert contents(verse.parent) == RESULTS
    checkpoint = Checkpoint.read(verse.parent / "m.checkpoint.safetensors")
    assert checkpoint.metadata["position"]["step"] == int(step)
    assert not checkpoint.metadata["record"]["finished"]


DONE = """
import json, os, sys
from charrnn.events import Finished, to_json
event = Finished(step=7, finished=False, reason="interrupted", loss=1.0, validation_loss=None, seconds=2.0)
os.write(int(sys.argv[1]), (json.dumps(to_json(event)) + "\\n").encode())
"""


def test_who_interrupts_twice_gets_the_model_also_when_the_process_is_just_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The training is played: it has said that it is finished when the second interrupt comes."""
    monkeypatch.setattr(process, "python", lambda module, number: [sys.executable, "-c", DONE, number])
    heard: list[Event] = []
    with process.TrainingProcess() as trains:
        ends = trains.process.wait
        impatient = iter([KeyboardInterrupt])

        def wait() -> int:
            if interrupt := next(impatient, None):
                raise interrupt
            return ends()

        def listen(event: Event) -> None:
            heard.append(event)
            raise KeyboardInterrupt

        trains.process.wait = wait  # type: ignore[method-assign]
        assert trains.follow(listen).reason == "interrupted"
    assert [event.step for event in heard] == [7]


def test_a_run_without_an_end_goes_on_until_it_is_stopped(verse: Path) -> None:
    options = '{"rnn_size": 16, "batch_size": 8, "seq_length": 20, "until_stopped": true, "log_every": 10}'
    lines = interrupted(verse.parent, options, 30)
    word, finished, reason, *_ = lines[-1].split()
    assert (word, finished, reason) == ("returned", "True", "stopped")
    assert any(line.startswith("Note") for line in lines)  # that it is stopping
    assert lines[-2].startswith("Finished")
    assert contents(verse.parent) == RESULTS
