"""The longest run of a short text that stands, character for character, in a corpus of any length.

It knows ids and how to find the same ones in a file that is read once, in pieces. It does not know who wrote the text.

A run of 2k - 1 characters or more holds a whole *word* of the corpus: k characters that begin at a multiple of k, and
fill 64 bits. So only the words of the corpus are looked up among all that the text has, which is one look for eight
characters. What is looked for grows with the longest run so far: to be longer than that, a run must hold so many words
one after another. Shorter runs, of which there is need only if no longer one was found, are looked for in smaller
words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import UNKNOWN

Ids = NDArray[Any]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]

_WORDS_AT_ONCE = 1 << 17
_PAIRS_AT_ONCE = 1 << 18  # of a place in the corpus and one in the text, that are compared
_MIX = np.uint64(0x9E3779B97F4A7C15)  # an odd number without pattern: Knuth's multiplicative hashing
_AROUND = 80  # characters that are shown before and after a run


@dataclass(frozen=True)
class Copy:
    """A run of characters that a text and a corpus have in common."""

    start: int  # in the text, in characters
    length: int  # characters
    offset: int  # in the corpus, in characters
    line: int  # of the corpus, counted from 1
    before: str  # what stands before it in the corpus
    after: str


def longest_copy(text: str, corpus: Corpus, progress: Callable[[float], None] | None = None) -> Copy | None:
    """The longest run of `text` that stands in the corpus, of several the first; None: not one character does.

    Characters that are not in the vocabulary of the corpus stand nowhere. `progress` is called with the fraction done,
    and may raise to give up. Memory does not grow with the corpus; the time is that of reading it once, as a rule.
    """
    found = None
    for done, longest in search_copies(text, corpus):
        found = longest
        if progress is not None:
            progress(done)
    return found


def search_copies(text: str, corpus: Corpus) -> Iterator[tuple[float, Copy | None]]:
    """As `longest_copy`: the fraction done and the longest run so far, again and again; the last one is the result."""
    ids = corpus.vocabulary.encode(text).astype(corpus.ids.dtype)
    with corpus.path.open("rb") as file:
        source = _Source(file, corpus)
        longest = _Run(0, 0, 0)
        yield 0.0, None
        size = 8 // corpus.ids.dtype.itemsize
        while size and longest.length < 2 * size - 1 and np.any(ids != UNKNOWN):
            search = _Search(ids, source, size, max(longest, _Run(0, 0, 2 * size - 2), key=lambda run: run.length))
            for done in search.run():
                yield min(done, 0.99), None if not search.found else source.copy(search.longest, line=0)
            if search.found:
                longest = search.longest
                break
            size //= 2
        yield 1.0, source.copy(longest, source.line(longest.offset)) if longest.length else None


@dataclass(frozen=True)
class _Run:
    start: int
    offset: int
    length: int


class _Source:
    """The ids of a corpus, read from its file: a map would stay in memory."""

    def __init__(self, file: BinaryIO, corpus: Corpus) -> None:
        self._file, self._corpus = file, corpus
        self.kind = corpus.ids.dtype
        self.length = len(corpus)
        self._begin = file.seek(0, 2) - self.length * self.kind.itemsize

    def read(self, start: int, stop: int) -> Ids:
        """Ids [stop - start], or fewer at the ends of the corpus."""
        start, stop = max(0, start), min(stop, self.length)
        self._file.seek(self._begin + start * self.kind.itemsize)
        return np.frombuffer(self._file.read(max(0, stop - start) * self.kind.itemsize), self.kind)

    def line(self, offset: int) -> int:
        """The line, counted from 1, that holds the character at `offset`."""
        newline = self._corpus.vocabulary.encode("\n")[0]
        if newline == UNKNOWN:
            return 1
        steps = range(0, offset, 8 * _WORDS_AT_ONCE)
        pieces = (self.read(start, min(offset, start + steps.step)) for start in steps)
        return 1 + sum(int(np.count_nonzero(piece == newline)) for piece in pieces)

    def copy(self, run: _Run, line: int) -> Copy:
        """The run with what is around it."""
        end = run.offset + run.length
        before, after = self.read(run.offset - _AROUND, run.offset), self.read(end, end + _AROUND)
        decode = self._corpus.vocabulary.decode
        return Copy(run.start, run.length, run.offset, line, decode(before), decode(after))


class _Search:
    """One reading of the corpus, for runs longer than `longest`, which must have at least 2 * size - 2 characters."""

    def __init__(self, ids: Ids, source: _Source, size: int, longest: _Run) -> None:
        self._size, self._source, self.longest = size, source, longest
        self.found = False
        self._ids, self._edge = ids, 2 * size
        none = np.zeros(self._edge, ids.dtype)
        self._padded = np.concatenate([none, ids, none])  # so that every look around a word finds something
        if len(ids) >= size:
            windows = np.lib.stride_tricks.sliding_window_view(ids, size)
            self._words = _as_words(np.ascontiguousarray(windows), size)
            self._whole = np.all(windows != UNKNOWN, axis=1)
        else:
            self._words, self._whole = np.empty(0, np.uint64), np.empty(0, np.bool_)
        bits = max(10, 4 + len(ids).bit_length())
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, np.bool_)
        self._table[self._places(self._words[self._whole])] = True
        self._look_for()

    def run(self) -> Iterator[float]:
        """The fraction done, after each piece of the corpus."""
        total = self._source.length // self._size
        overlap = len(self._ids) // self._size + 1
        for first in range(0, total, _WORDS_AT_ONCE):
            last = min(total, first + _WORDS_AT_ONCE + overlap)
            ids = self._source.read(first * self._size, last * self._size)
            while self._improve(first, _as_words(ids, self._size)):
                if self.longest.length == len(self._ids):
                    return
            yield min(first + _WORDS_AT_ONCE, total) / total

    def _places(self, words: Words) -> Words:
        return (words * _MIX) >> self._shift

    def _look_for(self) -> None:
        """Prepare for runs that are longer than the longest so far: the hashes of so many words in a row."""
        self._count = count = (self.longest.length + 1 - (self._size - 1)) // self._size
        starts = max(0, len(self._words) - (count - 1) * self._size)
        hashes, whole = np.zeros(starts, np.uint64), np.ones(starts, np.bool_)
        for word in reversed(range(count)):
            at = slice(word * self._size, word * self._size + starts)
            hashes = hashes * _MIX + self._words[at]
            whole &= self._whole[at]
        starting_at = np.flatnonzero(whole)
        order = starting_at[np.argsort(hashes[starting_at], kind="stable")]
        self._hashes, self._starts = hashes[order], order

    def _improve(self, first: int, words: Words) -> bool:
        """Look for a longer run in words of the corpus, the first of which is its `first`."""
        count = self._count
        if len(words) < count or not len(self._starts):
            return False
        known = self._table[self._places(words)]
        if count > 1:
            sums = np.concatenate([[0], np.cumsum(known, dtype=np.int32)])
            known = sums[count:] - sums[:-count] == count
        begins = np.flatnonzero(known)
        hashes = np.zeros(len(begins), np.uint64)
        for word in reversed(range(count)):
            hashes = hashes * _MIX + words[begins + word]
        low, high = np.searchsorted(self._hashes, hashes, "left"), np.searchsorted(self._hashes, hashes, "right")
        begins, low, high = (array[low < high] for array in (begins, low, high))
        sums = np.cumsum(high - low)
        done = 0
        while done < len(begins):
            until = max(done + 1, int(np.searchsorted(sums, (sums[done - 1] if done else 0) + _PAIRS_AT_ONCE)))
            part = slice(done, until)
            if self._compare((first + begins[part]) * self._size, low[part], high[part]):
                return True
            done = until
        return False

    def _compare(self, offsets: Numbers, low: Numbers, high: Numbers) -> bool:
        """Whether one of the places of the corpus begins a longer run, together with one of its places in the text."""
        counts = high - low
        nth = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        starts, offsets = self._starts[np.repeat(low, counts) + nth], np.repeat(offsets, counts)
        least, most = int(offsets.min()) - self._size, int(offsets.max()) + (self._count + 2) * self._size
        near, least = self._source.read(least, most), max(0, least)
        left = self._alike(near, offsets - least, starts, -1, self._size)
        right = self._alike(
            near, offsets - least + self._count * self._size - 1, starts + self._count * self._size - 1, 1,
            2 * self._size - 1,
        )  # fmt: skip
        # with a whole word more on the left, the run begins with another one, at which it is found
        longer = (left < self._size) & (left + self._count * self._size + right > self.longest.length)
        for index in np.flatnonzero(longer):
            if self._extend(int(offsets[index]), int(starts[index]), int(left[index])):
                return True
        return False

    def _alike(self, near: Ids, offsets: Numbers, starts: Numbers, way: int, most: int) -> Numbers:
        """How many characters before (-1) or after (1) these places are alike, at most `most`."""
        alike, count = np.ones(len(offsets), np.bool_), np.zeros(len(offsets), np.int64)
        for step in range(1, most + 1):
            there, here = offsets + way * step, self._padded[starts + self._edge + way * step]
            inside = (there >= 0) & (there < len(near))
            alike &= inside & (here != UNKNOWN) & (near[np.where(inside, there, 0)] == here)
            count += alike
        return count

    def _extend(self, offset: int, start: int, left: int) -> bool:
        """Take the whole run if it is longer than the longest so far: it is, unless hashes were equal by chance."""
        offset, start = offset - left, start - left
        here = self._ids[start:]
        there = self._source.read(offset, offset + len(here))
        differs = np.flatnonzero((here[: len(there)] != there) | (there == UNKNOWN))
        length = int(differs[0]) if len(differs) else len(there)
        if length <= self.longest.length:
            return False
        self.longest, self.found = _Run(start, offset, length), True
        self._look_for()
        return True


def _as_words(ids: Ids, size: int) -> Words:
    """Uint64 [ids / size], of `size` ids each."""
    return ids.view(f"<u{size * ids.dtype.itemsize}").ravel().astype(np.uint64, copy=False)
