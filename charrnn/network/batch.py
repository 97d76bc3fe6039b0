"""The network laid out for writing: many streams side by side, one character at a time, as fast as NumPy can.

It knows how the weights are best folded for that, and moves states on. It does not know texts, prompts or when a
stream ends. `cells.forward` is the same network written to be read.

What makes it fast (for small networks the cost is the number of NumPy calls, for large ones reading the weights):

- the first layer's input product is a table with one row an id, its bias included;
- a layer's hidden state is multiplied once by everything that reads it: the layer's own recurrent weights, needed at
  the next step, and the next layer's input weights (or the output weights) beside them; a constant 1 at its end
  brings the biases;
- sigmoid(x) = (tanh(x/2) + 1) / 2, so with those columns halved once, one tanh serves all gates of an LSTM; the
  factors of one half that remain are folded into the weights, which changes no bit, they are powers of two;
- every operation writes into a buffer that exists; noise is drawn for many characters at once.

Streams never mix: every operation but the block product of unseeded ones gives a stream the bits it has alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.network.cells import GATES, Weights, sizes_of
from charrnn.network.sampling import NEVER, SamplingOptions, restrict

Floats = NDArray[np.float32]
StreamState = list[Floats]  # of each layer the hidden state and its 1; then the gates; then the products

TABLE_LIMIT = 64 * 2**20  # bytes; a larger table of first-layer inputs is filled row by row, as characters occur
_ALIGN = 16  # float32 in 64 bytes


class FoldedWeights:
    """The weights of a model laid out for writing. Immutable but for rows of the table that fill at first use."""

    def __init__(self, weights: Weights, cell: str) -> None:
        self.cell = cell
        self.sizes = sizes_of(weights)
        self.columns = len(GATES[cell]) * self.sizes.rnn_size
        self.gate_width = self.columns + (self.sizes.rnn_size if cell == "lstm" else 0)  # the cell state beside them
        self.products = [self._product(weights, layer) for layer in range(self.sizes.num_layers)]
        self._embedding = weights.get("embedding")
        self._input = self._fold(weights["layers.0.input"])
        self._bias = self._input_bias(weights, 0)
        self.table = np.empty((self.sizes.vocab_size, self.columns), np.float32)
        self.rows: list[Floats | None] = [None] * self.sizes.vocab_size  # views of the table, where it is filled
        self.complete = self._embedding is None or self.table.nbytes <= TABLE_LIMIT
        if self.complete:
            product = self._input if self._embedding is None else self._embedding @ self._input
            np.add(product, self._bias, out=self.table)
            self.rows = list(self.table)

    def row(self, id_: int) -> Floats:
        """The first layer's input for one id: float32 [G*H]."""
        row = self.rows[id_]
        if row is None:
            assert self._embedding is not None
            row = self.table[id_]
            np.add(self._embedding[id_] @ self._input, self._bias, out=row)
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
        bias = np.zeros(self.columns, np.float32)
        if self.cell == "gru":
            units = self.sizes.rnn_size
            bias[2 * units :] = weights[f"layers.{layer}.recurrent_bias"][2 * units :]
        return self._fold(bias, recurrent=True)

    def _product(self, weights: Weights, layer: int) -> Floats:
        """[H + 1, G*H + next, rounded up]: what layer `layer`'s hidden state and a 1 are multiplied by."""
        units, last = self.sizes.rnn_size, layer == self.sizes.num_layers - 1
        if last:
            above, above_bias = weights["output.weights"], weights["output.bias"].copy()
            above_bias[0] += NEVER
        else:
            above = self._fold(weights[f"layers.{layer + 1}.input"])
            above_bias = self._input_bias(weights, layer + 1)
        end = self.columns + above.shape[1]
        width = _rounded(end)
        if width % 256 == 0:
            width += _ALIGN  # rows whole KiB apart share cache sets, which costs a third
        result = _aligned(units + 1, width)
        result[:units, : self.columns] = self._fold(weights[f"layers.{layer}.recurrent"], recurrent=True)
        result[:units, self.columns : end] = above
        if self.cell == "lstm":
            result[:units] *= np.float32(0.5)  # hidden states are kept doubled
        result[units, : self.columns] = self._recurrent_bias(weights, layer)
        result[units, self.columns : end] = above_bias
        return result


