"""Writing fast: many streams of one model that step together, and may join and leave between any two steps.

It knows how the weights are best laid out for one step at a time, and how streams share it. It does not know files
or training. `cells.forward` is the same network written to be read.

What makes it fast (for small networks the cost is the number of NumPy calls, for large ones reading the weights):

- the first layer's input product is a table with one row an id, its bias included;
- a layer's hidden state is multiplied once by everything that reads it: the layer's own recurrent weights, needed at
  the next step, and the next layer's input weights (or the output weights) beside them; a constant 1 at its end
  brings the biases;
- sigmoid(x) = (tanh(x/2) + 1) / 2, so with those columns halved once, one tanh serves all gates of an LSTM; the
  factors of one half that remain are folded into the weights, which changes no bit, they are powers of two;
- every operation writes into a buffer that exists; noise is drawn for many characters at once.

Rows never mix: every operation but the block product of unseeded streams gives a row the bits it would have alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.network.cells import GATES, Weights, sizes_of
from charrnn.network.sampling import NEVER, Noise, SamplingOptions, restrict
from charrnn.network.threads import one_thread

if TYPE_CHECKING:
    from charrnn.network.model import Model

Floats = NDArray[np.float32]

STEP = 32  # characters of one `Generator.step`
READ = 256  # characters of a prompt that a stream reads in one `step`, so that the others need not wait long
TABLE_LIMIT = 64 * 2**20  # bytes; a larger table of first-layer inputs is filled row by row, as characters occur
_ALIGN = 16  # float32 in 64 bytes


class FoldedWeights:
    """The weights of a model laid out for writing. Immutable but for rows of the table that fill at first use."""

    def __init__(self, weights: Weights, cell: str) -> None:
        self.cell = cell
        self.sizes = sizes_of(weights)
        self.columns = len(GATES[cell]) * self.sizes.rnn_size
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
        result = _aligned(units + 1, _rounded(self.columns + above.shape[1]))
        end = self.columns + above.shape[1]
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


class Rows:
    """The states of some streams, one row each, and the step that moves all of them on by one character.

    `row_by_row`: give each row the bits that it has alone; otherwise one product serves all rows, which is faster.
    """

    def __init__(self, folded: FoldedWeights, row_by_row: bool) -> None:
        self._folded = folded
        self._row_by_row = row_by_row
        self.count = 0
        self._hidden: list[Floats] = []  # [capacity, H + 1 (the 1), rounded up]; of LSTM doubled
        self._gates: list[Floats] = []  # [capacity, G*H, and of LSTM the cell state beside the candidate]
        self._products: list[Floats] = []  # [capacity, G*H + next]: what the hidden state gives to its readers
        self._grow(1)

    def _grow(self, capacity: int) -> None:
        folded, units = self._folded, self._folded.sizes.rnn_size
        extra = units if folded.cell == "lstm" else 0
        old = self._arrays()
        layers = range(folded.sizes.num_layers)
        self._capacity = capacity
        self._hidden = [_aligned(capacity, _rounded(units + 1)) for _ in layers]
        self._gates = [_aligned(capacity, _rounded(folded.columns + extra)) for _ in layers]
        self._products = [_aligned(capacity, folded.products[layer].shape[1]) for layer in layers]
        for before, after in zip(old, self._arrays(), strict=False):
            after[: len(before)] = before
        for hidden in self._hidden:
            hidden[:, units] = 1

    def _arrays(self) -> list[Floats]:
        return [*self._hidden, *self._gates, *self._products]

    def add(self, state: list[Floats] | None = None) -> None:
        """Append a row: of this state, or of the zero state."""
        if self.count == self._capacity:
            self._grow(2 * self._capacity)
        row, self.count = self.count, self.count + 1
        if state is not None:
            for array, values in zip(self._arrays(), state, strict=True):
                array[row] = values
        else:
            for hidden, gates, product, weights in zip(
                self._hidden, self._gates, self._products, self._folded.products, strict=True
            ):
                hidden[row, :-1], gates[row] = 0, 0
                hidden[row, self._folded.sizes.rnn_size] = 1
                product[row] = weights[-1]  # what a hidden state of zeros gives: the biases
        self._bind()

    def remove(self, row: int) -> None:
        """Take a row out; the last row moves into its place."""
        self.count -= 1
        for array in self._arrays():
            array[row] = array[self.count]
        self._bind()

    def state(self, row: int) -> list[Floats]:
        """A copy of a row's state, for `add`."""
        return [array[row].copy() for array in self._arrays()]

    @property
    def logits(self) -> Floats:
        """A view, float32 [count, V]: of the next character of every row. The unknown's is about -1e30."""
        start = self._folded.columns
        return self._products[-1][: self.count, start : start + self._folded.sizes.vocab_size]

    def _bind(self) -> None:
        """Prepare the steps of all layers for this number of rows."""
        if not self.count:
            return
        columns = self._folded.columns
        build = {"lstm": _lstm_step, "gru": _gru_step, "rnn": _rnn_step}[self._folded.cell]
        self._steps: list[Callable[[Floats], object]] = []
        self._inputs: list[Floats] = []  # of the layers above the first
        for layer, weights in enumerate(self._folded.products):
            hidden, gates, products = (
                array[0] if self.count == 1 else array[: self.count]
                for array in (self._hidden[layer], self._gates[layer], self._products[layer])
            )
            multiply = self._multiply(layer, weights)
            step = build(self._folded.sizes.rnn_size, hidden, gates, products[..., :columns], multiply)
            self._steps.append(step)
            if layer:
                below = self._products[layer - 1]
                self._inputs.append((below[0] if self.count == 1 else below[: self.count])[..., columns : 2 * columns])
        # of the layer below these are exactly the columns of the layer above: both have as many gates and units
        self._above = [partial(step, inputs) for step, inputs in zip(self._steps[1:], self._inputs, strict=True)]

    def _multiply(self, layer: int, weights: Floats) -> Callable[[], object]:
        """The product of a layer's hidden states with all that reads them."""
        depth = len(weights)
        hidden, products = self._hidden[layer][:, :depth], self._products[layer]
        if self.count == 1:
            return partial(hidden[0].dot, weights, products[0])
        if not self._row_by_row:
            return partial(np.matmul, hidden[: self.count], weights, products[: self.count])
        each = [partial(hidden[row].dot, weights, products[row]) for row in range(self.count)]

        def multiply() -> None:
            for product in each:
                product()

        return multiply

    def read(self, ids: NDArray[Any]) -> None:
        """Move the only row on along `ids`."""
        first, above, row = self._steps[0], self._above, self._folded.row
        for id_ in ids.tolist():
            first(row(id_))
            for step in above:
                step()

    def write(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        """Choose a character for each row and read it, as often as there is noise [characters, count, V].

        `restricted`: the rows with a top_k or top_p. Returns ids [characters, count].
        """
        return self._write_one(noise, restricted) if self.count == 1 else self._write_many(noise, restricted)

    def _write_one(self, noise: Floats, restricted: list[tuple[int, SamplingOptions]]) -> NDArray[np.int64]:
        first, above, rows, fill = self._steps[0], self._above, self._folded.rows, self._folded.row
        logits = self.logits[0]
        scores = np.empty_like(logits)
        subtract, argmax = np.subtract, scores.argmax
        chosen = []
        for noise_row in noise[:, 0]:
            if restricted:
                options = restricted[0][1]
                allowed = restrict(logits, options.temperature, options.top_k, options.top_p)
                subtract(allowed, noise_row, scores)
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
        first, above, table = self._steps[0], self._above, self._folded.table
        logits, complete = self.logits, self._folded.complete
        scores = np.empty(logits.shape, np.float32)
        inputs = _aligned(self.count, self._folded.columns)
        ids = np.empty(noise.shape[:2], np.int64)
        for noise_rows, chosen in zip(noise, ids, strict=True):
            np.subtract(logits, noise_rows, scores)
            for row, options in restricted:
                allowed = restrict(logits[row], options.temperature, options.top_k, options.top_p)
                np.subtract(allowed, noise_rows[row], scores[row])
            scores.argmax(1, chosen)
            if not complete:
                for id_ in chosen.tolist():
                    self._folded.row(id_)
            table.take(chosen, 0, inputs, "clip")
            first(inputs)
            for step in above:
                step()
        return ids


# The steps of one layer. Each gets views of its buffers, [...] of one row or [rows, ...], and returns a function of
# the layer's input. Names of the pieces follow `cells`; the constants are arrays because NumPy is faster with them.

_ONE, _HALF = np.array(1, np.float32), np.array(0.5, np.float32)


def _lstm_step(
    units: int, hidden: Floats, gates: Floats, recurrent: Floats, multiply: Callable[[], object]
) -> Callable[[Floats], object]:
    """c' = f*c + i*g and h' = o*tanh(c'), with the gates as (input, forget, output, candidate) and the cell beside."""
    all_gates, sigmoids = gates[..., : 4 * units], gates[..., : 3 * units]
    output, cell = gates[..., 2 * units : 3 * units], gates[..., 4 * units : 5 * units]
    left, right = gates[..., : 2 * units], gates[..., 3 * units : 5 * units]  # (i, f) and (g, c)
    both = np.empty(left.shape, np.float32)
    written, kept = both[..., :units], both[..., units:]
    squashed = np.empty(cell.shape, np.float32)
    doubled = hidden[..., :units]
    add, tanh, times = np.add, np.tanh, np.multiply
    if gates.ndim == 1:  # add and halve in one call; halving is exact, so the bits are those of the two below
        mean = partial(np.full(2, 0.5, np.float32).dot, both.reshape(2, units), cell)
    else:

        def mean() -> Floats:
            return times(add(written, kept, cell), _HALF, cell)

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
    sigmoids, candidate = gates[..., : 2 * units], gates[..., 2 * units : 3 * units]
    reset, update = gates[..., :units], gates[..., units : 2 * units]
    recurrent_sigmoids, recurrent_candidate = recurrent[..., : 2 * units], recurrent[..., 2 * units :]
    state = hidden[..., :units]
    difference = np.empty(state.shape, np.float32)
    add, subtract, tanh, times = np.add, np.subtract, np.tanh, np.multiply

    def step(inputs: Floats) -> None:
        add(inputs[..., : 2 * units], recurrent_sigmoids, sigmoids)
        tanh(sigmoids, sigmoids)
        add(sigmoids, _ONE, sigmoids)  # now twice the sigmoid
        times(reset, recurrent_candidate, candidate)
        add(candidate, inputs[..., 2 * units :], candidate)
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
    state, sums = hidden[..., :units], gates[..., :units]
    add, tanh = np.add, np.tanh

    def step(inputs: Floats) -> None:
        add(inputs, recurrent, sums)
        tanh(sums, state)
        multiply()

    return step


class Stream:
    """One text in the making. Made by `Generator.join`, moved on by `Generator.step`."""

    def __init__(self, prompt_ids: NDArray[Any], options: SamplingOptions, index: int, vocab_size: int) -> None:
        self.options = options
        self.written = 0  # characters, a stop text included
        self.finished = False
        self.reason: str | None = None  # "length" or "stop", once finished
        self._unread = prompt_ids
        self._noise = Noise(options.seed, index, vocab_size, options.temperature)
        self._held = ""  # could be the beginning of a stop text
        self._pieces: list[str] = []
        self._logits: Callable[[], Floats] | None = None

    def take(self) -> str:
        """What was written since the last call."""
        piece = "".join(self._pieces)
        self._pieces.clear()
        return piece

    @property
    def remaining(self) -> int:
        """Characters that it may still write."""
        return 0 if self.finished else self.options.length - self.written

    @property
    def logits(self) -> Floats | None:
        """A copy, float32 [V]: what the next character is drawn from; None before the prompt is read."""
        return self._logits() if self._logits else None

    def _end(self, reason: str) -> None:
        self.finished, self.reason = True, reason

    def _receive(self, text: str) -> None:
        """Take new characters in: hand out what cannot become a stop text, and end at the first one that is whole."""
        self.written += len(text)
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self.options.stop if (at := text.find(stop)) >= 0]
        if ends:  # the one that is whole first; of those that end together the longest
            self._held = ""
            self._pieces.append(text[: min(ends)[1]])
            self._end("stop")
            return
        held = 0
        if self.written < self.options.length:
            for stop in self.options.stop:
                held = max(held, _overlap(text, stop))
        else:
            self._end("length")
        self._held = text[len(text) - held :]
        self._pieces.append(text[: len(text) - held])


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper beginning of `stop` that `text` ends with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class Generator:
    """Writes with one model, any number of streams at once.

    Drive it from one thread at a time: `join`, `leave` and `step` are not guarded against one another. Generators
    share a model's folded weights, which never change, so several threads may each drive their own.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._folded = model.folded
        self._reading: list[tuple[Stream, list[Floats] | None]] = []
        self._groups = {seeded: _Group(self._folded, seeded) for seeded in (False, True)}

    @property
    def streams(self) -> list[Stream]:
        """The streams that are not finished."""
        return [stream for stream, _ in self._reading] + [
            stream for group in self._groups.values() for stream in group.streams
        ]

    def join(self, prompt: str | None = None, options: SamplingOptions | None = None, index: int = 0) -> Stream:
        """A new stream. `prompt` goes before that of `options`; `index` tells streams of the same seed apart.

        Characters of the prompt that the model has never seen are read as unknown; `Model.unseen` names them.
        """
        options = options or SamplingOptions()
        ids = self._model.prompt_ids(options.prompt if prompt is None else prompt)
        stream = Stream(ids, options, index, self._folded.sizes.vocab_size)
        if options.length:
            self._reading.append((stream, None))
        else:
            stream._end("length")
        return stream

    def leave(self, stream: Stream) -> None:
        """Stop writing this stream; nothing happens if it has finished."""
        self._reading = [entry for entry in self._reading if entry[0] is not stream]
        for group in self._groups.values():
            group.leave(stream)

    def step(self, characters: int = STEP) -> list[Stream]:
        """Move every stream on: read some of its prompt, or write up to `characters`; return the streams that wrote.

        Those that finish leave by themselves. No stream ever gets other characters for the company it is in if it
        has a seed.
        """
        with one_thread():
            if self._reading:
                self._read()
            wrote = []
            for group in self._groups.values():
                wrote += group.step(characters, self._model)
        return wrote

    def _read(self) -> None:
        """Let every stream that has not read its prompt read on; those that are done get ready to write."""
        alone = len(self._reading) == 1 and not any(group.streams for group in self._groups.values())
        limit = len(self._reading[0][0]._unread) if alone else READ
        reading = []
        for stream, state in self._reading:
            reader = Rows(self._folded, row_by_row=True)
            reader.add(state)
            reader.read(stream._unread[:limit])
            stream._unread = stream._unread[limit:]
            if len(stream._unread):
                reading.append((stream, reader.state(0)))
            else:
                self._groups[stream.options.seed is not None].join(stream, reader.state(0))
        self._reading = reading


class _Group:
    """The streams that write, either all with seeds or all without, and their rows."""

    def __init__(self, folded: FoldedWeights, seeded: bool) -> None:
        self.streams: list[Stream] = []
        self._rows = Rows(folded, row_by_row=seeded)

    def join(self, stream: Stream, state: list[Floats]) -> None:
        self._rows.add(state)
        self.streams.append(stream)
        stream._logits = lambda: self._rows.logits[self.streams.index(stream)].copy()

    def leave(self, stream: Stream) -> None:
        if stream in self.streams:
            row = self.streams.index(stream)
            self._rows.remove(row)
            last = self.streams.pop()
            if last is not stream:
                self.streams[row] = last
            stream._logits = None

    def step(self, characters: int, model: Model) -> list[Stream]:
        if not self.streams:
            return []
        characters = min(characters, *(stream.remaining for stream in self.streams))
        noise = np.empty((characters, len(self.streams), self._rows.logits.shape[1]), np.float32)
        for row, stream in enumerate(self.streams):
            noise[:, row] = stream._noise.draw(characters)
        restricted = [
            (row, stream.options)
            for row, stream in enumerate(self.streams)
            if stream.options.top_k is not None or stream.options.top_p is not None
        ]
        ids = self._rows.write(noise, restricted)
        wrote = list(self.streams)
        for row, stream in enumerate(wrote):
            stream._receive(model.vocabulary.decode(ids[:, row]))
        for stream in wrote:
            if stream.finished:
                self.leave(stream)
        return wrote


def pieces(generator: Generator, stream: Stream, characters: int = STEP) -> Iterator[str]:
    """Drive a generator until `stream` is finished, and yield its text as it comes."""
    try:
        while not stream.finished:
            generator.step(characters)
            if piece := stream.take():
                yield piece
    finally:
        generator.leave(stream)


def random_seed() -> int:
    """A seed for a text that should be another one each time, and yet can be asked for again."""
    return int.from_bytes(os.urandom(6), "little")
