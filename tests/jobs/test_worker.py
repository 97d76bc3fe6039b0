"""What a worker makes of a queued model: files, log, curves and status, on an embedded database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from charrnn.events import Event, Finished, Progress
from charrnn.jobs.attempt import Attempt
from charrnn.jobs.outbox import Outbox
from charrnn.jobs.status import Status
from charrnn.network.model import load
from tests.jobs.trainings import Place, supervisor, wait_for, workers_of
from tests.s3 import S3

if TYPE_CHECKING:
    from charrnn.jobs.courier import Courier


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.in_folder(tmp_path, lease_seconds=5)


def test_a_queued_model_is_trained_to_its_end(place: Place) -> None:
    id = place.new_model(max_steps=60)
    with supervisor(place.settings, until_idle=True) as process:
        assert process.wait(timeout=300) == 0
    record = place.store.get(id)
    assert (record.status, record.step, record.progress, record.attempt) == (Status.COMPLETE, 60, 1, 1)
    assert record.error is None
    assert record.worker_pid is None
    assert (record.checkpoint, record.model_file) == (
        f"models/{id}/checkpoint-1.safetensors", f"models/{id}/model-1.safetensors",
    )  # fmt: skip
    model = place.model(id)
    assert model.finished
    assert model.record["source_name"] == "verse.txt"
    assert record.best_validation_loss == model.record["best_validation_loss"]
    assert [sample.step for sample in place.store.samples(id)] == [0, 1, 2, 5, 10, 20, 50, 60]
    log = place.log(id)
    assert [line.position for line in log] == list(range(len(log)))
    assert log[0].text.startswith("training: LSTM 1 x 16")
    assert log[-1].text.startswith("finished at step 60")
    assert place.files(id) == {"corpus.txt", "corpus.ids", "checkpoint-1.safetensors", "model-1.safetensors"}
    assert workers_of(id) == set()


def test_what_cannot_be_trained_fails_with_a_message(place: Place) -> None:
    id = place.new_model(batch_size=60_000)
    with supervisor(place.settings, until_idle=True) as process:
        process.wait(timeout=300)
    record = place.store.get(id)
    assert (record.status, record.attempt, record.deaths) == (Status.FAILED, 1, 0)
    assert record.error is not None
    assert record.error.startswith("batch_size 60000 and seq_length 16 need a training part of")
    assert place.log(id)[-1].text == f"failed: {record.error}"


def test_a_missing_file_fails_the_model_with_a_message(place: Place) -> None:
    id = place.new_model(max_steps=5)
    (place.folder(id) / "corpus.ids").unlink()
    with supervisor(place.settings, until_idle=True) as process:
        process.wait(timeout=300)
    record = place.store.get(id)
    assert (record.status, record.attempt) == (Status.FAILED, 1)
    assert "corpus.ids" in str(record.error)


def test_a_stopped_model_goes_on_with_a_larger_budget_and_only_its_newest_files_stay(place: Place) -> None:
    id = place.new_model(max_steps=1_000_000, log_every=1, save_every=20)
    with supervisor(place.settings):
        wait_for(lambda: place.store.get(id).step)
        place.store.request_stop(id)
        stopped = place.wait_for_status(id, Status.STOPPED)
        assert place.model(id).record["step"] == stopped.step
        options = {**stopped.options, "max_steps": stopped.step + 30}
        place.store.enqueue(id, options=options)
        record = place.wait_for_status(id, Status.COMPLETE)
    assert (record.step, record.attempt, record.progress) == (stopped.step + 30, 2, 1)
    assert place.model(id).finished
    log = [line.text for line in place.log(id)]
    begin = log.index(f"note: resumed at step {stopped.step:,}")
    assert log[begin - 1].startswith(f"interrupted at step {stopped.step:,}")
    assert log[begin + 1].startswith(f"going on at step {stopped.step:,}")
    assert [point.step for point in place.store.metrics(id, limit=100_000)] == list(range(1, record.step + 1))
    assert place.files(id) == {"corpus.txt", "corpus.ids", "checkpoint-2.safetensors", "model-2.safetensors"}


def test_a_run_without_an_end_that_is_stopped_learns_for_a_moment_more_and_is_stopped(place: Place) -> None:
    id = place.new_model(until_stopped=True)
    with supervisor(place.settings):
        wait_for(lambda: place.store.get(id).step)
        place.store.request_stop(id)
        record = place.wait_for_status(id, Status.STOPPED)
    log = [line.text for line in place.log(id)]
    assert any("stopping: the learning rate falls" in line for line in log)
    assert log[-1].startswith(f"stopped at step {record.step:,}")


def test_without_log_every_a_training_tells_little(place: Place) -> None:
    id = place.new_model(minutes=0.05)
    with supervisor(place.settings, until_idle=True) as process:
        process.wait(timeout=300)
    record, points = place.store.get(id), place.store.metrics(id)
    assert record.status is Status.COMPLETE
    learned = [point for point in points if point.train_loss is not None]
    assert 1 <= len(learned) <= 2 * record.seconds + 2, "twice a second"
    assert sum("speed" in line.text for line in place.log(id)) <= 3
    assert any(point.validation_loss is not None for point in points)


def test_a_curve_goes_to_the_end_of_its_training(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point every half second of training is enough, but for the last."""
    id, told = place.new_model(minutes=1), Told()

    def played(*_: object, callback: Callable[[Event], None], **__: object) -> None:
        for step, seconds in ((45, 0.3), (60, 0.5), (80, 0.7)):
            callback(Progress(step, 0.01, 1.0, 2.0 / step, 0.001, 1000.0, seconds, 59.0))
        callback(Finished(80, True, "memorised", 0.02, None, 0.7))

    monkeypatch.setattr("charrnn.jobs.attempt.run_ids", played)
    Attempt(place.storage, place.store.get(id), cast("Courier", told)).run(lambda _: None)
    assert list(told.outbox.metrics) == [45, 80]


