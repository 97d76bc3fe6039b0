"""When a training stops and what is kept of it: the trainer itself, asked to stop at telling steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charrnn.errors import TrainingFailed
from charrnn.events import Event, Finished, Progress, Saved, Validated
from charrnn.network.model import Model, load
from charrnn.network.options import TrainingOptions
from charrnn.text.corpus import ingest
from charrnn.training import trainer as trainer_module
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.plan import begin, go_on
from charrnn.training.process import Files
from charrnn.training.trainer import Trainer
from tests.training.texts import SMALL, write_verse

STEPS = {
    "max_steps": 24, "validate_every": 4, "log_every": 1, "keep": "best", **SMALL,
    "learning_rate": 10.0, "schedule": "constant", "warmup_steps": 50,
}  # fmt: skip

Stops = Callable[[Trainer], int]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    write_verse(tmp_path)
    return Files(tmp_path / "m.safetensors")


def train(files: Files, options: dict[str, Any], stops: Stops = lambda trainer: 0) -> tuple[Model, list[Event]]:
    """Begin, or go on if there is a checkpoint, and ask `stops` after every call how often it should have stopped."""
    events: list[Event] = []
    checkpoint = Checkpoint.read(files.checkpoint) if files.checkpoint.exists() else None
    parsed = TrainingOptions.parse(options)
    corpus = ingest(files.model.with_name("verse.txt"), files.ids)
    names: dict[str, Any] = {"model": files.model, "source_name": "verse.txt"}
    task = go_on(corpus, parsed, checkpoint, **names) if checkpoint else begin(corpus, parsed, **names)
    trainer = Trainer(task, events.append, lambda: stops(trainer))
    trainer.run()
    return load(files.model), events


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is read, and goes on by a millisecond each time: no machine is too busy for it."""
    seconds = itertools.count(step=0.001)
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))


