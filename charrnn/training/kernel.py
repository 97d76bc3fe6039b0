"""The training step: loss, hand-written gradient, clipping and Adam, compiled by XLA for whatever device there is.

It knows arithmetic on blocks of ids. It does not know text, files, budgets or what a step is for.

Three decisions make it fast on a processor, where a step is a long chain of small products:

- Everything lies transposed, units by streams: a product then reads its weights row by row as they are, and only the
  small state has to be rearranged for it.
- The gradient is written by hand (backpropagation through time; Werbos 1990). The backward loop only carries the error
  back; every weight's gradient is one large product after it, over all time steps at once.
- What the backward loop multiplies with (the derivatives of the gates) is computed for all time steps at once between
  the loops. Inside, a layer's step is `error * multiplier` and one product.

A processor's two cores multiply two small matrices side by side in less time than they share one. So the streams of a
batch can be computed in shards, each a compiled program of its own on a thread of its own; their gradients are averaged
in a fixed order before each update.

With bfloat16 the products' inputs are rounded to 8 bits of mantissa and summed in float32; weights, states, moments
and everything else stay float32. Buffers of bfloat16 are kept as uint16, because XLA would otherwise convert a whole
buffer to float32 and back for every step that writes a piece of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.compiler.xla import xla_data_pb2

from charrnn.network.cells import Sizes, weight_shapes

Tensor = Any  # tf.Tensor: TensorFlow ships no types
Tensors = dict[str, Any]
Moments = tuple[Tensors, Tensors]

ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.99, 1e-8  # the squares of the last hundred steps, as trainings are short
LEAST_AGREEMENT = 0.25  # of the weights: none moves more than four times as far as Adam would have it


class Pieces(NamedTuple):
    """What each of the steps of one call reads, see `Kernel.run`."""

    ids: Tensor
    lengths: Tensor
    fresh: Tensor
    rates: Tensor


@dataclass(frozen=True)
class KernelOptions:
    """Everything that is compiled into the step."""

    cell: str
    sizes: Sizes
    batch_size: int
    seq_length: int
    dropout: float = 0.0
    grad_clip: float = 5.0
    weight_decay: float = 0.0
    seed: int = 0
    precision: str = "float32"  # of the products' inputs: "bfloat16", "float32", or "float64" for tests of the gradient
    shards: int = 1  # a divisor of batch_size: so many parts of the batch are computed side by side

    @property
    def dtype(self) -> Any:
        """The dtype of weights, states and losses."""
        return tf.float64 if self.precision == "float64" else tf.float32

    @property
    def product_dtype(self) -> Any:
        """The dtype of the products' inputs."""
        return tf.bfloat16 if self.precision == "bfloat16" else self.dtype


# --- a few words of XLA --------------------------------------------------------------------------------------------


def _product(left: Tensor, right: Tensor, left_axes: Sequence[int] = (1,), right_axes: Sequence[int] = (0,)) -> Tensor:
    """Sum over the given axes; bfloat16 inputs are summed in float32."""
    axes = xla_data_pb2.DotDimensionNumbers()
    axes.lhs_contracting_dimensions.extend(left_axes)
    axes.rhs_contracting_dimensions.extend(right_axes)
    return xla.gen_xla_ops.xla_dot_v2(
        lhs=left,
        rhs=right,
        dimension_numbers=axes.SerializeToString(),
        precision_config=b"",
        preferred_element_type=tf.float64 if left.dtype == tf.float64 else tf.float32,
    )


def _stored(values: Tensor) -> Tensor:
    return tf.bitcast(values, tf.uint16) if values.dtype == tf.bfloat16 else values


def _loaded(values: Tensor) -> Tensor:
    return tf.bitcast(values, tf.bfloat16) if values.dtype == tf.uint16 else values