def _rounded(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN


def _aligned(rows: int, columns: int) -> Floats:
    """Zeros that begin at 64 bytes, as every row then does when `columns` is a multiple of 16."""
    memory = np.zeros(rows * columns * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + rows * columns * 4].view(np.float32).reshape(rows, columns)


class Batch:
    """The states of some streams, side by side, and the step that moves all of them on by one character.

    Arrays are [units, streams], so that every gate of all streams is one stretch of memory; those of a single stream
    are vectors. `row_by_row`: multiply each stream's state by itself, which gives it the bits that it has alone;
    otherwise one product serves all streams, which is faster.
    """

    def __init__(self, folded: FoldedWeights, row_by_row: bool) -> None:
        self._folded = folded
        self._row_by_row = row_by_row
        self.count = 0
        self._states: list[StreamState] | None = []  # while the arrays wait to be built for another number of streams
        self._arrays: list[Floats] = []
        self._first: Callable[[Floats], object]
        self._above: list[Callable[[], object]]

    def add(self, state: StreamState | None = None) -> None:
        """Append a stream: in this state, or in the zero state."""
        self._unbind().append(self._zero_state() if state is None else state)
        self.count += 1

    def remove(self, index: int) -> None:
        """Take a stream out; those after it move up."""
        del self._unbind()[index]
        self.count -= 1

    def state(self, index: int) -> StreamState:
        """A copy of a stream's state, for `add`."""
        if self._states is not None:
            return [values.copy() for values in self._states[index]]
        return [(array if self.count == 1 else array[:, index]).copy() for array in self._arrays]

    def logits(self, index: int) -> Floats:
        """A copy, float32 [V]: of a stream's next character. The unknown's is about -1e30."""
        start = self._folded.columns
        return self.state(index)[-1][start : start + self._folded.sizes.vocab_size]

    def _zero_state(self) -> StreamState:
        units, folded = self._folded.sizes.rnn_size, self._folded
        hidden = np.zeros(units + 1, np.float32)
        hidden[units] = 1
        gates = np.zeros(folded.gate_width, np.float32)
        # what a hidden state of zeros gives its readers: the biases
        return [hidden] * len(folded.products) + [gates] * len(folded.products) + [w[-1] for w in folded.products]

    def _unbind(self) -> list[StreamState]:
        if self._states is None:
            self._states = [self.state(index) for index in range(self.count)]
        return self._states

    def _bind(self) -> None:
        """Build the arrays and the steps of all layers for the number of streams there are."""
        if self._states is None:
            return
        folded, layers, columns = self._folded, len(self._folded.products), self._folded.columns
        hidden: list[Floats] = []
        gates: list[Floats] = []
        products: list[Floats] = []
        for position, values in enumerate(zip(*self._states, strict=True)):
            if self.count == 1:
                array = _aligned(1, len(values[0]))[0]
            elif self._row_by_row and position >= 2 * layers:  # products fill row by row
                array = _aligned(self.count, len(values[0])).T
            else:
                array = _aligned(len(values[0]), self.count)
            array.T[...] = np.stack(values) if self.count > 1 else values[0]
            (hidden, gates, products)[position // layers].append(array)
        self._arrays, self._states = [*hidden, *gates, *products], None
        build = {"lstm": _lstm_step, "gru": _gru_step, "rnn": _rnn_step}[folded.cell]
        steps = [
            build(folded.sizes.rnn_size, hidden[i], gates[i], products[i][:columns], self._multiply(i))
            for i in range(layers)
        ]
        # A layer's product holds the layer above's input behind its own recurrent part, and is as wide.
        self._first = steps[0]
        self._above = [
            partial(step, below[columns : 2 * columns]) for step, below in zip(steps[1:], products, strict=False)
        ]

    def _multiply(self, layer: int) -> Callable[[], object]:
        """The product of a layer's hidden states with all that reads them."""
        weights, layers = self._folded.products[layer], len(self._folded.products)
        hidden, products = self._arrays[layer], self._arrays[2 * layers + layer]
        if self.count == 1:
            return partial(hidden.dot, weights, products)
        if not self._row_by_row:
            return partial(np.matmul, weights.T, hidden, products)
        rows = _aligned(self.count, _rounded(len(weights)))[:, : len(weights)]
        fill = partial(np.copyto, rows, hidden.T)
        each = [partial(row.dot, weights, product) for row, product in zip(rows, products.T, strict=True)]

        def multiply() -> None:
            fill()
            for product in each:
                product()

        return multiply

    def read(self, ids: NDArray[Any]) -> None:
        """Move the only stream on along `ids`."""
        self._bind()
        first, above, row = self._first, self._above, self._folded.row
        for id_ in ids.tolist():
            first(row(id_))
            for step in above:
                step()

    def write(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        """Choose a character for each stream and read it, as often as there is noise [characters, V, count].

        `restricted`: the streams with a top_k or top_p. Returns ids [characters, count].
        """
        self._bind()
        return self._write_one(noise[..., 0], restricted) if self.count == 1 else self._write_many(noise, restricted)

    def _logits(self) -> Floats:
        start = self._folded.columns
        return self._arrays[-1][start : start + self._folded.sizes.vocab_size]

    def _write_one(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        first, above, rows, fill = self._first, self._above, self._folded.rows, self._folded.row
        logits = self._logits()
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
        logits, complete = self._logits(), self._folded.complete
        scores = np.empty(logits.shape, np.float32)
        inputs = np.empty((self.count, self._folded.columns), np.float32)
        ids = np.empty((len(noise), self.count), np.int64)
        for noise_now, chosen in zip(noise, ids, strict=True):
            np.subtract(logits, noise_now, scores)
            for index, options in restricted:
                np.subtract(_restrict(logits[:, index], options), noise_now[:, index], scores[:, index])
            scores.argmax(0, chosen)
            if not complete:
                for id_ in chosen.tolist():
                    self._folded.row(id_)
            table.take(chosen, 0, inputs, "clip")
            first(inputs.T)
            for step in above:
                step()
        return ids


def _restrict(logits: Floats, options: SamplingOptions) -> Floats:
    return restrict(logits, options.temperature, options.top_k, options.top_p)


# The steps of one layer. Each gets its buffers, [units] or [units, streams], and returns a function of the
# layer's input. Names of the pieces follow `cells`; the constants are arrays because NumPy is faster with them.

_ONE, _HALF = np.array(1, np.float32), np.array(0.5, np.float32)


def _lstm_step(
    units: int, hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """c' = f*c + i*g and h' = o*tanh(c'), with the gates as (input, forget, output, candidate) and the cell beside."""
    all_gates, sigmoids = gates[: 4 * units], gates[: 3 * units]
    output, cell = gates[2 * units : 3 * units], gates[4 * units : 5 * units]
    left, right = gates[: 2 * units], gates[3 * units : 5 * units]  # (i, f) and (g, c)
    both = np.empty(left.shape, np.float32)
    written, kept = both[:units], both[units:]
    squashed = np.empty(cell.shape, np.float32)
    doubled = hidden[:units]
    add, tanh, times = np.add, np.tanh, np.multiply

    def add_and_halve() -> object:
        return times(add(written, kept, cell), _HALF, cell)

    mean: Callable[[], object] = add_and_halve
    if gates.ndim == 1:  # both in one call; halving is exact, so the bits are the same
        mean = partial(np.full(2, 0.5, np.float32).dot, both.reshape(2, units), cell)

    def step(inputs: Floats) -> None:
        add(inputs, recurrent, all_gates)
        tanh(all_gates, all_gates)
        add(sigmoids, _ONE, sigmoids)  # now twice the sigmoid
        times(left, right, both)
        mean()
        tanh(cell, squashed)
        times(output, squashed, doubled)
        multiply()

    return step


def _gru_step(
    units: int, hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """n = tanh(x + r*u), u the recurrent product with its bias (both halved), and h' = n + z*(h - n)."""
    sigmoids, candidate = gates[: 2 * units], gates[2 * units : 3 * units]
    reset, update = gates[:units], gates[units : 2 * units]
    recurrent_sigmoids, recurrent_candidate = recurrent[: 2 * units], recurrent[2 * units :]
    state = hidden[:units]
    difference = np.empty(state.shape, np.float32)
    add, subtract, tanh, times = np.add, np.subtract, np.tanh, np.multiply

    def step(inputs: Floats) -> None:
        add(inputs[: 2 * units], recurrent_sigmoids, sigmoids)
        tanh(sigmoids, sigmoids)
        add(sigmoids, _ONE, sigmoids)  # now twice the sigmoid
        times(reset, recurrent_candidate, candidate)
        add(candidate, inputs[2 * units :], candidate)
        tanh(candidate, candidate)
        subtract(state, candidate, difference)
        times(difference, update, difference)
        times(difference, _HALF, difference)
        add(candidate, difference, state)
        multiply()

    return step


def _rnn_step(
    units: int, hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """h' = tanh(x + hU)."""
    state, sums = hidden[:units], gates[:units]
    add, tanh = np.add, np.tanh

    def step(inputs: Floats) -> None:
        add(inputs, recurrent, sums)
        tanh(sums, state)
        multiply()

    return step
