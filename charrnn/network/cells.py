"""The recurrent network itself, in NumPy: the shapes of its weights, how they begin, and one forward pass.

It knows the arithmetic of LSTM, GRU and plain RNN layers and can report every gate, state and probability. It does
not know characters, files or sampling, and it is written to be read: `generator` is the fast form of the same thing.

Weights are a flat dict of arrays; V is the number of ids, E the embedding size, H the units of a layer, G its gates:

    embedding               [V, E]      absent for one-hot input
    layers.{i}.input        [D, G*H]    D = E for the first layer (V if one-hot), else H
    layers.{i}.recurrent    [H, G*H]
    layers.{i}.bias         [G*H]
    layers.{i}.recurrent_bias [G*H]     GRU only
    output.weights          [H, V]
    output.bias             [V]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Weights = Mapping[str, Array]
State = list[tuple[Array, ...]]  # one tuple a layer: LSTM (hidden, cell), others (hidden,); each [batch, H]

#: the gates of each cell, in the order in which their columns lie in the weights
GATES: dict[str, tuple[str, ...]] = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "rnn": ("candidate",),
}


@dataclass(frozen=True)
class Sizes:
    """The sizes that fix the shape of every array."""

    vocab_size: int  # ids, the unknown included
    embedding_size: int  # 0 = one-hot
    rnn_size: int
    num_layers: int


@dataclass(frozen=True)
class Report:
    """What happened inside along the ids. Every array is [batch, time, …].

    `layers[i]` holds, for layer i, each gate by its name (after its sigmoid or tanh), `hidden`, and for LSTM `cell`.
    """

    layers: list[dict[str, Array]]
    probabilities: Array  # [batch, time, V]: of the character that follows each id


@dataclass(frozen=True)
class Output:
    """What `forward` returns."""

    logits: Array  # [batch, time, V]
    state: State  # after the last id
    report: Report | None = None


def weight_shapes(cell: str, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The name and shape of every array of such a network."""
    vocab, embedding, units = sizes.vocab_size, sizes.embedding_size, sizes.rnn_size
    columns = len(GATES[cell]) * units
    shapes: dict[str, tuple[int, ...]] = {}
    if embedding:
        shapes["embedding"] = (vocab, embedding)
    for layer in range(sizes.num_layers):
        depth = units if layer else embedding or vocab
        shapes[f"layers.{layer}.input"] = (depth, columns)
        shapes[f"layers.{layer}.recurrent"] = (units, columns)
        shapes[f"layers.{layer}.bias"] = (columns,)
        if cell == "gru":
            shapes[f"layers.{layer}.recurrent_bias"] = (columns,)
    shapes["output.weights"] = (units, vocab)
    shapes["output.bias"] = (vocab,)
    return shapes