class Told:
    """A courier that brings nothing away."""

    def __init__(self) -> None:
        self.outbox = Outbox(0)

    def check(self) -> None:
        pass


def test_a_fork_begins_with_its_parents_weights(place: Place) -> None:
    parent = place.new_model("parent", max_steps=60)
    with supervisor(place.settings, until_idle=True) as process:
        process.wait(timeout=300)
    original = place.model(parent)
    child = place.new_model("child", max_steps=1, parent=parent, learning_rate=1e-9)
    with supervisor(place.settings, until_idle=True) as process:
        process.wait(timeout=300)
    assert place.store.get(child).error is None
    model = place.model(child)
    assert model.record["parent"] == "parent.safetensors"
    for name, array in original.weights.items():
        np.testing.assert_allclose(model.weights[name], array, atol=1e-6)


def test_training_with_files_in_s3_goes_on_from_there(tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    place = Place.in_folder(tmp_path, lease_seconds=5, storage_url=f"s3://{s3.bucket()}/some/where")
    id = place.new_model(max_steps=1_000_000, log_every=1, save_every=50)
    with supervisor(place.settings) as process:
        wait_for(lambda: place.store.get(id).checkpoint)
        process.terminate()
        process.wait(timeout=90)
    record = place.store.get(id)
    assert (record.status, record.checkpoint) == (Status.QUEUED, f"models/{id}/checkpoint-1.safetensors")
    with supervisor(place.settings):
        wait_for(lambda: place.store.get(id).step > record.step)
        place.store.request_stop(id)
        stopped = place.wait_for_status(id, Status.STOPPED)
    assert f"note: resumed at step {record.step:,}" in [line.text for line in place.log(id)]
    assert stopped.model_file == f"models/{id}/model-2.safetensors"
    assert load(place.storage.get(stopped.model_file, tmp_path)).record["step"] == stopped.step
    assert not place.storage.exists(f"models/{id}/model-1.safetensors")
    assert not place.storage.exists(f"models/{id}/checkpoint-1.safetensors")
    assert list(Path(tempfile.gettempdir()).glob(f"*charrnn-models-{id}*")) == []
