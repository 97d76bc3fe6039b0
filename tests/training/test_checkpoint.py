"""A checkpoint file: all of a training, or an error that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.errors import InvalidModel
from charrnn.network.file import write_tensors
from charrnn.training.checkpoint import Checkpoint, checkpoint_path


def example(**changes: Any) -> Checkpoint:
    random = np.random.default_rng(0)
    arrays = {"layers.0.input": random.normal(size=(5, 8)), "output.bias": random.normal(size=5)}
    small = {name: array.astype(np.float32) for name, array in arrays.items()}
    metadata: dict[str, Any] = {
        "options": {"cell": "lstm", "learning_rate": 0.004},
        "vocabulary": {"characters": "abé🙂"},
        "record": {"points": [{"step": 1, "train_loss": 0.1}], "finished": False},
        "segments": [{"start_step": 0, "end_step": None}],
        "position": {"step": 7, "seconds": 0.1 + 0.2, "last_epoch": None},
        "environment": {"versions": {}},
        "source_sha256": "00",
        "validation_characters": 5000,
        **changes,
    }
    return Checkpoint(
        {"weights": small, "means": small, "squares": small, "state": {"h0": np.ones((4, 2), np.float32)}, "best": {}},
        {name: value for name, value in metadata.items() if value is not None},
    )


def test_everything_comes_back_to_the_bit(tmp_path: Path) -> None:
    path, written = tmp_path / "m.checkpoint.safetensors", example()
    written.write(path)
    read = Checkpoint.read(path)
    assert {name: value for name, value in read.metadata.items() if name not in ("kind", "format_version")} == dict(
        written.metadata
    )
    assert read.groups.keys() == written.groups.keys()
    for group, arrays in written.groups.items():
        assert read.groups[group].keys() == arrays.keys()
        for name, array in arrays.items():
            assert read.groups[group][name].dtype == array.dtype
            assert read.groups[group][name].tobytes() == array.tobytes()


def test_the_same_training_makes_the_same_file(tmp_path: Path) -> None:
    for name in ("one", "two"):
        example().write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("missing", ["options", "vocabulary", "record", "segments", "position", "source_sha256"])
def test_a_file_that_lacks_something_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "m.checkpoint.safetensors"
    example(**{missing: None}).write(path)
    with pytest.raises(InvalidModel, match=rf"m\.checkpoint\.safetensors.*{missing}"):
        Checkpoint.read(path)


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.checkpoint.safetensors"
    example().write(path)
    data = path.read_bytes()
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InvalidModel, match=r"m\.checkpoint\.safetensors"):
            Checkpoint.read(path)


def test_a_model_is_no_checkpoint(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", {}, {"kind": "model"})
    with pytest.raises(InvalidModel, match="checkpoint is needed"):
        Checkpoint.read(tmp_path / "m.safetensors")


def test_arrays_that_no_checkpoint_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    for name in ("weights", "weights/", "other/x"):
        write_tensors(path, {name: np.zeros(1, np.float32)}, {"kind": "checkpoint", **example().metadata})
        with pytest.raises(InvalidModel, match="no checkpoint has"):
            Checkpoint.read(path)


def test_a_checkpoint_lies_beside_its_model() -> None:
    assert checkpoint_path(Path("a/b.c.safetensors")) == Path("a/b.c.checkpoint.safetensors")
