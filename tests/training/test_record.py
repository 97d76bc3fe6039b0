"""What a model remembers of how it learned."""

from __future__ import annotations

import json
from itertools import pairwise

from charrnn.training.record import MOST_POINTS, MOST_SAMPLES, Record, thinned


def test_a_short_training_is_remembered_point_by_point() -> None:
    record = Record({"source_name": "poem.txt"})
    for step in range(1, 100):
        record.point(step, step / 2, step / 50, train_loss=1 / step, learning_rate=0.001)
    assert [point["step"] for point in record.data["points"]] == list(range(1, 100))
    assert record.data["points"][1] == {
        "step": 2, "seconds": 1.0, "epoch": 0.04, "train_loss": 0.5, "learning_rate": 0.001,
    }  # fmt: skip
    assert record.data["source_name"] == "poem.txt"
    assert not record.data["finished"]
    assert json.loads(json.dumps(record.data)) == record.data


def test_a_long_training_is_remembered_evenly_from_its_beginning_to_its_end() -> None:
    record = Record({})
    for step in range(1, 8001):
        record.point(step, float(step), 0.0, train_loss=1.0)
    steps = [point["step"] for point in record.data["points"]]
    assert len(steps) <= MOST_POINTS
    assert (steps[0], steps[-1]) == (1, 8000)
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert max(gaps) <= 3 * 8000 / MOST_POINTS
    for tenth in range(10):
        assert sum(tenth * 800 < step <= (tenth + 1) * 800 for step in steps) > 60


def test_validation_losses_outlast_other_points() -> None:
    record = Record({})
    for step in range(1, 5000):
        record.point(step, float(step), 0.0, train_loss=1.0)
        if step % 100 == 0:
            record.point(step, float(step), 0.0, validation_loss=2.0)
    validated = [point["step"] for point in record.data["points"] if "validation_loss" in point]
    assert validated == list(range(100, 5000, 100))
    assert len(record.data["points"]) == MOST_POINTS


def test_even_validation_losses_are_thinned_when_there_are_too_many() -> None:
    items = [{"step": step, "validation_loss": 1.0} for step in range(30)]
    kept = [item["step"] for item in thinned(items, 10)]
    assert len(kept) == 10
    assert (kept[0], kept[-1]) == (0, 29)


def test_at_most_fifty_samples_are_kept_the_first_and_the_last_among_them() -> None:
    record = Record({})
    for step in range(0, 1000, 5):
        record.sample(step, f"text of {step}")
    samples = record.data["samples"]
    assert len(samples) == MOST_SAMPLES
    assert samples[0] == {"step": 0, "text": "text of 0"}
    assert samples[-1] == {"step": 995, "text": "text of 995"}


def test_a_record_goes_on_where_it_was() -> None:
    first = Record({})
    first.point(1, 1.0, 0.1, train_loss=3.0)
    first.note("nothing held out")
    second = Record({**first.data, "finished": False})
    second.point(2, 2.0, 0.2, train_loss=2.0)
    assert [point["step"] for point in second.data["points"]] == [1, 2]
    assert second.data["notes"] == ["nothing held out"]