def same_weights(one: Model, other: Model) -> bool:
    return all(np.array_equal(array, other.weights[name]) for name, array in one.weights.items())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, list[Event]]:
    """A training whose rate soon grows so large that its best validation is not its last."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_verse(folder)
    model, events = train(Files(folder / "m.safetensors"), STEPS)
    assert 4 <= model.record["best_step"] < 24
    return model, events


def test_whoever_is_interrupted_at_a_validation_keeps_the_same_best(
    files: Files, undisturbed: tuple[Model, list[Event]]
) -> None:
    best = undisturbed[0].record["best_step"]
    model, events = train(files, STEPS, lambda trainer: int(trainer.step == best))
    assert (model.finished, model.record["reason"], model.record["step"]) == (False, "interrupted", best)
    assert [event.step for event in events if isinstance(event, Validated)] == list(range(4, best + 1, 4))
    model, _ = train(files, STEPS)
    assert model.finished
    assert model.record["best_step"] == best
    assert same_weights(model, undisturbed[0])


def test_an_interrupt_between_validations_changes_nothing_of_what_a_resumed_run_keeps(
    files: Files, undisturbed: tuple[Model, list[Event]]
) -> None:
    best = undisturbed[0].record["best_step"]
    options = {**STEPS, "sample_every": 1}  # so that the trainer looks around after every step
    for step in (best - 1, best + 1):
        model, _ = train(files, options, lambda trainer, step=step: int(trainer.step == step))
        assert not model.finished
    model, _ = train(files, options)
    assert model.record["best_step"] == best
    assert same_weights(model, undisturbed[0])
    expected = [event.loss for event in undisturbed[1] if isinstance(event, Validated)]
    assert [p["validation_loss"] for p in model.record["points"] if "validation_loss" in p] == pytest.approx(
        expected, abs=1e-5
    )


def test_a_stop_during_the_last_step_finds_the_training_finished(files: Files) -> None:
    model, events = train(files, {**STEPS, "max_steps": 6}, lambda trainer: int(trainer.step == 6))
    assert (model.finished, model.record["step"], model.record["reason"]) == (True, 6, "budget")
    assert isinstance(events[-1], Finished)


@pytest.mark.usefixtures("clock")
def test_minutes_end_in_time_with_a_low_rate_and_a_validation_at_every_mark(files: Files) -> None:
    model, events = train(files, {**SMALL, "minutes": 0.05, "max_epochs": 500})
    assert model.finished
    assert 3.0 <= events[-1].seconds < 3.2
    rates = [event.learning_rate for event in events if isinstance(event, Progress)]
    assert rates[-1] < 0.1 * model.options["learning_rate"]
    assert len([event for event in events if isinstance(event, Validated)]) == 13


@pytest.mark.usefixtures("clock")
def test_a_stop_without_a_budget_lets_the_rate_fall_and_finishes(files: Files) -> None:
    options = {**SMALL, "until_stopped": True, "log_every": 1, "warmup_steps": 0}
    model, events = train(files, options, lambda trainer: int(trainer.seconds > 1.5))
    assert (model.finished, model.record["reason"]) == (True, "stopped")
    rates = [event.learning_rate for event in events if isinstance(event, Progress)]
    peak = model.options["learning_rate"]
    assert rates[0] == pytest.approx(peak)
    falling = [rate for rate in rates if rate < 0.999 * peak]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.2 * peak
    assert 1.5 <= model.record["seconds"] < 1.7


def test_a_second_stop_ends_at_once_and_so_does_the_loss_of_whoever_started_it(files: Files) -> None:
    options = {**SMALL, "until_stopped": True, "log_every": 1}
    model, _ = train(files, options, lambda trainer: 2 * int(trainer.step >= 10))
    assert (model.finished, model.record["reason"]) == (False, "interrupted")
    (segment,) = Checkpoint.read(files.checkpoint).metadata["segments"]
    assert segment["end_seconds"] is None  # going on, it still has no end

    step = model.record["step"]
    model, events = train(files, options, lambda trainer: 2 * int(trainer.step >= step + 20))
    assert model.record["step"] >= step + 20
    assert max(event.progress for event in events if isinstance(event, Progress)) == 0


def test_a_model_whose_weights_are_no_numbers_is_never_saved(files: Files) -> None:
    options = {**STEPS, "max_steps": 8, "keep": "last", "validate_every": 8}

    def spoil(trainer: Trainer) -> int:
        if trainer.step == 8:
            bias = trainer.parameters["output.bias"]
            trainer.parameters = {**trainer.parameters, "output.bias": bias * float("nan")}
        return 0

    with pytest.raises(TrainingFailed, match="diverged: at step 8"):
        train(files, options, spoil)
    assert not files.model.exists()
    assert not files.checkpoint.exists()


def test_losses_of_a_continued_training_are_of_the_same_held_out_characters(files: Files) -> None:
    train(files, {**STEPS, "max_steps": 4})
    before = Checkpoint.read(files.checkpoint).metadata["validation_characters"]
    train(files, {**STEPS, "max_steps": 100_000}, lambda trainer: int(trainer.step >= 8))
    assert Checkpoint.read(files.checkpoint).metadata["validation_characters"] == before


@pytest.mark.usefixtures("clock")
def test_budgets_of_every_kind_continue_and_count_from_the_very_beginning(files: Files) -> None:
    model, _ = train(files, {**SMALL, "max_steps": 20})
    seconds = model.record["seconds"]
    model, events = train(files, {**SMALL, "minutes": (seconds + 1) / 60})
    assert (model.finished, model.options["max_steps"]) == (True, None)
    assert seconds + 1 <= model.record["seconds"] < seconds + 2
    assert max(event.progress for event in events if isinstance(event, Progress)) == 1

    epochs = model.record["epochs"] + 0.1
    model, _ = train(files, {**SMALL, "max_epochs": epochs})
    assert (model.finished, model.options["minutes"]) == (True, None)
    assert model.record["epochs"] == pytest.approx(epochs, abs=0.003)
    assert [segment["peak"] for segment in Checkpoint.read(files.checkpoint).metadata["segments"]] == [1, 0.5, 0.5]


def test_a_disk_that_refuses_a_checkpoint_ends_the_training_with_an_error(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal that no ordinary folder gives on request stands in here."""

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", str(files.checkpoint))

    monkeypatch.setattr(Checkpoint, "write", refuse)
    with pytest.raises(PermissionError):
        train(files, {**STEPS, "save_every": 2})


def test_a_saved_file_is_there_when_its_event_says_so(files: Files) -> None:
    found = []
    corpus = ingest(files.model.with_name("verse.txt"), files.ids)
    options = TrainingOptions.parse({**STEPS, "max_steps": 4})
    task = begin(corpus, options, model=files.model, source_name="verse.txt")

    def look(event: Event) -> None:
        if isinstance(event, Saved):
            found.append((event.kind, Path(event.path).stat().st_size > 1000))

    Trainer(task, look, lambda: 0).run()
    assert ("model", True) in found
    assert ("checkpoint", True) in found
    assert all(there for _, there in found)