def _put(buffer: Tensor, values: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """`buffer` with `values` at this index of the axis."""
    start = [tf.constant(0)] * buffer.shape.rank
    start[axis] = index
    return xla.dynamic_update_slice(buffer, tf.expand_dims(_stored(values), axis), tf.stack(start))


def _get(buffer: Tensor, index: Tensor, axis: int = 0) -> Tensor:
    """What is at this index of the axis."""
    start, sizes = [tf.constant(0)] * buffer.shape.rank, list(buffer.shape)
    start[axis], sizes[axis] = index, 1
    return _loaded(tf.squeeze(xla.dynamic_slice(buffer, tf.stack(start), sizes), axis))


def _turned(matrix: Tensor) -> Tensor:
    """The transposed matrix, laid out anew. Through a flat form, since XLA multiplies bfloat16 fast only where it does
    not know that a factor is a transposed one."""
    rows, columns = matrix.shape
    return _materialised(tf.reshape(tf.reshape(tf.transpose(matrix), [-1]), [columns, rows]))


def _materialised(values: Tensor) -> Tensor:
    """The same values, computed once: XLA would rather compute a tanh again for everyone who reads it."""
    return xla.gen_xla_ops.xla_optimization_barrier(input=[values])[0]


def _keep_mask(shape: Sequence[int], probability: float, seed: Tensor, dtype: Any) -> Tensor:
    """Dropout's factors: 1/(1-p) with probability 1-p, else 0; a function of `seed` and the position alone.

    The bits are a counter run through an integer mixer (the finalizer of MurmurHash3), so every kernel and device
    draws the same ones.
    """
    count = int(np.prod(shape))
    bits = tf.range(count, dtype=tf.int32)
    bits = tf.bitcast(bits, tf.uint32) * np.uint32(0x9E3779B9) + seed
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, np.uint32(shift))) * np.uint32(factor)
    keep = tf.bitwise.right_shift(bits, np.uint32(8)) >= np.uint32(round(probability * 2**24))
    return tf.reshape(tf.where(keep, tf.constant(1 / (1 - probability), dtype), tf.constant(0, dtype)), shape)


# --- cells ---------------------------------------------------------------------------------------------------------
# `forward` takes the pre-activations from the input and from the recurrence, each [gates, units*streams], and the
# memory (h, and c for LSTM); it returns what the backward pass needs as one stack [kept, units*streams], and the new
# memory. `multipliers` turns the stacks of all time steps into the factors of the backward loop; `backward` takes the
# error of h, and what the cell itself carried back, and returns the error of the pre-activations as one stack, and
# what to carry further. `input_rows` and `recurrent_rows` say which part of that stack belongs to which product.