def initial_weights(
    cell: str, vocab_size: int, embedding_size: int, rnn_size: int, num_layers: int, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Weights to begin training with, float32, the same on every machine for the same arguments.

    Matrices are uniform in ±1/sqrt(H), except what looks an id up: the embedding has unit variance, and one-hot input
    weights are uniform in ±0.5, about the scale that the product of embedding and input weights has. Biases are zero,
    but an LSTM's forget gates begin at -1, mostly closed: characters are learned from their neighbours first, and in
    a few minutes that is worth more than the open gates of Jozefowicz, Zaremba and Sutskever (2015).
    """
    sizes = Sizes(vocab_size, embedding_size, rnn_size, num_layers)
    weights = {}
    for position, (name, shape) in enumerate(weight_shapes(cell, sizes).items()):
        if name.endswith("bias"):
            weights[name] = np.zeros(shape, np.float32)
            continue
        bound = rnn_size**-0.5
        if name == "embedding":
            bound = 3**0.5
        elif name == "layers.0.input" and not embedding_size:
            bound = 0.5
        weights[name] = _uniform(shape, bound, seed, position)
    if cell == "lstm":
        for layer in range(num_layers):
            weights[f"layers.{layer}.bias"][rnn_size : 2 * rnn_size] = -1
    return weights


def _uniform(shape: tuple[int, ...], bound: float, seed: int, stream: int) -> NDArray[np.float32]:
    """Uniform in [-bound, bound), from raw bits: NumPy promises those, not its distributions."""
    from numpy.random import Philox

    count = int(np.prod(shape))
    bits = Philox(key=np.array([seed, stream], np.uint64)).random_raw((count + 1) // 2)
    words = bits.astype("<u8").view("<u4")[:count] >> 8  # 24 bits: exact in float32
    return ((words.astype(np.float32) * np.float32(2**-23) - 1) * np.float32(bound)).reshape(shape)


def zero_state(cell: str, sizes: Sizes, batch: int, dtype: Any = np.float32) -> State:
    """The state before anything was read."""
    arrays = 2 if cell == "lstm" else 1
    return [tuple(np.zeros((batch, sizes.rnn_size), dtype) for _ in range(arrays)) for _ in range(sizes.num_layers)]


def sizes_of(weights: Weights) -> Sizes:
    """The sizes that these weights have."""
    layers = sum(name.endswith(".recurrent") for name in weights)
    embedding = weights["embedding"].shape[1] if "embedding" in weights else 0
    units, vocab = weights["output.weights"].shape
    return Sizes(vocab, embedding, units, layers)


def forward(weights: Weights, cell: str, ids: Array, state: State | None = None, report: bool = False) -> Output:
    """Read `ids` (int [batch, time]) from `state` (None: zero) and return logits, the state after, and a report.

    Computes in the dtype of the weights. Raises ValueError for an id outside of the vocabulary.

    LSTM: c' = f*c + i*g, h' = o*tanh(c'). GRU with reset after the product: n = tanh(x + r*(hU + b)),
    h' = (1-z)*n + z*h. RNN: h' = tanh(x + hU).
    """
    sizes = sizes_of(weights)
    ids = np.asarray(ids)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < sizes.vocab_size:
        raise ValueError(f"ids must lie in 0 to {sizes.vocab_size - 1}; these reach {ids.min()} to {ids.max()}")
    batch, time = ids.shape
    state = zero_state(cell, sizes, batch, weights["output.bias"].dtype) if state is None else state
    after: State = []
    layers: list[dict[str, Array]] = []
    below = weights["embedding"][ids] if sizes.embedding_size else None  # [batch, time, D]; None: one-hot
    for layer in range(sizes.num_layers):
        kernel = weights[f"layers.{layer}.input"]
        inputs = (kernel[ids] if below is None else below @ kernel) + weights[f"layers.{layer}.bias"]
        recurrent = weights[f"layers.{layer}.recurrent"]
        recurrent_bias = weights.get(f"layers.{layer}.recurrent_bias")
        now = state[layer]
        below = np.empty((batch, time, sizes.rnn_size), inputs.dtype)
        inside: dict[str, Array] = {}
        for t in range(time):
            products = now[0] @ recurrent
            if recurrent_bias is not None:
                products += recurrent_bias
            gates, now = _cell_step(cell, inputs[:, t], products, now)
            below[:, t] = now[0]
            if report:
                for name, values in [*gates.items(), *zip(("hidden", "cell"), now, strict=False)]:
                    inside.setdefault(name, np.empty_like(below))[:, t] = values
        after.append(now)
        layers.append(inside)
    assert below is not None  # there is at least one layer
    logits = below @ weights["output.weights"] + weights["output.bias"]
    return Output(logits, after, Report(layers, softmax(logits)) if report else None)


def _cell_step(
    cell: str, inputs: Array, products: Array, state: tuple[Array, ...]
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """One step of one layer: its gates by name and its new state, from what comes in [batch, G*H] and the old state."""
    if cell == "lstm":
        input_, forget, candidate, output = np.split(inputs + products, 4, axis=1)
        input_, forget, output = sigmoid(input_), sigmoid(forget), sigmoid(output)
        candidate = np.tanh(candidate)
        memory = forget * state[1] + input_ * candidate
        gates = {"input": input_, "forget": forget, "candidate": candidate, "output": output}
        return gates, (output * np.tanh(memory), memory)
    if cell == "gru":
        units = state[0].shape[1]
        reset, update = np.split(sigmoid(inputs[:, : 2 * units] + products[:, : 2 * units]), 2, axis=1)
        candidate = np.tanh(inputs[:, 2 * units :] + reset * products[:, 2 * units :])
        gates = {"reset": reset, "update": update, "candidate": candidate}
        return gates, ((1 - update) * candidate + update * state[0],)
    candidate = np.tanh(inputs + products)
    return {"candidate": candidate}, (candidate,)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), by tanh, which never overflows."""
    half = x.dtype.type(0.5)
    result: Array = half * np.tanh(half * x) + half
    return result


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis."""
    result = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result /= result.sum(axis=-1, keepdims=True)
    return np.asarray(result)


def nats(logits: Array, targets: Array) -> NDArray[np.float64]:
    """The surprise -log p(target), nats, float64, in the shape of `targets`; logits are [..., V]."""
    top = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=-1, dtype=np.float64)) + top[..., 0]
    chosen = np.take_along_axis(logits, np.asarray(targets, np.int64)[..., None], axis=-1)[..., 0]
    return np.asarray(total - chosen, np.float64)
