"""What a person should know about a text before a network learns it: its size, its characters, and what may go wrong.

It knows ids and how often each occurs; it does not know files, options or how the text is split for training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.text.vocabulary import UNKNOWN, UNKNOWN_CHARACTER, Vocabulary

_PREVIEW = 300  # characters
_COMMONEST = 10
_VERY_SHORT = 1_000  # characters
_MANY_ONCE, _MANY_ONCE_SHARE = 50, 0.25  # characters of the vocabulary, and their share of it
_MANY_UNKNOWN = 0.01  # of all characters
_TENTHS = 10
_BLOCKS, _BLOCK = 16, 1 << 16  # what is looked at of each tenth: blocks, and characters in each


@dataclass(frozen=True)
class TextReport:
    """A text at a glance. `commonest`: the ten commonest characters with their occurrences; `unknown`: characters of
    the text that are not in the vocabulary; `preview`: how the text begins; `warnings`: sentences, most often none."""

    characters: int
    distinct: int
    vocabulary_size: int
    unknown: int
    commonest: tuple[tuple[str, int], ...]
    preview: str
    warnings: tuple[str, ...]


def report(
    ids: NDArray[Any], counts: NDArray[np.int64], vocabulary: Vocabulary, distinct: int, least_validation: int
) -> TextReport:
    """The report on ids [characters] with their counts [len(vocabulary)]. Reads at most 10 million characters."""
    known = np.argsort(-counts[1:], kind="stable")[:_COMMONEST]
    warnings = (
        _length_warning(len(ids), least_validation),
        _unknown_warning(len(ids), int(counts[UNKNOWN]), distinct, vocabulary),
        _once_warning(counts, vocabulary),
        _replacement_warning(counts, vocabulary),
        _tail_warning(ids, vocabulary) if len(ids) >= _TENTHS * least_validation else None,
    )
    return TextReport(
        characters=len(ids),
        distinct=distinct,
        vocabulary_size=len(vocabulary),
        unknown=int(counts[UNKNOWN]),
        commonest=tuple((vocabulary.characters[i], int(counts[i + 1])) for i in known if counts[i + 1]),
        preview=vocabulary.decode(ids[:_PREVIEW]),
        warnings=tuple(warning for warning in warnings if warning),
    )


def _length_warning(characters: int, least_validation: int) -> str | None:
    if characters < _VERY_SHORT:
        return f"Very short: with {characters:,} characters the model can only learn the text by heart."
    if characters < _TENTHS * least_validation:
        return (
            f"Short: a tenth of {characters:,} characters is too little to check the model on, so nothing is held out "
            f"and the model may learn the text by heart. From {_TENTHS * least_validation:,} on it is checked."
        )
    return None


def _unknown_warning(characters: int, unknown: int, distinct: int, vocabulary: Vocabulary) -> str | None:
    if unknown <= _MANY_UNKNOWN * characters:
        return None
    return (
        f"{unknown / characters:.1%} of the text are characters that are not in the vocabulary of "
        f"{len(vocabulary) - 1:,}; the text has {distinct:,} distinct ones. They are learned as one unknown character. "
        "A larger max_vocab or a wider whitelist keeps them apart."
    )


def _once_warning(counts: NDArray[np.int64], vocabulary: Vocabulary) -> str | None:
    once = np.flatnonzero(counts[1:] == 1)
    if len(once) < max(_MANY_ONCE, _MANY_ONCE_SHARE * (len(vocabulary) - 1)):
        return None
    examples = " ".join(vocabulary.characters[i] for i in once[:8])
    return (
        f"{len(once):,} of the {len(vocabulary) - 1:,} characters occur only once ({examples} …): too little to learn "
        "how they are used. A smaller max_vocab treats them as unknown."
    )


def _replacement_warning(counts: NDArray[np.int64], vocabulary: Vocabulary) -> str | None:
    position = vocabulary.characters.find(UNKNOWN_CHARACTER)
    if position < 0 or not counts[position + 1]:
        return None
    return (
        f"{int(counts[position + 1]):,} characters are U+FFFD ({UNKNOWN_CHARACTER}), which stands where an earlier "
        "conversion lost one: convert the original again if you can."
    )


def _tail_warning(ids: NDArray[Any], vocabulary: Vocabulary) -> str | None:
    """Whether the last tenth uses its characters otherwise than the rest, and more so than other tenths do."""
    tenths = np.stack([_sampled_counts(ids, index, len(vocabulary)) for index in range(_TENTHS)])
    distances = [_distance(tenths[i], np.delete(tenths, i, axis=0).sum(axis=0)) for i in range(_TENTHS)]
    tail, usual = distances[-1], float(np.median(distances[:-1]))
    if tail < 0.05 or tail < 2.5 * usual:
        return None
    rest = tenths[:-1].sum(axis=0)
    difference = tenths[-1] / tenths[-1].sum() - rest / rest.sum()
    shown = ", ".join(
        f"{_shown(vocabulary, int(i))} {'more' if difference[i] > 0 else 'less'}"
        for i in np.argsort(-np.abs(difference))[:3]
    )
    return (
        f"The last tenth differs from the rest ({tail:.0%} of its characters; {shown}): a licence, an index, another "
        "book? The model would be checked on what it was not taught. Cut it off, or choose validation = spread."
    )


def _sampled_counts(ids: NDArray[Any], tenth: int, vocabulary_size: int) -> NDArray[np.int64]:
    start, stop = len(ids) * tenth // _TENTHS, len(ids) * (tenth + 1) // _TENTHS
    if stop - start <= _BLOCKS * _BLOCK:
        return np.bincount(ids[start:stop], minlength=vocabulary_size)
    starts = np.linspace(start, stop - _BLOCK, _BLOCKS).astype(np.int64)
    return sum(
        (np.bincount(ids[s : s + _BLOCK], minlength=vocabulary_size) for s in starts),
        start=np.zeros(vocabulary_size, dtype=np.int64),
    )


def _distance(counts: NDArray[np.int64], others: NDArray[np.int64]) -> float:
    """Total variation: the share of the characters that would have to be others for both to be alike, 0 to 1."""
    return float(np.abs(counts / counts.sum() - others / others.sum()).sum() / 2)


def _shown(vocabulary: Vocabulary, id: int) -> str:
    return "unknown characters" if id == UNKNOWN else repr(vocabulary.characters[id - 1])