class _LSTM:
    """Hochreiter and Schmidhuber 1997, with forget gate (Gers, Schmidhuber, Cummins 2000); no peepholes."""

    gates, kept, carried = 4, 4, 1
    input_rows = recurrent_rows = slice(0, 4)

    @staticmethod
    def forward(inputs: Tensor, recurrent: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one tanh for all four gates
        half = tf.constant([0.5, 0.5, 1.0, 0.5], inputs.dtype)[:, None]
        gates = _materialised(tf.tanh((inputs + recurrent) * half) * half + (1 - half))
        enter, forget, candidate, leave = tf.unstack(gates)
        cell = _materialised(forget * memory[1] + enter * candidate)
        return gates, (leave * tf.tanh(cell), cell)

    @staticmethod
    def multipliers(kept: Tensor, hidden: Tensor, cells: Tensor) -> tuple[Tensor, ...]:
        enter, forget, candidate, leave = tf.unstack(kept, axis=1)
        squashed = tf.tanh(cells[1:])
        factors = (
            candidate * enter * (1 - enter),
            cells[:-1] * forget * (1 - forget),
            enter * (1 - candidate * candidate),
            squashed * leave * (1 - leave),
        )
        return tf.stack(factors, axis=1), leave * (1 - squashed * squashed), forget

    @staticmethod
    def backward(
        error: Tensor, carried: tuple[Tensor, ...], factors: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        gates, through, forget = factors
        cell_error = carried[0] + error * through
        from_hidden = tf.constant([0, 0, 0, 1], error.dtype)[:, None]
        return (cell_error[None] + from_hidden * (error - cell_error)[None]) * gates, (cell_error * forget,)


class _GRU:
    """Cho et al. 2014, with the reset after the product (the form of cuDNN).

    The kernel's rows: input n, r, z; recurrent r, z, n. The stack of errors is n, r, z, q, where q is the error of the
    recurrent half of the candidate, so both products read neighbours.
    """

    gates, kept, carried = 3, 4, 1
    input_rows, recurrent_rows = slice(0, 3), slice(1, 4)

    @staticmethod
    def forward(inputs: Tensor, recurrent: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        both = tf.sigmoid(inputs[1:] + recurrent[:2])
        candidate = tf.tanh(inputs[0] + both[0] * recurrent[2])
        kept = _materialised(tf.concat([candidate[None], both, recurrent[2:]], 0))
        candidate, _, update, _ = tf.unstack(kept)
        return kept, ((1 - update) * candidate + update * memory[0],)

    @staticmethod
    def multipliers(kept: Tensor, hidden: Tensor, cells: Tensor | None) -> tuple[Tensor, ...]:
        candidate, reset, update, product = tf.unstack(kept, axis=1)
        through = (1 - update) * (1 - candidate * candidate)
        factors = (
            through,
            through * product * reset * (1 - reset),
            (hidden[:-1] - candidate) * update * (1 - update),
            through * reset,
        )
        return tf.stack(factors, axis=1), update

    @staticmethod
    def backward(
        error: Tensor, carried: tuple[Tensor, ...], factors: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        error = error + carried[0]
        return error[None] * factors[0], (error * factors[1],)


class _RNN:
    """Elman 1990."""

    gates, kept, carried = 1, 0, 0
    input_rows = recurrent_rows = slice(0, 1)

    @staticmethod
    def forward(inputs: Tensor, recurrent: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return inputs[:0], (tf.tanh(inputs[0] + recurrent[0]),)

    @staticmethod
    def multipliers(kept: Tensor, hidden: Tensor, cells: Tensor | None) -> tuple[Tensor, ...]:
        return (1 - hidden[1:, None] * hidden[1:, None],)

    @staticmethod
    def backward(
        error: Tensor, carried: tuple[Tensor, ...], factors: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return error[None] * factors[0], ()


_CELLS: dict[str, Any] = {"lstm": _LSTM, "gru": _GRU, "rnn": _RNN}


# --- the kernel ----------------------------------------------------------------------------------------------------


class Kernel:
    """Steps of training, compiled once for their shapes.

    Parameters, moments and states are dicts of tensors. The parameters' names are the weights' (`network.cells`), their
    layout is the kernel's own; `to_device` and `to_weights` convert.
    """

    def __init__(self, options: KernelOptions) -> None:
        self.options = options
        self.cell = _CELLS[options.cell]
        if options.shards == 1:
            self._run = tf.function(self._steps, jit_compile=True, autograph=False)
        else:  # the loop over steps is a plain graph, which runs compiled programs side by side
            self._run = tf.function(self._sharded_steps, autograph=False)
            self._shard = tf.function(self._piece, jit_compile=True, autograph=False)
            self._update = tf.function(self._adam, jit_compile=True, autograph=False)
        self._forward = tf.function(self._losses, jit_compile=True, autograph=False, reduce_retracing=False)
        self._logits = tf.function(self._score, jit_compile=True, autograph=False)

    # layout ------------------------------------------------------------------

    def to_device(self, weights: Mapping[str, Any]) -> Tensors:
        """Arrays in the layout of `network.cells` (weights, or moments of the same shapes) as the kernel wants them.

        By name, because sums over all of them must not depend on the order in which a file happened to hand them out.
        """
        return {name: tf.constant(self._turn(name, np.asarray(array)), self.options.dtype)
                for name, array in sorted(weights.items())}  # fmt: skip

    def to_weights(self, parameters: Tensors) -> dict[str, Any]:
        """The inverse of `to_device`: arrays in the layout of `network.cells`."""
        shapes = weight_shapes(self.options.cell, self.options.sizes)
        return {name: self._turn_back(name, tensor.numpy(), shapes[name]) for name, tensor in parameters.items()}

    def _turn(self, name: str, array: Any) -> Any:
        if name == "embedding":
            return array
        if name == "output.weights":
            return array.T
        if name == "output.bias":
            return array
        gates, units = self.cell.gates, self.options.sizes.rnn_size
        rows = array.T.reshape(gates, units, -1)
        if self._rolled(name):
            rows = np.roll(rows, 1, axis=0)
        return rows.reshape(gates * units, -1)

    def _turn_back(self, name: str, array: Any, shape: tuple[int, ...]) -> Any:
        if name == "output.weights":
            return np.ascontiguousarray(array.T)
        if name.startswith("layers"):
            gates, units = self.cell.gates, self.options.sizes.rnn_size
            rows = array.reshape(gates, units, -1)
            if self._rolled(name):
                rows = np.roll(rows, -1, axis=0)
            return np.ascontiguousarray(rows.reshape(gates * units, -1).T).reshape(shape)
        return array

    def _rolled(self, name: str) -> bool:
        return self.options.cell == "gru" and name.endswith((".input", ".bias"))

    def zero_state(self, batch: int | None = None) -> Tensors:
        """The state before anything was read: `h{layer}` and, for LSTM, `c{layer}`, each [units, streams]."""
        shape = (self.options.sizes.rnn_size, batch or self.options.batch_size)
        names = ("h", "c") if self.options.cell == "lstm" else ("h",)
        return {
            f"{name}{layer}": tf.zeros(shape, self.options.dtype)
            for layer in range(self.options.sizes.num_layers)
            for name in names
        }

    def state_to_device(self, state: Mapping[str, Any]) -> Tensors:
        """A state that was read from a file."""
        return {name: tf.constant(state[name], self.options.dtype) for name in self.zero_state()}

    # entry points ------------------------------------------------------------

    def run(
        self,
        parameters: Tensors,
        moments: Moments,
        state: Tensors,
        updates: int,
        ids: Any,
        lengths: Any,
        fresh: Any,
        rates: Any,
        first_step: int,
        count: int,
    ) -> tuple[Tensors, Moments, Tensors, Any]:
        """`count` steps of training in one call.

        ids: int32 [most, seq_length + 1, batch]; lengths: int32 [most], the characters that count; fresh: bool
        [most], the state is zero before this step; rates: [most] learning rates. Steps after `count` are not run, so
        one shape, compiled once, serves every count. `updates` counts the updates that made the moments.
        Returns parameters, moments, state and losses: nats per character [most].
        """
        result: tuple[Tensors, Moments, Tensors, Any] = self._run(
            parameters,
            moments,
            state,
            tf.constant(updates, tf.int32),
            Pieces(
                tf.constant(ids, tf.int32),
                tf.constant(lengths, tf.int32),
                tf.constant(fresh, tf.bool),
                tf.constant(rates, self.options.dtype),
            ),
            tf.constant(first_step, tf.int32),
            tf.constant(count, tf.int32),
        )
        return result

    def losses(self, parameters: Tensors, state: Tensors, ids: Any) -> tuple[Any, Tensors]:
        """Read ids int32 [time + 1, streams]: nats of each next character [time, streams], and the state after."""
        result: tuple[Any, Tensors] = self._forward(parameters, state, tf.constant(ids, tf.int32))
        return result

    def logits(self, parameters: Tensors, state: Tensors, ids: Any) -> tuple[Any, Tensors]:
        """Read ids int32 [time, streams]: logits [time, streams, V] and the state after."""
        result: tuple[Any, Tensors] = self._logits(parameters, state, tf.constant(ids, tf.int32))
        return result

    # one step ----------------------------------------------------------------

    def gradients(
        self, parameters: Tensors, state: Tensors, ids: Tensor, length: Tensor, step: Tensor, shard: Tensor | int = 0
    ) -> tuple[Tensor, Tensors, Tensors]:
        """The loss, its gradient and the state after, for ids [seq_length + 1, streams] of which `length` count.

        Loss: nats per character; the gradient is that of the mean over the characters that count. Which units are
        dropped is a function of `step` and `shard`.
        """
        weights = _Weights(self.options, self.cell, parameters)
        time, streams = ids.shape[0] - 1, ids.shape[1]
        idle = [[0, 0], [0, _vectors(streams) - streams]]
        wide = tf.pad(ids[:-1], idle)
        masks = self._dropout_masks(wide.shape[1], step, shard)
        sources = weights.sources(wide)
        state = {name: tf.pad(tensor, idle) for name, tensor in state.items()}
        history, after = _forward_loop(weights, sources, state, masks, time)

        top = _flat(history.outputs(masks, weights.layers - 1), streams)
        logits = weights.logits(top)
        counts = tf.repeat(
            tf.cast(tf.range(time) < length, logits.dtype) / tf.cast(length * streams, logits.dtype), streams
        )
        highest = tf.reduce_max(logits, 0)
        powers = tf.exp(logits - highest)
        total = tf.reduce_sum(powers, 0)
        targets = tf.one_hot(tf.reshape(ids[1:], [-1]), logits.shape[0], axis=0, dtype=logits.dtype)
        nats = tf.math.log(total) + highest - tf.reduce_sum(logits * targets, 0)
        loss = tf.reduce_sum(nats * counts)

        errors = (powers / total - targets) * counts  # of the logits
        gradient: Tensors = {}
        rounded = tf.cast(errors, weights.dtype)
        gradient["output.weights"] = _weight_gradient(rounded, top)
        gradient["output.bias"] = tf.reduce_sum(errors, 1)
        top_error = tf.reshape(_product(_turned(weights.output), rounded), [-1, time, streams])
        top_error = tf.pad(top_error, [[0, 0], *idle])
        if masks:
            top_error *= masks[-1][:, None]

        stacks = _backward_loop(weights, history, top_error, masks, time)
        for layer, stack in enumerate(stacks):
            inputs = sources if layer == 0 else history.outputs(masks, layer - 1)
            gradient |= weights.layer_gradient(
                layer, stack[..., :streams], _flat(inputs, streams), _flat(history.before(layer), streams)
            )
        if "embedding" in parameters:
            gradient["embedding"] = weights.embedding_gradient(stacks[0][..., :streams], ids[:-1])
        after = {name: tensor[:, :streams] for name, tensor in after.items()}
        return loss, {name: gradient[name] for name in parameters}, after

    def _dropout_masks(self, streams: int, step: Tensor, shard: Tensor | int = 0) -> list[Tensor]:
        """One mask a layer, [units, streams], the same for all time steps of the piece (Gal and Ghahramani 2016)."""
        if not self.options.dropout:
            return []
        masks = []
        for layer in range(self.options.sizes.num_layers):
            stream = (self.options.seed * 1_000_003 + layer * 65_537 + 1) % 2**32
            seed = tf.bitcast(step, tf.uint32) * np.uint32(0xC2B2AE3D) + np.uint32(stream)
            seed += tf.cast(shard, tf.uint32) * np.uint32(0x27D4EB2F)
            shape = (self.options.sizes.rnn_size, streams)
            masks.append(_materialised(_keep_mask(shape, self.options.dropout, seed, self.options.dtype)))
        return masks

    def _steps(
        self, parameters: Tensors, moments: Moments, state: Tensors, updates: Tensor, pieces: Pieces,
        first_step: Tensor, count: Tensor,
    ) -> tuple[Tensors, Moments, Tensors, Tensor]:  # fmt: skip
        def step(k: Tensor, parameters: Tensors, moments: Moments, state: Tensors, losses: Tensor) -> Any:
            ids, length, fresh, rate = (_get(values, k) for values in pieces)
            loss, gradient, state = self._piece(parameters, state, ids, length, fresh, first_step + k, tf.constant(0))
            parameters, moments = self._adam(parameters, moments, [gradient], rate, updates + k + 1)
            return k + 1, parameters, moments, state, _put(losses, loss, k)

        begin = (tf.constant(0), parameters, moments, state, tf.zeros_like(pieces.rates))
        _, parameters, moments, state, losses = tf.while_loop(lambda k, *_: k < count, step, begin)
        return parameters, moments, state, losses

    def _sharded_steps(
        self, parameters: Tensors, moments: Moments, state: Tensors, updates: Tensor, pieces: Pieces,
        first_step: Tensor, count: Tensor,
    ) -> tuple[Tensors, Moments, Tensors, Tensor]:  # fmt: skip
        """The same as `_steps`; each shard has its streams and their states for itself."""
        shards = range(self.options.shards)
        split = {name: tf.split(tensor, len(shards), axis=1) for name, tensor in state.items()}
        states = [{name: parts[shard] for name, parts in split.items()} for shard in shards]

        def step(k: Tensor, parameters: Tensors, moments: Any, states: Any, losses: Any) -> Any:
            ids, length, fresh, rate = (values[k] for values in pieces)
            ids = tf.split(ids, len(shards), axis=1)
            results = [
                self._shard(parameters, states[shard], ids[shard], length, fresh, first_step + k, tf.constant(shard))
                for shard in shards
            ]
            gradients = [gradient for _, gradient, _ in results]
            parameters, moments = self._update(parameters, moments, gradients, rate, updates + k + 1)
            loss = tf.add_n([loss for loss, _, _ in results]) / len(shards)
            return k + 1, parameters, moments, [state for _, _, state in results], losses.write(k, loss)

        losses = tf.TensorArray(self.options.dtype, pieces.rates.shape[0], element_shape=[])
        begin = (tf.constant(0), parameters, moments, states, losses)
        _, parameters, moments, states, losses = tf.while_loop(lambda k, *_: k < count, step, begin)
        after = {name: tf.concat([state[name] for state in states], axis=1) for name in state}
        return parameters, moments, after, losses.stack()

    def _piece(
        self, parameters: Tensors, state: Tensors, ids: Tensor, length: Tensor, fresh: Tensor, step: Tensor,
        shard: Tensor,
    ) -> tuple[Tensor, Tensors, Tensors]:  # fmt: skip
        """`gradients` for streams that begin from zero where `fresh` says so."""
        start = 1 - tf.cast(fresh, self.options.dtype)
        state = {name: tensor * start for name, tensor in state.items()}
        return self.gradients(parameters, state, ids, length, step, shard)

    def _adam(
        self, parameters: Tensors, moments: Moments, shards: list[Tensors], rate: Tensor, update: Tensor
    ) -> tuple[Tensors, Moments]:
        """The mean of the shards' gradients, clipped by its global norm (Pascanu, Mikolov, Bengio 2013), then cautious
        Adam (Kingma and Ba 2015; Liang and others 2024) with decoupled weight decay (AdamW).

        Cautious: a weight that its mean would move against the gradient of this step stays, and the others move the
        further for it. Weights without a gradient, such as embeddings of characters that were not read, stay too, but
        do not count.
        """
        dtype = self.options.dtype
        gradient = {name: tf.add_n([shard[name] for shard in shards]) / len(shards) for name in parameters}
        norm = tf.sqrt(tf.add_n([tf.reduce_sum(g * g) for g in gradient.values()]))
        scale = tf.minimum(tf.constant(1, dtype), self.options.grad_clip / (norm + 1e-12))
        count = tf.cast(update, dtype)
        mean_unbias, square_unbias = 1 - ADAM_BETA1**count, 1 - ADAM_BETA2**count
        new, means, squares = {}, {}, {}
        for name, value in parameters.items():
            g = gradient[name] * scale
            means[name] = moments[0][name] * ADAM_BETA1 + g * (1 - ADAM_BETA1)
            squares[name] = moments[1][name] * ADAM_BETA2 + g * g * (1 - ADAM_BETA2)
            agree = tf.cast(means[name] * g > 0, dtype)
            share = tf.reduce_sum(agree) / tf.maximum(tf.constant(1, dtype), tf.reduce_sum(tf.cast(g != 0, dtype)))
            boost = 1 / tf.maximum(share, LEAST_AGREEMENT)
            adam = means[name] / mean_unbias / (tf.sqrt(squares[name] / square_unbias) + ADAM_EPSILON)
            move = adam * agree * boost
            if self.options.weight_decay and not name.endswith("bias"):
                move += self.options.weight_decay * value
            new[name] = value - rate * move
        return new, (means, squares)

    # reading only --------------------------------------------------------------

    def _score(self, parameters: Tensors, state: Tensors, ids: Tensor) -> tuple[Tensor, Tensors]:
        weights = _Weights(self.options, self.cell, parameters)
        time, streams = ids.shape
        history, after = _forward_loop(weights, weights.sources(ids), state, [], time)
        logits = weights.logits(_flat(history.outputs([], weights.layers - 1), streams))
        return tf.transpose(tf.reshape(logits, [-1, time, streams]), [1, 2, 0]), after

    def _losses(self, parameters: Tensors, state: Tensors, ids: Tensor) -> tuple[Tensor, Tensors]:
        logits, after = self._score(parameters, state, ids[:-1])
        targets = tf.one_hot(ids[1:], logits.shape[2], dtype=logits.dtype)
        return tf.reduce_logsumexp(logits, 2) - tf.reduce_sum(logits * targets, 2), after


def _vectors(streams: int) -> int:
    """So many streams are computed for `streams`: whole vectors of 16, as idle lanes cost nothing and odd ends much."""
    return streams if streams <= 16 else -(-streams // 16) * 16


def _flat(values: Tensor, streams: int) -> Tensor:
    """[units, time, streams and idle ones] as [units, time*streams]."""
    return tf.reshape(values[:, :, :streams], [values.shape[0], -1])


def _weight_gradient(errors: Tensor, inputs: Tensor) -> Tensor:
    """[outputs, inputs]: the gradient of the weights between, from [outputs, time*streams] and [inputs, …]."""
    return _product(_materialised(errors), _materialised(inputs), (1,), (1,))


class _Weights:
    """The parameters as the products want them: rounded, and turned once for the way back."""

    def __init__(self, options: KernelOptions, cell: Any, parameters: Tensors) -> None:
        self.cell, self.dtype, self.parameters = cell, options.product_dtype, parameters
        self.layers = options.sizes.num_layers
        self.units, self.vocab_size = options.sizes.rnn_size, options.sizes.vocab_size
        self.input = [self._round(f"layers.{layer}.input") for layer in range(self.layers)]
        self.recurrent = [self._round(f"layers.{layer}.recurrent") for layer in range(self.layers)]
        self.output = self._round("output.weights")  # [V, H]
        self.output_bias = parameters["output.bias"]

    def _round(self, name: str) -> Tensor:
        return tf.cast(self.parameters[name], self.dtype)

    def back(self, layer: int) -> tuple[Tensor, Tensor | None]:
        """Turned recurrent and, except for the first layer, input weights, [H, gates*H]."""
        return _turned(self.recurrent[layer]), _turned(self.input[layer]) if layer else None

    def sources(self, ids: Tensor) -> Tensor:
        """What the first layer reads: embeddings or one-hot vectors, [D, time, streams]."""
        if "embedding" in self.parameters:
            rows = tf.gather(self._round("embedding"), ids)
            return tf.transpose(rows, [2, 0, 1])
        return tf.one_hot(ids, self.vocab_size, axis=0, dtype=self.dtype)

    def logits(self, top: Tensor) -> Tensor:
        """[V, time*streams] from what the last layer hands upwards, [H, time*streams]."""
        return _product(self.output, top) + self.output_bias[:, None]

    def biases(self, layer: int, streams: int) -> tuple[Tensor, Tensor | None]:
        """b and, where the cell has it, c, each for all streams, [gates, H*streams]."""
        names = [f"layers.{layer}.{name}" for name in ("bias", "recurrent_bias")]
        wide = [
            _materialised(tf.reshape(tf.repeat(self.parameters[name], streams, axis=1), [self.cell.gates, -1]))
            if name in self.parameters else None
            for name in names
        ]  # fmt: skip
        return wide[0], wide[1]

    def preactivations(
        self, layer: int, inputs: Tensor, hidden: Tensor, biases: tuple[Tensor, Tensor | None]
    ) -> tuple[Tensor, Tensor]:
        """W x + b and R h (+ c), each [gates, H*streams], for [D*streams] and [H*streams]."""
        from_input, from_hidden = (
            tf.reshape(_product(matrix, tf.reshape(values, [matrix.shape[1], -1])), [self.cell.gates, -1])
            for matrix, values in ((self.input[layer], inputs), (self.recurrent[layer], tf.cast(hidden, self.dtype)))
        )
        return from_input + biases[0], from_hidden if biases[1] is None else from_hidden + biases[1]

    def layer_gradient(self, layer: int, stack: Tensor, inputs: Tensor, hidden: Tensor) -> Tensors:
        """stack: errors of the pre-activations [rows, H, time, streams]; inputs, hidden: [D or H, time*streams]."""
        name = f"layers.{layer}."
        input_error = self._error(stack, self.cell.input_rows)
        hidden_error = self._error(stack, self.cell.recurrent_rows)
        gradient = {
            name + "input": _weight_gradient(input_error, inputs),
            name + "recurrent": _weight_gradient(hidden_error, hidden),
            name + "bias": _row_sums(input_error),
        }
        if name + "recurrent_bias" in self.parameters:
            gradient[name + "recurrent_bias"] = _row_sums(hidden_error)
        return gradient

    def embedding_gradient(self, stack: Tensor, ids: Tensor) -> Tensor:
        """Gradient of the look-up table [V, E]."""
        error = self._error(stack, self.cell.input_rows)  # [gates*H, time*streams]
        columns = _materialised(_product(_turned(self.input[0]), error))  # or XLA multiplies the turned factors instead
        return tf.math.unsorted_segment_sum(tf.transpose(columns), tf.reshape(ids, [-1]), self.vocab_size)

    def _error(self, stack: Tensor, rows: slice) -> Tensor:
        """[gates*H, time*streams] of the stack's rows."""
        part = stack[rows]
        return tf.reshape(part, [part.shape[0] * part.shape[1], -1])


def _row_sums(values: Tensor) -> Tensor:
    wide = tf.cast(values, tf.float32) if values.dtype == tf.bfloat16 else values
    return tf.reduce_sum(wide, 1, keepdims=True)


@dataclass
class _History:
    """What the forward loop leaves for the way back, a buffer a layer.

    What the products after the loops read has time between units and streams, as they want it.
    """

    kept: list[Tensor]  # [time, kept, H*streams]
    hidden: list[Tensor]  # [H, time + 1, streams], the first is the state before
    cells: list[Tensor | None]  # LSTM: c, [time + 1, H*streams]

    def outputs(self, masks: Sequence[Tensor], layer: int) -> Tensor:
        """What layer hands upwards, dropout applied: [H, time, streams]."""
        hidden = _loaded(self.hidden[layer])[:, 1:]
        return tf.cast(tf.cast(hidden, masks[layer].dtype) * masks[layer][:, None], hidden.dtype) if masks else hidden

    def before(self, layer: int) -> Tensor:
        """What layer's recurrence reads: [H, time, streams]."""
        return _loaded(self.hidden[layer])[:, :-1]

    def multipliers(self, cell: Any, layer: int) -> tuple[Tensor, ...]:
        """The factors of the way back, each [time, …, H*streams]."""
        hidden = tf.transpose(_loaded(self.hidden[layer]), [1, 0, 2])
        hidden = tf.cast(tf.reshape(hidden, [hidden.shape[0], -1]), self.kept[layer].dtype)
        return tuple(map(_materialised, cell.multipliers(self.kept[layer], hidden, self.cells[layer])))


def _forward_loop(
    weights: _Weights, sources: Tensor, state: Tensors, masks: Sequence[Tensor], time: int
) -> tuple[_History, Tensors]:
    cell, layers, dtype = weights.cell, range(weights.layers), weights.dtype
    sources = _stored(sources)
    streams, wide = sources.shape[2], state["h0"].dtype
    size = weights.units * streams
    with_cells = "c0" in state
    state = {name: tf.reshape(tensor, [size]) for name, tensor in state.items()}
    masks = [tf.reshape(mask, [size]) for mask in masks]
    memory = [tuple(state[f"{name}{layer}"] for name in ("h", "c")[: 1 + with_cells]) for layer in layers]
    kept = [tf.zeros((time, cell.kept, size), wide) for _ in layers]
    empty = _stored(tf.zeros((weights.units, time + 1, streams), dtype))
    hidden = [_put_hidden(empty, tf.cast(state[f"h{layer}"], dtype), 0) for layer in layers]
    cells = [_put(tf.zeros((time + 1, size), wide), state[f"c{layer}"], 0) for layer in layers if with_cells]
    biases = [weights.biases(layer, streams) for layer in layers]

    def step(t: Tensor, memory: Any, kept: Any, hidden: Any, cells: Any) -> Any:
        memory, kept, hidden, cells = list(memory), list(kept), list(hidden), list(cells)
        inputs = _get(sources, t, axis=1)
        for layer in layers:
            before = weights.preactivations(layer, inputs, memory[layer][0], biases[layer])
            gates, memory[layer] = cell.forward(*before, memory[layer])
            output = _materialised(tf.cast(memory[layer][0], dtype))
            if cell.kept:
                kept[layer] = _put(kept[layer], gates, t)
            hidden[layer] = _put_hidden(hidden[layer], output, t + 1)
            if with_cells:
                cells[layer] = _put(cells[layer], memory[layer][1], t + 1)
            inputs = tf.cast(memory[layer][0] * masks[layer], dtype) if masks else output
        return t + 1, memory, kept, hidden, cells

    _, memory, kept, hidden, cells = tf.while_loop(
        lambda t, *_: t < time, step, (tf.constant(0), memory, kept, hidden, cells)
    )
    after = {
        f"{name}{layer}": tf.reshape(tensor, [weights.units, streams])
        for layer in layers
        for name, tensor in zip("hc", memory[layer], strict=False)
    }
    return _History(kept, hidden, cells if with_cells else [None] * weights.layers), after


def _put_hidden(buffer: Tensor, values: Tensor, index: Tensor | int) -> Tensor:
    """`buffer` [H, time, streams] with `values` [H*streams] at this time."""
    return _put(buffer, tf.reshape(values, [buffer.shape[0], -1]), index, axis=1)


def _backward_loop(
    weights: _Weights, history: _History, top_error: Tensor, masks: Sequence[Tensor], time: int
) -> list[Tensor]:
    """The errors of all pre-activations, for each layer [rows, H, time, streams]."""
    cell, layers = weights.cell, range(weights.layers)
    wide, (units, _, streams) = top_error.dtype, top_error.shape
    size = units * streams
    masks = [tf.reshape(mask, [size]) for mask in masks]
    factors = [history.multipliers(cell, layer) for layer in layers]
    back = [weights.back(layer) for layer in layers]
    rows = factors[0][0].shape[1]
    errors = [tf.zeros([size], wide) for _ in layers]
    carried = [tuple(tf.zeros([size], wide) for _ in range(cell.carried)) for _ in layers]
    stacks = [_stored(tf.zeros((rows, units, time, streams), weights.dtype)) for _ in layers]

    def back_through(matrix: Tensor, part: Tensor) -> Tensor:
        return tf.reshape(_product(matrix, tf.reshape(part, [matrix.shape[1], -1])), [size])

    def step(k: Tensor, errors: Any, carried: Any, stacks: Any) -> Any:
        errors, carried, stacks = list(errors), list(carried), list(stacks)
        t = time - 1 - k
        from_above = tf.reshape(_get(top_error, t, axis=1), [size])
        for layer in reversed(layers):
            now = tuple(_get(factor, t) for factor in factors[layer])
            stack, carried[layer] = cell.backward(errors[layer] + from_above, carried[layer], now)
            # The stack is stored first and read back, or XLA would compute it twice.
            stack = tf.reshape(tf.cast(stack, weights.dtype), [rows, units, streams])
            stacks[layer] = _materialised(_put(stacks[layer], stack, t, axis=2))
            stack = _get(stacks[layer], t, axis=2)
            recurrent, inputs = back[layer]
            errors[layer] = back_through(recurrent, stack[cell.recurrent_rows])
            if inputs is not None:
                from_above = back_through(inputs, stack[cell.input_rows])
                if masks:
                    from_above *= masks[layer - 1]
        return k + 1, errors, carried, stacks

    stacks = tf.while_loop(lambda k, *_: k < time, step, (tf.constant(0), errors, carried, stacks))[3]
    return [_loaded(stack) for stack in stacks]
