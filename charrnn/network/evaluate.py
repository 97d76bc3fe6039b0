"""How well a network predicts a text, in nats per character.

It knows how a text is cut into stretches that are read side by side, and which targets count. It does not know how
texts become ids; `evaluate_file` asks `charrnn.text` for that.

A probability here is the network's own, over all ids: the unknown's small part is not shared out among the others.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidCorpus
from charrnn.network.cells import Sizes, State, Weights, forward, nats, sizes_of, zero_state
from charrnn.network.threads import one_thread
from charrnn.text.vocabulary import Vocabulary

STRETCHES = 32  # at most
LEAST_STRETCH = 1_000  # characters
WARM_UP = 200  # characters before a stretch, read but not counted
WINDOW = 256  # characters, nanoGPT's
_NUMBERS = 4 * 2**20  # logits, or gates of a layer, that are computed at once

Ids = NDArray[Any]


@dataclass(frozen=True)
class Evaluation:
    """How well a text was predicted."""

    nats_per_character: float
    bits_per_character: float
    perplexity: float
    characters: int  # that were counted: all but the first and the unknown ones
    unknown: int  # characters left out because the model has never seen them


@dataclass(frozen=True, eq=False)
class Score:
    """What each character of a text cost: an array of nats. NaN: the first character's, and unknown ones'."""

    characters: str
    nats: NDArray[np.float64]  # [characters]

    @property
    def unknown(self) -> int:
        """How many characters, the first aside, the model has never seen."""
        return int(np.isnan(self.nats[1:]).sum())

    @property
    def nats_per_character(self) -> float:
        """The mean over the characters that have a score; NaN if none has."""
        known = self.nats[~np.isnan(self.nats)]
        return float(known.mean()) if len(known) else math.nan

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False and dtype is not None and np.dtype(dtype) != self.nats.dtype:
            raise ValueError("a score of another dtype cannot be had without a copy")
        return np.array(self.nats, dtype=dtype) if copy or dtype is not None else self.nats

    def __len__(self) -> int:
        return len(self.characters)

    def __getitem__(self, index: Any) -> Any:
        return self.nats[index]

    def __iter__(self) -> Iterator[float]:
        return iter(self.nats.tolist())

    def __repr__(self) -> str:
        return f"<Score of {len(self):,} characters, {self.nats_per_character:.4f} nats per character>"


@dataclass
class _Sum:
    """Nats of the targets that count."""

    total: float = 0.0
    characters: int = 0
    unknown: int = 0

    def add(self, logits: NDArray[Any], targets: Ids, counted: NDArray[np.bool_]) -> None:
        """`counted` [..]: which targets are in turn at all."""
        known = counted & (targets != 0)
        self.total += float(nats(logits, targets)[known].sum())
        self.characters += int(known.sum())
        self.unknown += int((counted & ~known).sum())

    def result(self) -> Evaluation:
        if not self.characters:
            raise InvalidCorpus(
                "nothing to evaluate: at least two characters are needed, the second of them one that the model knows"
            )
        mean = self.total / self.characters
        perplexity = math.exp(mean) if mean < 700 else math.inf
        return Evaluation(mean, mean / math.log(2), perplexity, self.characters, self.unknown)


@one_thread()
def evaluate_ids(weights: Weights, cell: str, ids: Ids) -> Evaluation:
    """Score `ids` (int [characters]; may be a mapped array) with the state carried on.

    At most 32 stretches of at least 1,000 characters are read side by side. Every target but the text's first is
    counted once; every stretch but the first is warmed on the 200 characters before it. Raises InvalidCorpus when no
    target counts.
    """
    sizes, result = sizes_of(weights), _Sum()
    count = max(1, min(STRETCHES, len(ids) // LEAST_STRETCH))
    edges = [len(ids) * stretch // count for stretch in range(count + 1)]
    # A stretch holds the targets from its edge to the next; its inputs lie one character before. The text's first
    # character is no target, so the first stretch begins at 1.
    starts = np.array([1, *edges[1:-1]])
    stops = np.array(edges[1:])
    state = _warmed(weights, cell, sizes, ids, starts)
    length = int((stops - starts).max()) if len(ids) else 0
    for at in _steps(length, count, sizes):
        targets_at = starts[:, None] + np.arange(at.start, at.stop)  # [stretch, time]
        counted = targets_at < stops[:, None]
        targets_at = np.minimum(targets_at, len(ids) - 1)  # what lies beyond the end is read, but not counted
        output = forward(weights, cell, ids[targets_at - 1], state)
        state = output.state
        result.add(output.logits, ids[targets_at], counted)
    return result.result()


def _warmed(weights: Weights, cell: str, sizes: Sizes, ids: Ids, starts: NDArray[Any]) -> State:
    """The state of each stretch after the characters before it, but for the last, which is its first input."""
    state = zero_state(cell, sizes, len(starts))
    if len(starts) == 1:
        return state
    before = starts[1:, None] - WARM_UP + np.arange(WARM_UP - 1)
    warm = forward(weights, cell, ids[before]).state
    for layer, arrays in enumerate(warm):
        for array, values in zip(state[layer], arrays, strict=True):
            array[1:] = values
    return state


@one_thread()
def evaluate_windows(weights: Weights, cell: str, ids: Ids, window: int = WINDOW) -> Evaluation:
    """Score `ids` as nanoGPT does: windows of 256 characters, each from a zero state; what is left over is not read."""
    sizes, result = sizes_of(weights), _Sum()
    windows = (len(ids) - 1) // window
    batch = max(1, min(64, _NUMBERS // (window * max(sizes.vocab_size, 4 * sizes.rnn_size))))
    for first in range(0, windows, batch):
        starts = np.arange(first, min(first + batch, windows)) * window
        inputs_at = starts[:, None] + np.arange(window)
        targets = ids[inputs_at + 1]
        result.add(forward(weights, cell, ids[inputs_at]).logits, targets, np.ones(targets.shape, np.bool_))
    return result.result()


@one_thread()
def score_ids(weights: Weights, cell: str, ids: Ids) -> NDArray[np.float64]:
    """Nats of every character, float64 [characters]; NaN for unknown ones and the first, which nothing comes before."""
    sizes, state = sizes_of(weights), None
    result = np.full(len(ids), np.nan)
    for at in _steps(len(ids) - 1, 1, sizes):
        targets = ids[at.start + 1 : at.stop + 1]
        output = forward(weights, cell, ids[None, at.start : at.stop], state)
        state = output.state
        result[at.start + 1 : at.stop + 1] = np.where(targets != 0, nats(output.logits[0], targets), np.nan)
    return result


def _steps(length: int, batch: int, sizes: Sizes) -> Sequence[range]:
    """Cut `length` time steps into ranges that fit in memory."""
    size = max(1, _NUMBERS // (batch * max(sizes.vocab_size, 4 * sizes.rnn_size)))
    return [range(start, min(start + size, length)) for start in range(0, length, size)]


def evaluate_file(weights: Weights, cell: str, vocabulary: Vocabulary, path: str | os.PathLike[str]) -> Evaluation:
    """Score a UTF-8 text file. Its ids go to a temporary folder. Raises InvalidCorpus."""
    import tempfile  # here, because writing should not wait for it

    from charrnn.text.corpus import ingest

    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        corpus = ingest(path, Path(folder) / "corpus.ids", vocabulary=vocabulary)
        try:
            return evaluate_ids(weights, cell, corpus.ids)
        except InvalidCorpus as error:
            raise InvalidCorpus(f"{os.fspath(path)}: {error}") from None
