"""A model that goes on with another text keeps what it knew, and learns the new characters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from charrnn.errors import InvalidOptions, WouldOverwrite
from charrnn.network.cells import initial_weights
from charrnn.network.model import Model, load
from charrnn.network.options import TrainingOptions
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.fork import grown
from charrnn.training.process import run

ENGLISH, GERMAN = "the quick brown fox jumps\n", "höher springt der süße Fuchs\n"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    path = tmp_path / "parent.safetensors"
    vocabulary = Vocabulary("".join(sorted(set(ENGLISH))))
    Model.initial("lstm", vocabulary, embedding_size=4, rnn_size=16).save(path)
    return path


def options(**values: object) -> TrainingOptions:
    return TrainingOptions.parse({"max_steps": 30, "batch_size": 2, "seq_length": 10, **values})


@pytest.mark.parametrize(("embedding_size", "looked_up"), [(0, "layers.0.input"), (3, "embedding")])
def test_new_characters_begin_as_the_mean_of_the_known_ones_by_how_often_they_occur(
    embedding_size: int, looked_up: str
) -> None:
    weights = initial_weights("gru", 4, embedding_size, 5, 2, seed=1)
    counts = np.array([9, 1, 3, 0, 7, 7])
    child = grown(weights, 6, counts)
    rows = weights[looked_up]
    expected = (rows[1] * 1 + rows[2] * 3) / 4
    for new in (4, 5):
        np.testing.assert_allclose(child[looked_up][new], expected, rtol=1e-6)
        columns = weights["output.weights"]
        np.testing.assert_allclose(child["output.weights"][:, new], (columns[:, 1] + columns[:, 2] * 3) / 4, rtol=1e-6)
    np.testing.assert_array_equal(child[looked_up][:4], rows)
    np.testing.assert_array_equal(child["output.weights"][:, :4], weights["output.weights"])
    for name in ("layers.0.recurrent", "layers.1.input"):
        assert child[name] is weights[name]


def test_a_child_keeps_its_parents_ids_and_learns_from_its_weights(parent: Path, tmp_path: Path) -> None:
    text = tmp_path / "german.txt"
    text.write_text(GERMAN * 30, encoding="utf-8")
    child = run(text, options(), output=tmp_path / "child.safetensors", parent=parent)
    known = load(parent).vocabulary.characters
    assert child.vocabulary.characters.startswith(known)
    assert set(child.vocabulary.characters) == set(known) | set(GERMAN)
    assert child.sizes.rnn_size == 16
    assert child.sizes.embedding_size == 4
    assert child.record["parent"] == "parent.safetensors"
    points = [point["train_loss"] for point in child.record["points"] if "train_loss" in point]
    assert points[-1] < np.log(len(child.vocabulary))


def test_a_parents_network_cannot_be_changed(parent: Path, tmp_path: Path) -> None:
    text = tmp_path / "german.txt"
    text.write_text(GERMAN * 30, encoding="utf-8")
    with pytest.raises(InvalidOptions, match="rnn_size is 16 in the parent"):
        run(text, options(rnn_size=32), output=tmp_path / "child.safetensors", parent=parent)
    assert not (tmp_path / "child.safetensors").exists()


def test_a_parent_is_never_replaced_by_its_child(parent: Path, tmp_path: Path) -> None:
    text = tmp_path / "german.txt"
    text.write_text(GERMAN * 30, encoding="utf-8")
    before = parent.read_bytes()
    with pytest.raises(WouldOverwrite, match="is the parent"):
        run(text, options(), output=parent, parent=parent, force=True)
    assert parent.read_bytes() == before
