"""Which characters each step of training reads: a function of (seed, step) and nothing else.

It knows streams, epochs and pieces. It does not know what is learned from them.

Each of the `batch_size` streams is one contiguous stretch of the training part. An epoch reads every stream from an
offset in [0, seq_length), drawn from (seed, epoch), to its end, `seq_length` characters a step; its last piece is
shorter and comes with its length. The target is always the next character.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Philox
from numpy.typing import NDArray

from charrnn.errors import InvalidCorpus, InvalidOptions
from charrnn.text.corpus import Part

EXACT_EPOCHS = 10_000  # beyond so many, a budget in epochs is taken at the mean length of these


@dataclass(frozen=True)
class Piece:
    """What one step reads."""

    ids: NDArray[np.int32]  # [seq_length + 1, batch_size]; beyond `length` + 1 rows it repeats the last row
    length: int  # how many rows are inputs that count
    fresh: bool  # the first of an epoch: states begin at zero


class Batches:
    """The pieces of a training part.

    Raises InvalidOptions if a stream would not hold two sequences, and InvalidCorpus if none could be so short.
    """

    def __init__(self, part: Part, batch_size: int, seq_length: int, seed: int) -> None:
        self.part, self.batch_size, self.seq_length, self.seed = part, batch_size, seq_length, seed
        self.stretch = (len(part) - 1) // batch_size  # inputs a stream and, without offset, epoch
        if self.stretch < 2 * seq_length:
            raise _too_large(len(part), batch_size, seq_length)
        self._starts = [0]  # the first step of each epoch, as far as anybody asked

    def epoch_start(self, epoch: int) -> int:
        """The first step of an epoch."""
        while len(self._starts) <= epoch:
            last = len(self._starts) - 1
            self._starts.append(self._starts[-1] + -(-(self.stretch - self._offset(last)) // self.seq_length))
        return self._starts[epoch]

    def locate(self, step: int) -> tuple[int, int]:
        """The epoch of a step, and its place in it, both from 0."""
        while self._starts[-1] <= step:
            self.epoch_start(len(self._starts))
        epoch = bisect_right(self._starts, step) - 1
        return epoch, step - self._starts[epoch]

    def epochs(self, step: int) -> float:
        """How many epochs have been read when `step` steps are done."""
        epoch, index = self.locate(step)
        return epoch + index / (self.epoch_start(epoch + 1) - self.epoch_start(epoch))

    def steps(self, epochs: float) -> int:
        """How many steps so many epochs take, at least 1."""
        whole = min(int(epochs), EXACT_EPOCHS)
        start = self.epoch_start(whole)
        each = start / whole if whole == EXACT_EPOCHS else self.epoch_start(whole + 1) - start
        return max(1, start + round((epochs - whole) * each))

    def read(self, step: int) -> Piece:
        """What step number `step`, from 0, reads."""
        epoch, index = self.locate(step)
        start = self._offset(epoch) + index * self.seq_length
        length = min(self.seq_length, self.stretch - start)
        ids = np.empty((self.seq_length + 1, self.batch_size), np.int32)
        for stream in range(self.batch_size):
            first = stream * self.stretch + start
            ids[: length + 1, stream] = self.part.read(first, first + length + 1)
        ids[length + 1 :] = ids[length]
        return Piece(ids, length, index == 0)

    def read_many(self, step: int, count: int, most: int) -> dict[str, Any]:
        """The pieces of `count` steps as arrays of length `most`, the way the kernel takes them."""
        pieces = [self.read(step + k) for k in range(count)]
        ids = np.zeros((most, self.seq_length + 1, self.batch_size), np.int32)
        lengths, fresh = np.ones(most, np.int32), np.zeros(most, bool)
        for k, piece in enumerate(pieces):
            ids[k], lengths[k], fresh[k] = piece.ids, piece.length, piece.fresh
        return {"ids": ids, "lengths": lengths, "fresh": fresh}

    def _offset(self, epoch: int) -> int:
        bits = Philox(key=np.array([self.seed, epoch], np.uint64)).random_raw()
        return int(bits) % self.seq_length


def _too_large(characters: int, batch_size: int, seq_length: int) -> InvalidOptions | InvalidCorpus:
    """Why a training part of so many characters is refused, and which numbers would fit."""
    inputs = characters - 1
    if inputs < 2:
        return InvalidCorpus(f"the text has {characters:,} characters to learn from; at least 3 are needed")
    smaller = {"batch_size": inputs // (2 * seq_length), "seq_length": inputs // batch_size // 2}
    fitting = {name: most for name, most in smaller.items() if most}
    right = " or ".join(f"{name} up to {most}" for name, most in fitting.items())
    fields = {name: f"at most {most} with this text" for name, most in fitting.items()}
    if not fitting:
        longest = inputs // 2
        right = f"batch_size 1 and seq_length up to {longest}"
        fields = {"batch_size": "1 with this text", "seq_length": f"at most {longest} with this text"}
    return InvalidOptions(
        f"batch_size {batch_size} and seq_length {seq_length} need a training part of "
        f"{2 * batch_size * seq_length + 1:,} characters (two sequences a stream), and this text's has "
        f"{characters:,}; right would be {right}",
        fields,
    )
