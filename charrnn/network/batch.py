"""The network laid out for writing: many streams side by side, one character at a time, as fast as NumPy can.

It knows how the weights are best folded for that, and moves states on. It does not know texts, prompts or when a
stream ends. `cells.forward` is the same network written to be read.

What makes it fast (for small networks the cost is the number of NumPy calls, for large ones reading the weights):

- the first layer's input product is a table with one row an id, its bias included;
- a layer's hidden state is multiplied once by everything that reads it: the layer's own recurrent weights, needed at
  the next step, and the next layer's input weights (or the output weights) beside them;
- a single stream's hidden state has a constant 1 at its end, which brings the biases at no cost; many streams are
  multiplied in pieces small enough for those kernels of OpenBLAS that rearrange nothing first, and a sum is cheaper
  there than one row more;
- sigmoid(x) = (tanh(x/2) + 1) / 2, so with those columns halved once, one tanh serves all gates of an LSTM; the
  factors of one half that remain are folded into the weights, which changes no bit, they are powers of two;
- every operation writes into a buffer that exists; noise is drawn for many characters at once.

Streams never mix: every operation but the block product of unseeded ones gives a stream the bits it has alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.network.cells import GATES, Weights, sizes_of
from charrnn.network.sampling import NEVER, SamplingOptions, restrict

Floats = NDArray[np.float32]
_Product = tuple[Callable[[], object], Floats, Floats]  # multiplies; for the layer's own gates; above: next's or logits
StreamState = list[Floats]  # of each layer the hidden state [H]; then, of an LSTM, the cell states

TABLE_LIMIT = 64 * 2**20  # bytes; a larger table of first-layer inputs is filled row by row, as characters occur
SMALL_PRODUCT = 10**6  # multiplications, up to which OpenBLAS has kernels that rearrange nothing first
LEAST_WIDTH = 64  # columns, below which more calls cost more than that saves


class FoldedWeights:
    """The weights of a model laid out for writing. Immutable but for rows of the table that fill at first use."""

    def __init__(self, weights: Weights, cell: str) -> None:
        self.cell = cell
        self.sizes = sizes_of(weights)
        self.gates = len(GATES[cell])
        self.products = [self._product(weights, layer) for layer in range(self.sizes.num_layers)]
        self._embedding = weights.get("embedding")
        self._input = self._fold(weights["layers.0.input"])
        self._bias = self._input_bias(weights, 0)
        self.table = np.empty((self.sizes.vocab_size, self.gates, self.sizes.rnn_size), np.float32)
        self.rows: list[Floats | None] = [None] * self.sizes.vocab_size  # views of the table, where it is filled
        self.complete = self._embedding is None or self.table.nbytes <= TABLE_LIMIT
        if self.complete:
            product = self._input if self._embedding is None else self._embedding @ self._input
            np.add(product, self._bias, out=self.table.reshape(product.shape))
            self.rows = list(self.table)

    def row(self, id_: int) -> Floats:
        """The first layer's input for one id: float32 [G, H]."""
        row = self.rows[id_]
        if row is None:
            assert self._embedding is not None
            row = self.table[id_]
            np.add(self._embedding[id_] @ self._input, self._bias, out=row.reshape(-1))
            self.rows[id_] = row
        return row

    def _fold(self, matrix: Floats, recurrent: bool = False) -> Floats:
        """Columns [..., G*H] in the order of the fast step, sigmoid gates (and GRU's recurrent candidate) halved."""
        gates = dict(zip(GATES[self.cell], np.split(matrix, len(GATES[self.cell]), axis=-1), strict=True))
        half = np.float32(0.5)
        if self.cell == "lstm":
            parts = [gates["input"] * half, gates["forget"] * half, gates["output"] * half, gates["candidate"]]
        elif self.cell == "gru":
            candidate = gates["candidate"] * half if recurrent else gates["candidate"]
            parts = [gates["reset"] * half, gates["update"] * half, candidate]
        else:
            parts = [gates["candidate"]]
        return np.concatenate(parts, axis=-1)

    def _input_bias(self, weights: Weights, layer: int) -> Floats:
        """The bias that joins a layer's input: all of it, but for the one inside of GRU's reset product."""
        bias = weights[f"layers.{layer}.bias"]
        if self.cell == "gru":
            bias = bias.copy()
            bias[: 2 * self.sizes.rnn_size] += weights[f"layers.{layer}.recurrent_bias"][: 2 * self.sizes.rnn_size]
        return self._fold(bias)

    def _recurrent_bias(self, weights: Weights, layer: int) -> Floats:
        bias = np.zeros(self.gates * self.sizes.rnn_size, np.float32)
        if self.cell == "gru":
            units = self.sizes.rnn_size
            bias[2 * units :] = weights[f"layers.{layer}.recurrent_bias"][2 * units :]
        return self._fold(bias, recurrent=True)

    def _product(self, weights: Weights, layer: int) -> Floats:
        """[H + 1, G*H + next, rounded up]: what layer `layer`'s hidden state and a 1 are multiplied by."""
        units, columns, last = self.sizes.rnn_size, self.gates * self.sizes.rnn_size, self.sizes.num_layers - 1
        if layer == last:
            above, above_bias = weights["output.weights"], weights["output.bias"].copy()
            above_bias[0] += NEVER
        else:
            above = self._fold(weights[f"layers.{layer + 1}.input"])
            above_bias = self._input_bias(weights, layer + 1)
        end = columns + above.shape[1]
        width = -(-end // 16) * 16
        if width % 256 == 0:
            width += 16  # rows whole KiB apart share cache sets, which costs a third
        result = _aligned(units + 1, width)
        result[:units, :columns] = self._fold(weights[f"layers.{layer}.recurrent"], recurrent=True)
        result[:units, columns:end] = above
        if self.cell == "lstm":
            result[:units] *= np.float32(0.5)  # hidden states are kept doubled
        result[units, :columns] = self._recurrent_bias(weights, layer)
        result[units, columns:end] = above_bias
        return result

    def parts(self, product: Floats, layer: int) -> list[Floats]:
        """Views of [rows, as wide as `products`]: the layer's own gates, [rows, G, H]; and the next's, or [rows, V]."""
        columns = self.gates * self.sizes.rnn_size
        if layer == self.sizes.num_layers - 1:
            above = product[:, columns : columns + self.sizes.vocab_size]
        else:
            above = product[:, columns : 2 * columns].reshape(len(product), self.gates, -1)
        return [product[:, :columns].reshape(len(product), self.gates, -1), above]


def _aligned(rows: int, *shape: int) -> Floats:
    """Zeros [rows, *shape]; each of the rows begins at 64 bytes."""
    size = math.prod(shape)
    padded = -(-size // 16) * 16
    memory = np.zeros(rows * padded * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    aligned = memory[start : start + rows * padded * 4].view(np.float32).reshape(rows, padded)
    return aligned[:, :size].reshape(rows, *shape)


class Batch:
    """The states of some streams, side by side, and the step that moves all of them on by one character.

    What has a number for every unit is [H] of a single stream and [pieces, streams, width] of many: one piece, or
    several where products of whole gates would be large. The axis of gates comes before, so that a gate of all streams
    is one stretch of memory. `row_by_row`: multiply each stream's state by itself, which gives it the bits that it has
    alone; otherwise one product serves all streams, which is faster.
    """

    def __init__(self, folded: FoldedWeights, row_by_row: bool) -> None:
        self._folded = folded
        self._row_by_row = row_by_row
        self._width = folded.sizes.rnn_size
        self.count = 0
        self._states: list[StreamState] | None = []  # while the arrays wait to be built for another number of streams
        self._arrays: list[Floats] = []  # what a StreamState holds, of all streams
        self._logits: Floats  # [streams, V]
        self._first: Callable[[Floats], object]
        self._above: list[Callable[[], object]]

    def add(self, state: StreamState | None = None) -> None:
        """Append a stream: in this state, or in the zero state."""
        folded = self._folded
        parts = len(folded.products) * (2 if folded.cell == "lstm" else 1)
        self._unbind().append(state or [np.zeros(folded.sizes.rnn_size, np.float32)] * parts)
        self.count += 1

    def remove(self, index: int) -> None:
        """Take a stream out; those after it move up."""
        del self._unbind()[index]
        self.count -= 1

    def state(self, index: int) -> StreamState:
        """A copy of a stream's state, for `add`."""
        if self._states is not None:
            return [values.copy() for values in self._states[index]]
        return [(array if self.count == 1 else array[:, index]).flatten() for array in self._arrays]

    def logits(self, index: int) -> Floats:
        """A copy, float32 [V]: of a stream's next character. The unknown's is about -1e30."""
        self._bind()
        row: Floats = self._logits[index]
        return row.copy()

    def _unbind(self) -> list[StreamState]:
        if self._states is None:
            self._states = [self.state(index) for index in range(self.count)]
        return self._states

    def _bind(self) -> None:
        """Build the arrays and the steps of all layers for the number of streams there are."""
        if self._states is None:
            return
        states, self._states = self._states, None
        folded, units = self._folded, self._folded.sizes.rnn_size
        together = self.count > 1 and not self._row_by_row
        self._width = _width(units, self.count) if together else units
        shape = (units,) if self.count == 1 else (units // self._width, self.count, self._width)
        build = {"lstm": _lstm_step, "gru": _gru_step, "rnn": _rnn_step}[folded.cell]
        hidden, cells, multiplies, steps = [], [], [], []
        inputs = []  # of the layer above each; above the last one the logits
        for layer in range(len(folded.products)):
            rows = _aligned(self.count, units + (not together))
            multiply, recurrent, above = (self._block if together else self._rows)(rows, layer)
            hidden.append(self._shaped(rows[:, :units]))
            gates = _aligned(1, folded.gates + 1, *shape)[0]  # the last is the cell state of an LSTM
            cells.append(gates[-1])
            multiplies.append(multiply)
            steps.append(build(hidden[-1], gates, recurrent, multiply))
            inputs.append(above)
        self._arrays = hidden + cells if folded.cell == "lstm" else hidden
        for array, values in zip(self._arrays, zip(*states, strict=True), strict=True):
            array[...] = self._shaped(np.stack(values))
        for multiply in multiplies:
            multiply()
        self._first, self._logits = steps[0], inputs[-1]
        self._above = [partial(step, below) for step, below in zip(steps[1:], inputs, strict=False)]

    def _shaped(self, rows: Floats) -> Floats:
        """A view of [streams, ..., H] as what has a number for every unit is shaped."""
        return rows[0] if self.count == 1 else self._cut(rows)

    def _cut(self, rows: Floats) -> Floats:
        """A view of [rows, ..., H] as [..., pieces, rows, width]."""
        return np.moveaxis(rows.reshape(*rows.shape[:-1], -1, self._width), 0, -2)

    def _rows(self, hidden: Floats, layer: int) -> _Product:
        """Each row by itself, with the 1 behind it."""
        hidden[:, -1] = 1
        weights = self._folded.products[layer]
        products = _aligned(self.count, weights.shape[1])
        calls = [partial(row.dot, weights, product) for row, product in zip(hidden, products, strict=True)]
        recurrent, above = self._folded.parts(products, layer)
        return _in_turn(calls), self._shaped(recurrent), self._shaped(above) if above.ndim > 2 else above

    def _block(self, hidden: Floats, layer: int) -> _Product:
        """All rows at once, in pieces; then the biases."""
        products, calls = [], []
        for part in self._folded.parts(self._folded.products[layer], layer):
            factor = self._cut(part) if part.ndim > 2 else part
            bias = factor[..., -1:, :]
            product = _aligned(1, *factor.shape[:-2], self.count, factor.shape[-1])[0]
            products.append(product)
            calls.append(partial(np.matmul, hidden, factor[..., :-1, :], product))
            if bias.any():
                calls.append(partial(np.add, product, np.array(np.broadcast_to(bias, product.shape)), product))
        return _in_turn(calls), products[0], products[1]

    def read(self, ids: NDArray[Any]) -> None:
        """Move the only stream on along `ids`."""
        self._bind()
        first, above, row = self._first, self._above, self._folded.row
        for id_ in ids.tolist():
            first(row(id_))
            for step in above:
                step()

    def write(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        """Choose a character for each stream and read it, as often as there is noise [characters, count, V].

        `restricted`: the streams with a top_k or top_p. Returns ids [characters, count].
        """
        self._bind()
        return self._write_one(noise[:, 0], restricted) if self.count == 1 else self._write_many(noise, restricted)

    def _write_one(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        first, above, rows, fill = self._first, self._above, self._folded.rows, self._folded.row
        logits = self._logits[0]
        scores = np.empty_like(logits)
        subtract, argmax = np.subtract, scores.argmax
        chosen = []
        for noise_row in noise:
            if restricted:
                subtract(_restrict(logits, restricted[0][1]), noise_row, scores)
            else:
                subtract(logits, noise_row, scores)
            id_ = argmax()
            chosen.append(id_)
            row = rows[id_]
            first(fill(int(id_)) if row is None else row)
            for step in above:
                step()
        return np.array(chosen, np.int64)[:, None]

    def _write_many(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        first, above, table = self._first, self._above, self._folded.table
        logits, complete = self._logits, self._folded.complete
        scores = np.empty(logits.shape, np.float32)
        inputs = np.empty((self.count, *table.shape[1:]), np.float32)
        shaped = self._shaped(inputs)
        ids = np.empty((len(noise), self.count), np.int64)
        for noise_now, chosen in zip(noise, ids, strict=True):
            np.subtract(logits, noise_now, scores)
            for index, options in restricted:
                np.subtract(_restrict(logits[index], options), noise_now[index], scores[index])
            scores.argmax(1, chosen)
            if not complete:
                for id_ in chosen.tolist():
                    self._folded.row(id_)
            table.take(chosen, 0, inputs, "clip")
            first(shaped)
            for step in above:
                step()
        return ids


def _width(units: int, streams: int) -> int:
    """Of the pieces: an even part of a gate, the widest that keeps products small."""
    for pieces in range(1, units // LEAST_WIDTH + 1):
        if units % pieces == 0 and streams * units * units // pieces <= SMALL_PRODUCT:
            return units // pieces
    return units


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    """All of them as one function."""
    if len(calls) == 1:
        return calls[0]

    def call() -> None:
        for each in calls:
            each()

    return call


def _restrict(logits: Floats, options: SamplingOptions) -> Floats:
    return restrict(logits, options.temperature, options.top_k, options.top_p)


# The steps of one layer. Each gets its buffers, gates first in each but the hidden state, and returns a function of
# the layer's input. Names of the pieces follow `cells`.


def _constant(value: float, like: Floats) -> Floats:
    """For arithmetic with `like`: an array, with which NumPy is faster; with one as large for a single stream."""
    return np.full(like.shape if like.ndim < 3 else (), value, np.float32)


def _lstm_step(
    hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """c' = f*c + i*g and h' = o*tanh(c'), with the gates as (input, forget, output, candidate) and the cell beside."""
    all_gates, sigmoids, output, cell = gates[:4], gates[:3], gates[2], gates[4]
    left, right = gates[:2], gates[3:]  # (i, f) and (g, c)
    both = np.empty_like(left)
    written, kept = both
    squashed = np.empty_like(cell)
    one, half = _constant(1, sigmoids), _constant(0.5, cell)
    add, tanh, times = np.add, np.tanh, np.multiply

    def add_and_halve() -> object:
        return times(add(written, kept, cell), half, cell)

    mean: Callable[[], object] = add_and_halve
    if cell.ndim == 1:  # both in one call; halving is exact, so the bits are the same
        mean = partial(np.full(2, 0.5, np.float32).dot, both, cell)

    def step(inputs: Floats) -> None:
        add(inputs, recurrent, all_gates)
        tanh(all_gates, all_gates)
        add(sigmoids, one, sigmoids)  # now twice the sigmoid
        times(left, right, both)
        mean()
        tanh(cell, squashed)
        times(output, squashed, hidden)  # doubled
        multiply()

    return step


def _gru_step(
    hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """n = tanh(x + r*u), u the recurrent product with its bias (both halved), and h' = n + z*(h - n)."""
    sigmoids, reset, update, candidate = gates[:2], gates[0], gates[1], gates[2]
    recurrent_sigmoids, recurrent_candidate = recurrent[:2], recurrent[2]
    difference = np.empty_like(candidate)
    one, half = _constant(1, sigmoids), _constant(0.5, candidate)
    add, subtract, tanh, times = np.add, np.subtract, np.tanh, np.multiply

    def step(inputs: Floats) -> None:
        add(inputs[:2], recurrent_sigmoids, sigmoids)
        tanh(sigmoids, sigmoids)
        add(sigmoids, one, sigmoids)  # now twice the sigmoid
        times(reset, recurrent_candidate, candidate)
        add(candidate, inputs[2], candidate)
        tanh(candidate, candidate)
        subtract(hidden, candidate, difference)
        times(difference, update, difference)
        times(difference, half, difference)
        add(candidate, difference, hidden)
        multiply()

    return step


def _rnn_step(
    hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """h' = tanh(x + hU)."""
    sums = gates[:1]
    add, tanh = np.add, np.tanh

    def step(inputs: Floats) -> None:
        add(inputs, recurrent, sums)
        tanh(sums[0], hidden)
        multiply()

    return step
