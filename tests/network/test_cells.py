"""The readable forward pass: that it computes the published formulas, and reports what it computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.network.cells import (
    GATES,
    Sizes,
    forward,
    initial_weights,
    nats,
    sigmoid,
    sizes_of,
    softmax,
    weight_shapes,
    zero_state,
)

CELLS = sorted(GATES)


def by_hand(weights, cell, ids):
    """One sequence, one number at a time, straight from the formulas."""
    sizes = sizes_of(weights)
    units = sizes.rnn_size
    hidden = [[0.0] * units for _ in range(sizes.num_layers)]
    memory = [[0.0] * units for _ in range(sizes.num_layers)]
    logits = []

    def s(x):
        return 1 / (1 + math.exp(-x))

    for id_ in ids:
        values = (
            list(weights["embedding"][id_])
            if sizes.embedding_size
            else [1.0 if i == id_ else 0.0 for i in range(sizes.vocab_size)]
        )
        for layer in range(sizes.num_layers):
            w, u = weights[f"layers.{layer}.input"], weights[f"layers.{layer}.recurrent"]
            b = weights[f"layers.{layer}.bias"]
            before = list(hidden[layer])

            def x(column, values=values, w=w, b=b):
                return sum(v * w[d, column] for d, v in enumerate(values)) + b[column]

            def h(column, before=before, u=u):
                return sum(v * u[d, column] for d, v in enumerate(before))

            for j in range(units):
                if cell == "lstm":
                    i, f, g, o = (x(gate * units + j) + h(gate * units + j) for gate in range(4))
                    memory[layer][j] = s(f) * memory[layer][j] + s(i) * math.tanh(g)
                    hidden[layer][j] = s(o) * math.tanh(memory[layer][j])
                elif cell == "gru":
                    c = weights[f"layers.{layer}.recurrent_bias"]
                    r, z = (s(x(gate * units + j) + h(gate * units + j) + c[gate * units + j]) for gate in range(2))
                    n = math.tanh(x(2 * units + j) + r * (h(2 * units + j) + c[2 * units + j]))
                    hidden[layer][j] = (1 - z) * n + z * before[j]
                else:
                    hidden[layer][j] = math.tanh(x(j) + h(j))
            values = list(hidden[layer])
        out = weights["output.weights"]
        logits.append(
            [sum(v * out[d, k] for d, v in enumerate(values)) + weights["output.bias"][k] for k in range(out.shape[1])]
        )
    return np.array(logits)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 3])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_logits_are_those_of_the_formulas(make_model, cell, embedding_size, num_layers):
    model = make_model(cell, embedding_size=embedding_size, rnn_size=4, num_layers=num_layers, characters="abcd")
    weights = {name: array.astype(np.float64) for name, array in model.weights.items()}
    ids = np.array([1, 4, 0, 2, 2, 3, 1])
    np.testing.assert_allclose(forward(weights, cell, ids[None]).logits[0], by_hand(weights, cell, ids), atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_reading_in_pieces_gives_what_reading_at_once_gives(make_model, cell):
    model = make_model(cell)
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary), (3, 20))
    whole = forward(model.weights, cell, ids)
    first = forward(model.weights, cell, ids[:, :7])
    second = forward(model.weights, cell, ids[:, 7:], first.state)
    np.testing.assert_allclose(np.concatenate([first.logits, second.logits], 1), whole.logits, atol=1e-5)
    for once, pieces in zip(whole.state, second.state, strict=True):
        np.testing.assert_allclose(np.array(once), np.array(pieces), atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_report_names_every_gate_state_and_probability(make_model, cell):
    model = make_model(cell, rnn_size=5)
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    output = forward(model.weights, cell, ids, report=True)
    assert output.report is not None
    assert len(output.report.layers) == 2
    for inside in output.report.layers:
        names = {*GATES[cell], "hidden"} | ({"cell"} if cell == "lstm" else set())
        assert set(inside) == names
        assert all(array.shape == (2, 3, 5) for array in inside.values())
        if cell == "lstm":
            np.testing.assert_allclose(inside["hidden"], inside["output"] * np.tanh(inside["cell"]), atol=1e-6)
    np.testing.assert_array_equal(output.report.layers[-1]["hidden"][:, -1], output.state[-1][0])
    np.testing.assert_allclose(output.report.probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(forward(model.weights, cell, ids).logits, output.logits)


def test_one_hot_input_is_a_row_look_up_of_the_input_weights(make_model):
    one_hot = make_model("lstm", embedding_size=0, characters="abcdef")
    vocab = len(one_hot.vocabulary)
    same = {"embedding": np.eye(vocab, dtype=np.float32), **one_hot.weights}
    ids = np.array([[1, 2, 0, 6]])
    np.testing.assert_allclose(
        forward(same, "lstm", ids).logits, forward(one_hot.weights, "lstm", ids).logits, atol=1e-5
    )


def test_an_id_outside_of_the_vocabulary_is_refused(model):
    for wrong in (-1, len(model.vocabulary)):
        with pytest.raises(ValueError, match="ids must lie in 0 to"):
            forward(model.weights, model.cell, np.array([[1, wrong]]))


def test_nothing_read_leaves_the_state_as_it_is(model):
    state = zero_state(model.cell, model.sizes, 2)
    output = forward(model.weights, model.cell, np.zeros((2, 0), np.int32), state)
    assert output.logits.shape == (2, 0, len(model.vocabulary))
    np.testing.assert_array_equal(np.array(output.state), np.array(state))


@pytest.mark.parametrize("cell", CELLS)
def test_initial_weights_have_the_shapes_that_are_promised_and_depend_on_the_seed_alone(cell):
    sizes = Sizes(30, 6, 10, 3)
    weights = initial_weights(cell, 30, 6, 10, 3, seed=5)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(cell, sizes)
    assert sizes_of(weights) == sizes
    assert all(array.dtype == np.float32 for array in weights.values())
    again = initial_weights(cell, 30, 6, 10, 3, seed=5)
    other = initial_weights(cell, 30, 6, 10, 3, seed=6)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, again[name])
        if array.ndim == 2:
            assert (array != other[name]).any()
            assert abs(array.mean()) < 4 * array.std() / array.size**0.5


def test_an_lstm_begins_with_forget_gates_that_are_mostly_closed():
    bias = initial_weights("lstm", 5, 0, 4, 2, seed=0)["layers.1.bias"]
    assert bias.tolist() == [0] * 4 + [-1] * 4 + [0] * 8


def test_initial_weights_are_the_same_bits_everywhere():
    weights = initial_weights("lstm", 5, 3, 4, 1, seed=7)
    assert weights["layers.0.recurrent"][0, :4].tolist() == PINNED


PINNED = [-0.4965974688529968, -0.13345152139663696, 0.4184287190437317, -0.1001080870628357]


@given(st.lists(st.floats(-2000, 2000, width=32), min_size=1, max_size=20))
def test_sigmoid_and_softmax_stay_finite_and_in_range(values):
    x = np.array(values, np.float32)
    assert ((sigmoid(x) >= 0) & (sigmoid(x) <= 1)).all()
    assert softmax(x).sum() == pytest.approx(1, abs=1e-5)


def test_nats_is_the_negative_logarithm_of_the_probability():
    logits = np.random.default_rng(0).normal(0, 3, (4, 5, 7)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 7, (4, 5))
    expected = -np.log(np.take_along_axis(softmax(logits.astype(np.float64)), targets[..., None], -1)[..., 0])
    np.testing.assert_allclose(nats(logits, targets), expected, atol=1e-5)
