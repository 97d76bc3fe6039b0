"""What a worker makes of a queued model: files, log, curves and status, on an embedded database."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.jobs.status import Status
from tests.jobs.trainings import Place, supervisor, workers_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place.in_folder(tmp_path, lease_seconds=5)


def test_a_queued_model_is_trained_to_its_end(place: Place) -> None:
    id = place.new_model(max_steps=60)
    with supervisor(place.settings, until_idle=True) as process:
        assert process.wait(timeout=90) == 0
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
