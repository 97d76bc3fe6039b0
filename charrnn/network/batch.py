"""The network laid out for writing: many streams side by side, one character at a time, as fast as NumPy can.

It knows how the weights are best folded for that, and moves states on. It does not know texts, prompts or when a
stream ends. `cells.forward` is the same network written to be read.

What makes it fast (for small networks the cost is the number of NumPy calls, for large ones reading the weights):

- the first layer's input product is a table with one row an id, its bias included;
- the hidden states of all layers lie in one row, each with a constant 1 behind it: whatever a product reads (a layer
  its own state and that of the layer below, the output the last one) is one stretch of that row, so a product is all
  of a layer's sums, biases included;
- many streams are multiplied in pieces small enough for those kernels of OpenBLAS that rearrange nothing first, with
  weights that lie piece by piece;
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
StreamState = list[Floats]  # of each layer the hidden state [H]; then, of an LSTM, the cell states

TABLE_LIMIT = 64 * 2**20  # bytes; a larger table of first-layer inputs is filled row by row, as characters occur
SMALL_PRODUCT = 10**6  # multiplications, up to which OpenBLAS has kernels that rearrange nothing first
LEAST_WIDTH = 32  # columns, below which more calls cost more than that saves


class FoldedWeights:
    """The weights of a model laid out for writing. Immutable but for what is filled at first use.

    `products[l]` is what the stretch of layer l is multiplied by, and the last of them gives the logits. Its columns
    are as many as `sums` gates, then idle ones. An LSTM's gates are input, forget, output, candidate; a GRU's are the
    candidate's recurrent part, reset, update, and the candidate's part from below, which for the first layer is in the
    table alone.
    """

    def __init__(self, weights: Weights, cell: str) -> None:
        self.cell = cell
        self.sizes = sizes_of(weights)
        self.gates = len(GATES[cell])
        self.sums = self.gates + (cell == "gru")
        layers = range(self.sizes.num_layers)
        self.products = [self._sums(weights, layer) for layer in layers] + [self._logits(weights)]
        self._pieces: dict[int, Floats] = {}
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

    def stretch(self, layer: int) -> slice:
        """What of a stream's row, each hidden state with a 1 behind it, `products[layer]` reads."""
        span = self.sizes.rnn_size + 1
        if layer == 0:
            return slice(0, span)
        return slice((layer - 1) * span, min((layer + 1) * span - 1, self.sizes.num_layers * span))

    def pieces(self, layer: int, width: int) -> Floats:
        """`products[layer]` cut into pieces of this width, [gates, pieces, depth, width], each one stretch of memory,
        which is read half as fast again as rows far apart. Kept until another width is asked for."""
        pieces = self._pieces.get(layer)
        if pieces is None or pieces.shape[-1] != width:
            units, product = self.sizes.rnn_size, self.products[layer]
            gates = self.sums if layer else self.gates
            cut = product[:, : gates * units].reshape(len(product), gates, units // width, width)
            pieces = self._pieces[layer] = np.ascontiguousarray(np.moveaxis(cut, 0, -2))
        return pieces

    def _fold(self, matrix: Floats, recurrent: bool = False) -> Floats:
        """Columns [..., G*H] in the order of the fast step, sigmoid gates (and GRU's recurrent candidate) halved."""
        gates = dict(zip(GATES[self.cell], np.split(matrix, len(GATES[self.cell]), axis=-1), strict=True))
        half = np.float32(0.5)
        if self.cell == "lstm":
            parts = [gates["input"] * half, gates["forget"] * half, gates["output"] * half, gates["candidate"]]
        elif self.cell == "gru":
            sigmoids = [gates["reset"] * half, gates["update"] * half]
            parts = [gates["candidate"] * half, *sigmoids] if recurrent else [*sigmoids, gates["candidate"]]
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

    def _sums(self, weights: Weights, layer: int) -> Floats:
        units, columns = self.sizes.rnn_size, self.gates * self.sizes.rnn_size
        own = units + 1 if layer else 0  # where the rows of the layer's own state begin
        end = self.sums * units if layer else columns
        product = _product(own + units + (not layer), end)
        product[own : own + units, :columns] = self._fold(weights[f"layers.{layer}.recurrent"], recurrent=True)
        ones = product[units]
        if self.cell == "gru":
            ones[:units] = weights[f"layers.{layer}.recurrent_bias"][2 * units :] * np.float32(0.5)
        if layer:
            product[:units, end - columns : end] = self._fold(weights[f"layers.{layer}.input"])
            ones[end - columns : end] += self._input_bias(weights, layer)
        return self._undoubled(product)

    def _logits(self, weights: Weights) -> Floats:
        units, vocab_size = self.sizes.rnn_size, self.sizes.vocab_size
        product = _product(units + 1, vocab_size)
        product[:units, :vocab_size] = weights["output.weights"]
        product[units, :vocab_size] = weights["output.bias"]
        product[units, 0] += NEVER
        return self._undoubled(product)

    def _undoubled(self, product: Floats) -> Floats:
        """Hidden states of an LSTM are kept doubled; what is behind one is the row of the 1."""
        if self.cell == "lstm":
            product[: self.sizes.rnn_size] *= np.float32(0.5)
            product[self.sizes.rnn_size + 1 :] *= np.float32(0.5)
        return product


def _product(rows: int, columns: int) -> Floats:
    """Zeros [rows, columns and some], the rows not whole KiB apart: those share cache sets, which costs a third."""
    width = -(-columns // 16) * 16
    return _aligned(rows, width + 16 * (width % 256 == 0))


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
        self.count = 0
        self._states: list[StreamState] | None = []  # while the arrays wait to be built for another number of streams
        self._arrays: list[Floats] = []  # what a StreamState holds, of all streams
        self._logits: Floats  # [streams, V]
        self._multiply: Callable[[], object]  # a step begins with the first layer's product,
        self._sums: Floats  # which gives these, [G, ...];
        self._gates: Floats  # with the layer's input they go here;
        self._rest: list[Callable[[], object]]  # then comes the rest of the step

    def add(self, state: StreamState | None = None) -> None:
        """Append a stream: in this state, or in the zero state."""
        folded = self._folded
        parts = folded.sizes.num_layers * (2 if folded.cell == "lstm" else 1)
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
        """Build the arrays and the step for the number of streams there are."""
        if self._states is None:
            return
        states, self._states = self._states, None
        folded, units, layers = self._folded, self._folded.sizes.rnn_size, self._folded.sizes.num_layers
        build = {"lstm": _lstm_step, "gru": _gru_step, "rnn": _rnn_step}[folded.cell]
        rows = np.ones((self.count, layers * (units + 1)), np.float32)
        hidden, cells = [], []
        calls: list[Callable[[], object]] = []
        for layer in range(layers):
            shape = self._shape(layer)
            arrays = _aligned(1, folded.sums + 1, *shape)[0]  # the last is the cell state of an LSTM
            gates = arrays[-folded.gates - 1 :]
            cells.append(gates[-1])
            multiply, sums = self._sums_of(rows[:, folded.stretch(layer)], layer, arrays[:-1])
            start = layer * (units + 1)
            hidden.append(_shaped(rows[:, start : start + units], shape))
            recurrent, sums = sums[0], sums[-folded.gates :]
            if layer == 0:
                self._sums, self._gates = sums, gates[:-1]
                sums = self._gates
            calls += [multiply, build(sums, recurrent, gates, hidden[-1])]
        multiply, self._logits = self._logits_of(rows[:, folded.stretch(layers)])
        self._multiply, *self._rest = [*calls, multiply]
        self._arrays = hidden + cells if folded.cell == "lstm" else hidden
        for array, values in zip(self._arrays, zip(*states, strict=True), strict=True):
            array[...] = _shaped(np.stack(values), array.shape)
        multiply()

    @property
    def _together(self) -> bool:
        return self.count > 1 and not self._row_by_row

    def _shape(self, layer: int) -> tuple[int, ...]:
        """Of what has a number for every unit of this layer."""
        units = self._folded.sizes.rnn_size
        if self.count == 1:
            return (units,)
        width = _width(units, self.count * len(self._folded.products[layer])) if self._together else units
        return units // width, self.count, width

    def _sums_of(self, rows: Floats, layer: int, room: Floats) -> tuple[Callable[[], object], Floats]:
        """What multiplies `rows`, the stretch of all streams, and where the layer's sums are then, [sums, ...]: in
        `room`, if that can be."""
        folded, shape = self._folded, room.shape[1:]
        units = folded.sizes.rnn_size
        if not self._together:
            multiply, products = self._row_by_row_product(rows, folded.products[layer], folded.sums * units)
            return multiply, _shaped(products.reshape(self.count, folded.sums, units), shape)
        pieces = folded.pieces(layer, shape[-1])
        sums = room if len(pieces) == len(room) else np.zeros_like(room)  # of a gate that is never written
        return partial(np.matmul, rows, pieces, sums[: len(pieces)]), sums

    def _logits_of(self, rows: Floats) -> tuple[Callable[[], object], Floats]:
        """The same for the logits, [streams, V]."""
        factor, vocab_size = self._folded.products[-1], self._folded.sizes.vocab_size
        if not self._together:
            return self._row_by_row_product(rows, factor, vocab_size)
        logits = np.empty((self.count, vocab_size), np.float32)
        return partial(np.matmul, rows, factor[:, :vocab_size], logits), logits

    def _row_by_row_product(self, rows: Floats, factor: Floats, columns: int) -> tuple[Callable[[], object], Floats]:
        """Each of the rows times all of the factor; [streams, columns], zero where the factor has less."""
        width = factor.shape[1]
        products = _aligned(self.count, max(columns, width))
        calls = [partial(row.dot, factor, product[:width]) for row, product in zip(rows, products, strict=True)]
        return _in_turn(calls), products[:, :columns]

    def read(self, ids: NDArray[Any]) -> None:
        """Move the only stream on along `ids`."""
        self._bind()
        multiply, sums, gates, rest, row = self._multiply, self._sums, self._gates, self._rest, self._folded.row
        for id_ in ids.tolist():
            multiply()
            np.add(row(id_), sums, gates)
            for call in rest:
                call()

    def write(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        """Choose a character for each stream and read it, as often as there is noise [characters, count, V].

        `restricted`: the streams with a top_k or top_p. Returns ids [characters, count].
        """
        self._bind()
        return self._write_one(noise[:, 0], restricted) if self.count == 1 else self._write_many(noise, restricted)

    def _write_one(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        multiply, sums, gates, rest = self._multiply, self._sums, self._gates, self._rest
        rows, fill = self._folded.rows, self._folded.row
        logits = self._logits[0]
        scores = np.empty_like(logits)
        add, subtract, argmax = np.add, np.subtract, scores.argmax
        chosen = []
        for noise_row in noise:
            if restricted:
                subtract(_restrict(logits, restricted[0][1]), noise_row, scores)
            else:
                subtract(logits, noise_row, scores)
            id_ = argmax()
            chosen.append(id_)
            row = rows[id_]
            multiply()
            add(fill(int(id_)) if row is None else row, sums, gates)
            for call in rest:
                call()
        return np.array(chosen, np.int64)[:, None]

    def _write_many(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        multiply, sums, gates, rest = self._multiply, self._sums, self._gates, self._rest
        table, logits, complete = self._folded.table, self._logits, self._folded.complete
        scores = np.empty(logits.shape, np.float32)
        inputs = np.empty((self.count, *table.shape[1:]), np.float32)
        shaped = _shaped(inputs, gates.shape[1:])
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
            multiply()
            np.add(shaped, sums, gates)
            for call in rest:
                call()
        return ids


def _shaped(rows: Floats, shape: tuple[int, ...]) -> Floats:
    """A view of [streams, ..., H] as what has a number for every unit is shaped: [..., *shape]."""
    if len(shape) == 1:
        stream: Floats = rows[0]
        return stream
    return np.moveaxis(rows.reshape(*rows.shape[:-1], -1, shape[-1]), 0, -2)


def _width(units: int, rows: int) -> int:
    """Of the pieces: an even part of a gate, the widest that keeps products small. rows: of all stretches."""
    for pieces in range(1, units // LEAST_WIDTH + 1):
        if units % pieces == 0 and rows * units // pieces <= SMALL_PRODUCT:
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


# The steps of one layer, from its sums to its hidden state. Each gets its arrays, gates first in each but the last:
# the sums, which may be those of `gates`; of a GRU the candidate's recurrent part; room for the gates and, behind
# them, an LSTM's cell state; the hidden state. Names of the gates follow `cells`.


def _lstm_step(sums: Floats, _: Floats, gates: Floats, hidden: Floats) -> Callable[[], object]:
    """c' = f*c + i*g and h' = o*tanh(c'), with the gates as (input, forget, output, candidate) and the cell beside."""
    all_gates, sigmoids, output, cell = gates[:4], gates[:3], gates[2], gates[4]
    left, right = gates[:2], gates[3:]  # (i, f) and (g, c)
    both = np.empty_like(left)
    squashed = np.empty_like(cell)
    one = np.ones_like(sigmoids)
    mean = partial(np.full(2, 0.5, np.float32).dot, both.reshape(2, -1), cell.reshape(-1))
    add, tanh, times = np.add, np.tanh, np.multiply

    def step() -> None:
        tanh(sums, all_gates)
        add(sigmoids, one, sigmoids)  # now twice the sigmoid
        times(left, right, both)
        mean()
        tanh(cell, squashed)
        times(output, squashed, hidden)  # doubled

    return step


def _gru_step(sums: Floats, recurrent: Floats, gates: Floats, hidden: Floats) -> Callable[[], object]:
    """n = tanh(x + r*u), u the recurrent product with its bias (both halved), and h' = n + z*(h - n)."""
    sigmoids, reset, update, candidate = gates[:2], gates[0], gates[1], gates[2]
    sums_of_sigmoids, from_below = sums[:2], sums[2]
    product, difference = np.empty_like(candidate), np.empty_like(candidate)
    one, half = np.ones_like(sigmoids), np.full_like(candidate, 0.5)
    add, subtract, tanh, times = np.add, np.subtract, np.tanh, np.multiply

    def step() -> None:
        tanh(sums_of_sigmoids, sigmoids)
        add(sigmoids, one, sigmoids)  # now twice the sigmoid
        times(reset, recurrent, product)
        add(product, from_below, candidate)
        tanh(candidate, candidate)
        subtract(hidden, candidate, difference)
        times(difference, update, difference)
        times(difference, half, difference)
        add(candidate, difference, hidden)

    return step


def _rnn_step(sums: Floats, _: Floats, gates: Floats, hidden: Floats) -> Callable[[], object]:
    """h' = tanh(x + hU)."""
    return partial(np.tanh, sums[0], hidden)
