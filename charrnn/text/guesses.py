"""What a text costs those who only count: the losses that a network has to beat. It does not know networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charrnn.text.corpus import Corpus

COUNTED = 5_000_000  # characters whose pairs are counted, at most


@dataclass(frozen=True)
class Guesses:
    """Losses in nats per character, each lower than the one before."""

    evenly: float  # every character is as likely as any other: ln V
    characters: float  # each is as likely as it is frequent: H(X), Shannon 1948, section 6
    pairs: float  # as frequent after the one before it: H(Y | X), Shannon 1948, section 6


def guesses(corpus: Corpus) -> Guesses:
    """What guessing costs, for those who know how often characters, and pairs of them, occur in this very text.

    Pairs are counted in the first 5,000,000 characters.
    """
    counts = corpus.counts[corpus.counts > 0]
    ids = np.asarray(corpus.ids[:COUNTED], dtype=np.int64)
    kinds = len(corpus.vocabulary)
    _, pairs = np.unique(ids[:-1] * kinds + ids[1:], return_counts=True)
    singles = np.bincount(ids[:-1])
    return Guesses(math.log(len(counts)), _entropy(counts), _entropy(pairs) - _entropy(singles[singles > 0]))


def _entropy(counts: NDArray[np.int64]) -> float:
    """In nats, of frequencies that are counts."""
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))
