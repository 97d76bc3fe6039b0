"""The step of training against plain computations of the same thing: TensorFlow's own gradient, NumPy's forward pass,
and Adam as its authors wrote it down."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from charrnn.network.cells import Sizes, forward, initial_weights, nats
from charrnn.training.kernel import ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON, Kernel, KernelOptions

CELLS = ("lstm", "gru", "rnn")
POEM = "the rain came down on the red roof, and the roof sang back to the rain.\n" * 40


def weights_of(options: KernelOptions, seed: int = 1) -> dict[str, Any]:
    """Weights as large as learned ones, biases included, float64."""
    sizes = options.sizes
    weights = initial_weights(
        options.cell, sizes.vocab_size, sizes.embedding_size, sizes.rnn_size, sizes.num_layers, seed
    )
    random = np.random.default_rng(seed)
    return {name: array * 1.5 + random.normal(0, 0.3, array.shape) for name, array in weights.items()}


def zeros_like(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: np.zeros_like(array) for name, array in weights.items()}


def random_ids(options: KernelOptions, *shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, options.sizes.vocab_size, shape).astype(np.int32)


# --- the gradient --------------------------------------------------------------------------------------------------


def cell_step(cell: str, inputs: Any, weights: dict[str, Any], layer: int, state: list[Any]) -> list[Any]:
    """One step of one layer, as the papers have it. inputs [streams, D]; state: h and, for LSTM, c [streams, H]."""
    from_input = inputs @ weights[f"layers.{layer}.input"] + weights[f"layers.{layer}.bias"]
    from_hidden = state[0] @ weights[f"layers.{layer}.recurrent"]
    if cell == "lstm":
        i, f, g, o = tf.split(from_input + from_hidden, 4, axis=1)
        c = tf.sigmoid(f) * state[1] + tf.sigmoid(i) * tf.tanh(g)
        return [tf.sigmoid(o) * tf.tanh(c), c]
    if cell == "gru":
        reset_x, update_x, candidate_x = tf.split(from_input, 3, axis=1)
        reset_h, update_h, candidate_h = tf.split(from_hidden + weights[f"layers.{layer}.recurrent_bias"], 3, axis=1)
        update = tf.sigmoid(update_x + update_h)
        candidate = tf.tanh(candidate_x + tf.sigmoid(reset_x + reset_h) * candidate_h)
        return [(1 - update) * candidate + update * state[0]]
    return [tf.tanh(from_input + from_hidden)]


def reference_loss(
    options: KernelOptions, weights: dict[str, Any], state: list[list[Any]], masks: list[Any], ids: Any, length: int
) -> Any:
    """The mean surprise of the `length` next characters of each stream. ids [time + 1, streams]."""
    state = [list(layer) for layer in state]
    total = 0.0
    for t in range(length):
        if "embedding" in weights:
            below = tf.gather(weights["embedding"], ids[t])
        else:
            below = tf.one_hot(ids[t], options.sizes.vocab_size, dtype=tf.float64)
        for layer in range(options.sizes.num_layers):
            state[layer] = cell_step(options.cell, below, weights, layer, state[layer])
            below = state[layer][0] * tf.transpose(masks[layer]) if masks else state[layer][0]
        logits = below @ weights["output.weights"] + weights["output.bias"]
        total += tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(ids[t + 1], logits))
    return total / (length * ids.shape[1])


@pytest.mark.parametrize(
    ("cell", "embedding_size", "num_layers"), list(product(CELLS, (0, 3), (1, 2)))
)  # fmt: skip
def test_the_gradient_is_what_automatic_differentiation_finds(cell: str, embedding_size: int, num_layers: int) -> None:
    dropout = 0.3 if (embedding_size > 0) == (num_layers == 2) else 0.0
    options = KernelOptions(
        cell, Sizes(7, embedding_size, 4, num_layers), batch_size=3, seq_length=6, dropout=dropout, precision="float64"
    )
    kernel, weights, ids = Kernel(options), weights_of(options), random_ids(options, 7, 3)
    random = np.random.default_rng(2)
    state = {name: random.normal(0, 0.5, tensor.shape) for name, tensor in kernel.zero_state().items()}

    @tf.function(jit_compile=True, autograph=False)
    def ours(parameters: Any, state: Any, ids: Any, length: Any, step: Any) -> Any:
        masks = kernel._dropout_masks(ids.shape[1], step)
        return *kernel.gradients(parameters, state, ids, length, step), masks

    for length, step in ((6, 0), (4, 17)):
        loss, gradient, _, masks = ours(
            kernel.to_device(weights), kernel.state_to_device(state), tf.constant(ids), tf.constant(length),
            tf.constant(step),
        )  # fmt: skip
        assert bool(masks) == bool(dropout)
        assert all(np.unique(mask).tolist() == pytest.approx([0, 1 / 0.7]) for mask in masks)

        variables = {name: tf.Variable(array, dtype=tf.float64) for name, array in weights.items()}
        before = [
            [state[f"{name}{layer}"].T for name in "hc" if f"{name}{layer}" in state] for layer in range(num_layers)
        ]
        with tf.GradientTape() as tape:
            expected = reference_loss(options, variables, before, masks, ids, length)
        automatic = tape.gradient(expected, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

        assert float(loss) == pytest.approx(float(expected), abs=1e-12)
        for name, array in kernel.to_weights(gradient).items():
            found = tf.convert_to_tensor(automatic[name]).numpy()
            assert np.abs(found).max() > 1e-6, name
            np.testing.assert_allclose(array, found, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("embedding_size", [0, 16])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_bfloat16_finds_nearly_the_gradient_of_float32(cell: str, embedding_size: int) -> None:
    found = {}
    for precision in ("float32", "bfloat16"):
        options = KernelOptions(cell, Sizes(20, embedding_size, 32, 2), 8, 12, dropout=0.2, precision=precision)
        kernel = Kernel(options)
        compiled = tf.function(kernel.gradients, jit_compile=True, autograph=False)
        loss, gradient, _ = compiled(
            kernel.to_device(weights_of(kernel.options)), kernel.zero_state(),
            tf.constant(random_ids(kernel.options, 13, 8)), tf.constant(12), tf.constant(0),
        )  # fmt: skip
        found[precision] = float(loss), kernel.to_weights(gradient)
    assert found["bfloat16"][0] == pytest.approx(found["float32"][0], rel=0.01)
    for name, exact in found["float32"][1].items():
        assert np.linalg.norm(found["bfloat16"][1][name] - exact) < 0.06 * np.linalg.norm(exact), name


# --- the update ----------------------------------------------------------------------------------------------------


def test_the_update_is_cautious_adam_of_the_clipped_gradient_with_decoupled_decay() -> None:
    options = KernelOptions(
        "gru", Sizes(6, 3, 4, 1), 2, 5, grad_clip=0.6, weight_decay=0.1, precision="float64"
    )  # fmt: skip
    kernel = Kernel(options)
    gradients = tf.function(kernel.gradients, jit_compile=True, autograph=False)
    weights, ids, rates = weights_of(options), random_ids(options, 4, 6, 2), np.array([0.1, 0.2, 0.05, 0.1])

    ours, moments, state, _ = kernel.run(
        kernel.to_device(weights), (kernel.to_device(zeros_like(weights)), kernel.to_device(zeros_like(weights))),
        kernel.zero_state(), 0, ids, [5, 5, 3, 5], [True, False, False, True], rates, 0, 4,
    )  # fmt: skip

    means, squares, before, norms = zeros_like(weights), zeros_like(weights), kernel.zero_state(), []
    held_back = 0
    for k, length in enumerate([5, 5, 3, 5]):
        if k in (0, 3):
            before = kernel.zero_state()
        _, gradient, before = gradients(
            kernel.to_device(weights), before, tf.constant(ids[k]), tf.constant(length), tf.constant(k)
        )
        gradient = kernel.to_weights(gradient)
        norms.append(np.sqrt(sum((g**2).sum() for g in gradient.values())))
        for name, value in weights.items():
            g = gradient[name] * min(1, options.grad_clip / norms[-1])
            means[name] = ADAM_BETA1 * means[name] + (1 - ADAM_BETA1) * g
            squares[name] = ADAM_BETA2 * squares[name] + (1 - ADAM_BETA2) * g**2
            mean, square = means[name] / (1 - ADAM_BETA1 ** (k + 1)), squares[name] / (1 - ADAM_BETA2 ** (k + 1))
            decay = 0 if name.endswith("bias") else options.weight_decay * value
            agree = mean * g > 0
            held_back += int(((mean * g) < 0).sum())
            move = mean / (np.sqrt(square) + ADAM_EPSILON) * agree * (g != 0).sum() / agree.sum()
            weights[name] = value - rates[k] * (move + decay)

    assert min(norms) < options.grad_clip < max(norms)  # both cases were seen
    assert held_back > 0
    for name, value in kernel.to_weights(ours).items():
        np.testing.assert_allclose(value, weights[name], atol=1e-9, err_msg=name)
    for found, expected in zip(moments, (means, squares), strict=True):
        for name, value in kernel.to_weights(found).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-11, err_msg=name)
    for name, tensor in state.items():
        np.testing.assert_allclose(tensor, before[name], atol=1e-9)


# --- shards --------------------------------------------------------------------------------------------------------


def sharded_run(shards: int, dropout: float = 0.0) -> tuple[dict[str, Any], Any]:
    """Everything after three steps of four streams in so many shards; and the losses. float64."""
    options = KernelOptions(
        "lstm", Sizes(7, 3, 5, 2), 4, 6, dropout=dropout, grad_clip=0.3, precision="float64", shards=shards
    )
    kernel, weights = Kernel(options), weights_of(options)
    moments = kernel.to_device(zeros_like(weights)), kernel.to_device(zeros_like(weights))
    parameters, moments, state, losses = kernel.run(
        kernel.to_device(weights), moments, kernel.zero_state(), 0, random_ids(options, 5, 7, 4), [6, 6, 3, 6, 6],
        [True, False, False, True, True], np.full(5, 0.1), 0, 3,
    )  # fmt: skip
    groups = {"weights": parameters, "means": moments[0], "squares": moments[1], "state": state}
    arrays = {f"{group} {name}": array.numpy() for group, found in groups.items() for name, array in found.items()}
    return arrays, losses.numpy()


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_of_a_batch_learn_the_same_as_the_batch_in_one(shards: int) -> None:
    (found, losses), (expected, expected_losses) = sharded_run(shards), sharded_run(1)
    np.testing.assert_allclose(losses, expected_losses, atol=1e-12)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-9, err_msg=name)


def test_shards_give_the_same_bits_every_time() -> None:
    (first, losses), (second, same_losses) = sharded_run(2, dropout=0.3), sharded_run(2, dropout=0.3)
    assert np.array_equal(losses, same_losses)
    assert same_bits(first, second)


# --- calls ---------------------------------------------------------------------------------------------------------


class Run:
    """A training on a few characters, cut into calls of the kernel."""

    options = KernelOptions("lstm", Sizes(9, 0, 6, 2), 4, 5, dropout=0.2, seed=3)
    most = 6

    def __init__(self) -> None:
        self.kernel = shared_kernel()
        weights = initial_weights("lstm", 9, 0, 6, 2, 0)
        self.parameters = self.kernel.to_device(weights)
        self.moments = (self.kernel.to_device(zeros_like(weights)), self.kernel.to_device(zeros_like(weights)))
        self.state, self.step, self.losses = self.kernel.zero_state(), 0, []
        self.ids = random_ids(self.options, 6, 6, 4)

    def call(self, count: int) -> Run:
        now = slice(self.step, self.step + count)
        ids, lengths, fresh, rates = (
            np.zeros((self.most, 6, 4)), np.ones(self.most), np.zeros(self.most), np.full(self.most, 9.0)
        )  # fmt: skip
        ids[:count] = self.ids[now]
        lengths[:count], fresh[:count] = [5, 5, 2, 5, 5, 4][now], [1, 0, 0, 1, 0, 0][now]
        rates[:count] = np.linspace(0.1, 0.01, 6)[now]
        self.parameters, self.moments, self.state, losses = self.kernel.run(
            self.parameters, self.moments, self.state, self.step, ids.astype(np.int32), lengths.astype(np.int32),
            fresh.astype(bool), rates, self.step, count,
        )  # fmt: skip
        self.losses += losses.numpy()[:count].tolist()
        self.step += count
        return self

    def everything(self) -> dict[str, Any]:
        groups = (self.parameters, *self.moments, self.state, {"losses": self.losses})
        return {f"{k} {name}": np.array(value) for k, group in enumerate(groups) for name, value in group.items()}


@cache
def shared_kernel() -> Kernel:
    return Kernel(Run.options)


def same_bits(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_how_steps_are_grouped_into_calls_changes_no_bit() -> None:
    together = Run().call(6).everything()
    assert same_bits(together, Run().call(2).call(1).call(3).everything())
    alone = Run()
    for _ in range(6):
        alone.call(1)
    assert same_bits(together, alone.everything())


def test_the_order_in_which_weights_come_from_a_file_changes_no_bit() -> None:
    """It differs from process to process, and where the gradient is clipped a sum over all of it decides."""
    options = KernelOptions("lstm", Sizes(9, 0, 6, 2), 4, 5, grad_clip=0.01, seed=3)
    weights, ids, results = weights_of(options), random_ids(options, 30, 6, 4), set()
    for seed in range(4):
        names = [str(name) for name in np.random.default_rng(seed).permutation(list(weights))]
        kernel, shuffled = Kernel(options), {name: weights[name] for name in names}
        zeros = [kernel.to_device(zeros_like(shuffled)) for _ in range(2)]
        parameters, *_ = kernel.run(
            kernel.to_device(shuffled), (zeros[0], zeros[1]), kernel.zero_state(), 0, ids, np.full(30, 5), np.zeros(30),
            np.full(30, 0.1), 0, 30,
        )  # fmt: skip
        results.add(tuple(parameters[name].numpy().tobytes() for name in sorted(weights)))
    assert len(results) == 1


def test_a_call_of_no_steps_changes_nothing() -> None:
    run = Run().call(3)
    before = run.everything()
    assert same_bits(before, run.call(0).everything())


def test_a_fresh_step_forgets_what_was_read_and_others_remember() -> None:
    run = Run().call(3)
    remembered = {name: tensor.numpy() for name, tensor in run.state.items()}
    assert any(np.abs(array).max() > 0 for array in remembered.values())
    forgetful = Run().call(3)
    forgetful.state = forgetful.kernel.zero_state()
    assert same_bits(run.call(1).everything(), forgetful.call(1).everything())  # step 3 is fresh
    forgetful.state = forgetful.kernel.zero_state()
    assert not same_bits(run.call(1).everything(), forgetful.call(1).everything())  # step 4 is not


def test_dropout_differs_from_step_to_step_from_shard_to_shard_and_with_the_seed() -> None:
    def mask(seed: int, step: int, shard: int = 0) -> Any:
        kernel = Kernel(KernelOptions("rnn", Sizes(5, 0, 64, 2), 16, 4, dropout=0.25, seed=seed))
        compiled = tf.function(
            lambda step: kernel._dropout_masks(16, step, tf.constant(shard)), jit_compile=True, autograph=False
        )
        return np.stack([layer.numpy() for layer in compiled(tf.constant(step))])

    first = mask(0, 0)
    assert np.array_equal(first, mask(0, 0))
    for other in (mask(1, 0), mask(0, 1), mask(0, 0, 1), first[::-1]):
        assert 0.3 < (first != other).mean() < 0.45  # 2 * 0.25 * 0.75 of independent ones
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert first.mean() == pytest.approx(1, abs=0.03)


# --- layouts -------------------------------------------------------------------------------------------------------


@given(
    cell=st.sampled_from(CELLS), vocab=st.integers(2, 9), embedding=st.integers(0, 5), units=st.integers(1, 6),
    layers=st.integers(1, 3),
)  # fmt: skip
def test_weights_come_back_from_the_device_as_they_were(
    cell: str, vocab: int, embedding: int, units: int, layers: int
) -> None:
    options = KernelOptions(cell, Sizes(vocab, embedding, units, layers), 2, 3)
    kernel = Kernel(options)
    weights = {name: array.astype(np.float32) for name, array in weights_of(options).items()}
    back = kernel.to_weights(kernel.to_device(weights))
    assert back.keys() == weights.keys()
    for name, array in weights.items():
        assert back[name].dtype == np.float32
        assert np.array_equal(back[name], array)


# --- the same network in TensorFlow and in NumPy -------------------------------------------------------------------


def trained(kernel: Kernel, weights: dict[str, Any], ids: Any, steps: int) -> tuple[dict[str, Any], list[float]]:
    """Weights after so many steps over `ids`, one stream beside the other, and the losses."""
    batch, length, most = kernel.options.batch_size, kernel.options.seq_length, 50
    stretch = (len(ids) - 1) // batch
    pieces = np.stack([
        [ids[stream * stretch + start :][: length + 1] for stream in range(batch)]
        for start in range(0, stretch - length, length)
    ]).transpose(0, 2, 1)  # fmt: skip
    parameters = kernel.to_device(weights)
    moments = kernel.to_device(zeros_like(weights)), kernel.to_device(zeros_like(weights))
    state, losses = kernel.zero_state(), []
    for step in range(0, steps, most):
        numbers = np.arange(step, step + most) % len(pieces)
        parameters, moments, state, some = kernel.run(
            parameters, moments, state, step, pieces[numbers], np.full(most, length), numbers == 0,
            np.full(most, 0.01), step, most,
        )  # fmt: skip
        losses += some.numpy().tolist()
    return kernel.to_weights(parameters), losses


@pytest.mark.parametrize(("cell", "embedding_size"), list(product(CELLS, (0, 12))))
def test_numpy_and_tensorflow_agree_on_a_thousand_characters_before_and_after_training(
    cell: str, embedding_size: int
) -> None:
    alphabet = sorted(set(POEM))
    ids = np.array([alphabet.index(character) + 1 for character in POEM], np.int32)
    options = KernelOptions(cell, Sizes(len(alphabet) + 1, embedding_size, 24, 2 if embedding_size else 1), 8, 20)
    kernel = Kernel(options)
    sizes = options.sizes
    weights = initial_weights(cell, sizes.vocab_size, embedding_size, sizes.rnn_size, sizes.num_layers, 0)
    learned, losses = trained(kernel, weights, ids, 300)
    assert np.mean(losses[-20:]) < 0.6 < 2 < losses[0]
    for now in (weights, learned):
        ours, state = kernel.logits(kernel.to_device(now), kernel.zero_state(1), ids[:1000, None])
        plain = forward(now, cell, ids[None, :1000])
        np.testing.assert_allclose(ours.numpy()[:, 0], plain.logits[0], atol=1e-4, rtol=0)
        for layer, arrays in enumerate(plain.state):
            for name, array in zip("hc", arrays, strict=False):
                np.testing.assert_allclose(state[f"{name}{layer}"].numpy().T, array, atol=1e-4)


def test_losses_are_the_surprise_of_each_next_character() -> None:
    options = KernelOptions("gru", Sizes(9, 0, 8, 1), 4, 5)
    kernel, ids = Kernel(options), random_ids(options, 31, 3)
    weights = {name: array.astype(np.float32) for name, array in weights_of(options).items()}
    found, _ = kernel.losses(kernel.to_device(weights), kernel.zero_state(3), ids)
    expected = nats(forward(weights, "gru", ids[:-1].T).logits, ids[1:].T).T
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bfloat16_kernel_learns_as_well_as_a_float32_one() -> None:
    alphabet = sorted(set(POEM))
    ids = np.array([alphabet.index(character) + 1 for character in POEM], np.int32)
    ends = []
    for precision in ("float32", "bfloat16"):
        kernel = Kernel(KernelOptions("gru", Sizes(len(alphabet) + 1, 0, 32, 1), 8, 20, precision=precision))
        weights = initial_weights("gru", len(alphabet) + 1, 0, 32, 1, 0)
        ends.append(np.mean(trained(kernel, weights, ids, 300)[1][-20:]))
    assert ends[1] == pytest.approx(ends[0], abs=0.05)
