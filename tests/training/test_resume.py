"""Killed at any moment and resumed, a training bounded by steps ends with the same bits: real processes, real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.errors import TrainingFailed
from charrnn.events import Event, Note, Progress
from charrnn.network.model import Model
from charrnn.network.options import TrainingOptions
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.process import run
from tests.training.texts import contents, has_mapped, training_processes_of, wait_for, write_verse

STEPS = 2000  # so many that nobody is done before they are killed
OPTIONS: dict[str, Any] = {
    "cell": "lstm", "rnn_size": 24, "num_layers": 2, "embedding_size": 8, "batch_size": 8, "seq_length": 20,
    "dropout": 0.2, "learning_rate": 0.02, "weight_decay": 0.01, "max_steps": STEPS, "save_every": 20,
    "validate_every": 70, "log_every": 10, "keep": "best",
}  # fmt: skip

SCRIPT = """
import json, sys, charrnn
def show(event):
    print(type(event).__name__, event.step, flush=True)
options = json.loads(sys.argv[1])
charrnn.train("verse.txt", output="m.safetensors", resume=True, callback=show, progress=False, **options)
"""


def train(folder: Path, callback: Callable[[Event], None]) -> Model:
    return run(
        folder / "verse.txt", TrainingOptions.parse(OPTIONS), output=folder / "m.safetensors", resume=True,
        callback=callback,
    )  # fmt: skip


def child_of(parent: int) -> int:
    (child,) = wait_for(lambda: training_processes_of(parent))
    return child


def killed_when(folder: Path, moment: Callable[[int, list[Event]], bool], pause: float = 0.003) -> list[Event]:
    """The events of a training whose process is killed once `moment(process id, events)` is there."""
    events: list[Event] = []
    kills: list[int] = []

    def kill() -> None:
        child = child_of(os.getpid())
        wait_for(lambda: moment(child, events), pause)
        os.kill(child, signal.SIGKILL)
        kills.append(child)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(TrainingFailed, match="killed by signal 9"):
        train(folder, events.append)
    killer.join()
    assert kills
    return events


def parent_killed_when(folder: Path, moment: Callable[[int, list[str]], bool]) -> tuple[int, list[str]]:
    """The same for whoever started it: the id of the training process, left to itself, and what was printed."""
    package = str(Path(charrnn.__file__).parent.parent)
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(OPTIONS)],
        cwd=folder, env={**os.environ, "PYTHONPATH": package}, stdout=subprocess.PIPE, encoding="utf-8",
    ) as script:  # fmt: skip
        assert script.stdout
        reader = threading.Thread(target=lambda: lines.extend(iter(script.stdout.readline, "")), daemon=True)
        reader.start()
        child = child_of(script.pid)
        wait_for(lambda: moment(child, lines))
        script.kill()
        script.wait()
        reader.join()
    return child, lines


def losses(record: dict[str, Any]) -> list[tuple[int, float]]:
    return [(point["step"], point["validation_loss"]) for point in record["points"] if "validation_loss" in point]


def progressed(events: list[Event]) -> int:
    return sum(isinstance(event, Progress) for event in events)


def resumed_at(events: list[Event]) -> int:
    (note,) = [event for event in events if isinstance(event, Note) and "resumed" in event.text]
    return note.step


def writes_a_checkpoint(child: int, folder: Path) -> bool:
    """Whether the process is in the middle of writing one; then it is stopped there."""

    def half_written() -> bool:
        return any("checkpoint" in path.name and path.name.endswith(".part") for path in folder.iterdir())

    if not half_written():
        return False
    os.kill(child, signal.SIGSTOP)
    wait_for(lambda: Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    if half_written():
        return True
    os.kill(child, signal.SIGCONT)
    return False


def test_killed_at_any_moment_and_resumed_it_ends_bit_identical(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    for folder in (calm, wild):
        folder.mkdir()
        write_verse(folder)
    expected = train(calm, lambda event: None)
    assert expected.record["step"] == STEPS

    # killed while it loads TensorFlow, and while it compiles: nothing is saved yet, so it begins anew
    for sign_of_the_moment in ("tensorflow", ".m.corpus.ids"):
        events = killed_when(wild, lambda child, events, sign=sign_of_the_moment: has_mapped(child, sign))
        assert progressed(events) == 0
        assert "m.checkpoint.safetensors" not in contents(wild)

    # whoever started it is killed while it loads TensorFlow: it ends by itself, and the next run waits for that
    child, lines = parent_killed_when(wild, lambda child, lines: has_mapped(child, "tensorflow"))
    assert not any(line.startswith("Progress") for line in lines)

    # killed between two steps
    events = killed_when(wild, lambda child, events: progressed(events) >= 17)
    assert not Path(f"/proc/{child}").exists()
    saved = Checkpoint.read(wild / "m.checkpoint.safetensors").metadata["position"]["step"]
    assert saved >= 140

    # killed while a checkpoint is written: the one before it stays whole
    events = killed_when(wild, lambda child, events: progressed(events) >= 5 and writes_a_checkpoint(child, wild), 0)
    assert resumed_at(events) == saved
    saved = Checkpoint.read(wild / "m.checkpoint.safetensors").metadata["position"]["step"]
    assert saved % 20 == 0

    # whoever started it is killed: it saves and ends, and the next run waits for that and goes on from there
    child, lines = parent_killed_when(wild, lambda child, lines: sum("Progress" in line for line in lines) >= 23)
    told = max(int(line.split()[1]) for line in lines if line.startswith("Progress"))
    last: list[Event] = []
    model = train(wild, last.append)
    assert not Path(f"/proc/{child}").exists()
    assert told <= resumed_at(last) < STEPS

    assert model.finished
    assert model.record["step"] == STEPS
    assert not any("no longer" in note for note in model.record["notes"])
    for name, array in expected.weights.items():
        assert model.weights[name].tobytes() == array.tobytes(), name
    assert losses(model.record) == losses(expected.record)
    assert model.record["best_step"] == expected.record["best_step"]
    one, other = (Checkpoint.read(folder / "m.checkpoint.safetensors") for folder in (calm, wild))
    for group, arrays in one.groups.items():
        for name, array in arrays.items():
            assert other.groups[group][name].tobytes() == array.tobytes(), f"{group} {name}"
    for folder in (calm, wild):
        assert contents(folder) == {"verse.txt", "m.safetensors", "m.checkpoint.safetensors"}


def test_another_version_goes_on_and_says_that_it_is_no_longer_exact(tmp_path: Path) -> None:
    write_verse(tmp_path)
    small = {"rnn_size": 8, "batch_size": 8, "seq_length": 20, "num_layers": 1, "validation_fraction": 0}

    def go(steps: int, events: list[Event]) -> Model:
        options = TrainingOptions.parse({**small, "max_steps": steps})
        return run(
            tmp_path / "verse.txt", options, output=tmp_path / "m.safetensors", resume=True, callback=events.append
        )

    go(3, [])
    path = tmp_path / "m.checkpoint.safetensors"
    checkpoint = Checkpoint.read(path)
    environment = {**checkpoint.metadata["environment"], "versions": {"tensorflow": "2.0"}}
    Checkpoint(checkpoint.groups, {**checkpoint.metadata, "environment": environment}).write(path)
    events: list[Event] = []
    model = go(6, events)
    (note,) = [event for event in events if isinstance(event, Note) and "no longer" in event.text]
    assert "versions changed" in note.text
    assert note.text in model.record["notes"]
    assert model.record["step"] == 6
