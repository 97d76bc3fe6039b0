"""What a text costs those who only count: the losses that a network has to beat. It does not know networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.corpus import Corpus

COUNTED = 5_000_000  # characters whose pairs are counted, at most
PIECE = 1 << 18  # characters that are counted at once


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
    pairs, times = _pairs(corpus)
    firsts = np.bincount(pairs // len(corpus.vocabulary), times)
    return Guesses(math.log(len(counts)), _entropy(counts), _entropy(times) - _entropy(firsts[firsts > 0]))


def _pairs(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The pairs that occur, each as first * V + second, and how often: piece by piece, in little memory."""
    pairs: NDArray[np.int64] = np.empty(0, np.int64)
    times: NDArray[Any] = np.empty(0, np.float64)
    end = min(len(corpus), COUNTED)
    for start in range(0, end - 1, PIECE):
        ids = np.asarray(corpus.ids[start : min(end, start + PIECE + 1)], np.int64)
        found, often = np.unique(ids[:-1] * len(corpus.vocabulary) + ids[1:], return_counts=True)
        pairs, place = np.unique(np.concatenate([pairs, found]), return_inverse=True)
        times = np.bincount(place, np.concatenate([times, often]))
    return pairs, times


def _entropy(counts: NDArray[Any]) -> float:
    """In nats, of frequencies that are counts."""
    shares = counts / counts.sum()
    return max(0.0, float(-(shares * np.log(shares)).sum()))
