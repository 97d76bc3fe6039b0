"""How well a text is predicted: which targets count, once each, and from which state."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.errors import InvalidCorpus
from charrnn.network import evaluate
from charrnn.network.cells import GATES, forward, nats
from charrnn.network.evaluate import evaluate_ids, evaluate_windows, score_ids


def random_ids(model, length, seed=0, unknown=True):
    return np.random.default_rng(seed).integers(0 if unknown else 1, len(model.vocabulary), length)


def costs(model, ids):
    """Nats of each target with the state carried on from the beginning."""
    logits = forward(model.weights, model.cell, ids[None, :-1]).logits[0]
    return nats(logits, ids[1:])


@pytest.mark.parametrize("cell", sorted(GATES))
def test_a_short_text_is_one_stretch_with_the_state_carried_on(make_model, cell):
    model = make_model(cell, rnn_size=6)
    ids = random_ids(model, 1999, unknown=False)
    result = evaluate_ids(model.weights, cell, ids)
    assert result.characters == 1998
    assert result.nats_per_character == pytest.approx(costs(model, ids).mean(), abs=1e-5)
    assert result.bits_per_character == pytest.approx(result.nats_per_character / math.log(2))
    assert result.perplexity == pytest.approx(math.exp(result.nats_per_character))


def test_stretches_are_warmed_on_the_200_characters_before_them_and_no_more(make_model):
    model = make_model("rnn", rnn_size=5, scale=4)
    ids = random_ids(model, 3500, unknown=False)
    edges = [0, 1166, 2333, 3500]
    total = costs(model, ids[: edges[1]]).sum()
    for start, stop in pairwise(edges[1:]):
        total += costs(model, ids[start - 200 : stop])[199:].sum()
    result = evaluate_ids(model.weights, "rnn", ids)
    assert result.characters == 3499
    assert result.nats_per_character == pytest.approx(total / 3499, abs=1e-5)


@settings(max_examples=15)
@given(st.integers(2, 40_000), st.integers(0, 5))
def test_every_target_but_the_first_is_counted_once(make_model, length, seed):
    model = make_model("rnn", rnn_size=2, num_layers=1, characters="abc")
    ids = random_ids(model, length, seed)
    ids[-1] = 1
    result = evaluate_ids(model.weights, "rnn", ids)
    assert result.unknown == int((ids[1:] == 0).sum())
    assert result.characters == int((ids[1:] != 0).sum())


def test_a_long_text_is_read_in_at_most_32_stretches(make_model, monkeypatch):
    model = make_model("rnn", rnn_size=2, num_layers=1, characters="abc")
    batches = []

    def spied(weights, cell, ids, state=None):
        batches.append(len(ids))
        return forward(weights, cell, ids, state)

    monkeypatch.setattr(evaluate, "forward", spied)
    evaluate_ids(model.weights, "rnn", random_ids(model, 100_000))
    assert max(batches) == 32


def test_the_result_does_not_depend_on_how_much_is_read_at_once(make_model, monkeypatch):
    model = make_model("gru", rnn_size=6)
    ids = random_ids(model, 5000)
    expected = evaluate_ids(model.weights, "gru", ids)
    scores = score_ids(model.weights, "gru", ids[:300])
    windows = evaluate_windows(model.weights, "gru", ids)
    monkeypatch.setattr(evaluate, "_NUMBERS", 3000)
    again = evaluate_ids(model.weights, "gru", ids)
    assert again.nats_per_character == pytest.approx(expected.nats_per_character, abs=1e-6)
    np.testing.assert_allclose(score_ids(model.weights, "gru", ids[:300]), scores, atol=1e-5)
    assert evaluate_windows(model.weights, "gru", ids).nats_per_character == pytest.approx(windows.nats_per_character)


def test_windows_each_start_from_a_zero_state(make_model):
    model = make_model("lstm", rnn_size=6)
    ids = random_ids(model, 256 * 5 + 100, unknown=False)
    total = sum(costs(model, ids[start : start + 257]).sum() for start in range(0, 256 * 5, 256))
    result = evaluate_windows(model.weights, "lstm", ids)
    assert result.characters == 256 * 5
    assert result.nats_per_character == pytest.approx(total / (256 * 5), abs=1e-5)


def test_a_mapped_array_of_small_integers_is_read_as_it_is(model, tmp_path):
    ids = random_ids(model, 4000).astype(np.uint8)
    ids.tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", np.uint8, "r")
    assert evaluate_ids(model.weights, model.cell, mapped) == evaluate_ids(
        model.weights, model.cell, ids.astype(np.int64)
    )


@pytest.mark.parametrize("ids", [[], [1], [1, 0, 0]])
def test_where_no_target_counts_nothing_is_evaluated(model, ids):
    with pytest.raises(InvalidCorpus, match="nothing to evaluate"):
        evaluate_ids(model.weights, model.cell, np.array(ids, np.int64))


def test_a_model_that_is_certain_and_wrong_has_an_infinite_perplexity(make_model):
    model = make_model("rnn", rnn_size=2, characters="ab")
    weights = {**model.weights, "output.bias": np.array([0, 5000, 0], np.float32)}
    assert evaluate_ids(weights, "rnn", np.array([1, 2, 2])).perplexity == math.inf
