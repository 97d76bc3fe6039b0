"""A text as ids in a file: made in two passes over the source, mapped for reading, split for training and validation.

It knows how a text becomes an ids file and what can be asked of one. It does not know batches, epochs or networks.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidCorpus, InvalidOptions, WouldOverwrite
from charrnn.files import complete_or_absent
from charrnn.text import ids_file
from charrnn.text.ids_file import Facts
from charrnn.text.report import TextReport, report
from charrnn.text.source import normalise, open_source, read_pieces
from charrnn.text.vocabulary import CODE_POINTS, UNKNOWN, Vocabulary, commonest

__all__ = ["Corpus", "Part", "TextReport", "ingest", "normalise"]

LEAST_VALIDATION = 5_000  # characters; a shorter validation part says too little to be worth holding out
SPREAD_STRETCHES = 10
_CHUNK_BYTES = 1 << 20
_KEPT_BYTES = 16 << 20

IDs = NDArray[Any]


class Part:
    """One part of a corpus, for training or for validation: stretches of its ids, read as one sequence."""

    def __init__(self, ids: IDs, stretches: tuple[tuple[int, int], ...], vocabulary_size: int) -> None:
        self.stretches = stretches
        self._ids = ids
        self._vocabulary_size = vocabulary_size
        self._starts = [0]  # of each stretch, counted in characters of this part; at last the length of the part
        for start, stop in stretches:
            self._starts.append(self._starts[-1] + stop - start)

    def __len__(self) -> int:
        """Characters in this part."""
        return self._starts[-1]

    def __repr__(self) -> str:
        return f"<Part of {len(self):,} characters in {len(self.stretches)} stretches>"

    def read(self, start: int, stop: int) -> IDs:
        """The ids from `start` to `stop`, counted within this part: [stop - start], a copy, in the type of the corpus.

        Raises IndexError outside of the part and InvalidCorpus for an id that the vocabulary does not have.
        """
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"characters {start} to {stop} of a part that has {len(self)}")
        ids = np.empty(stop - start, dtype=self._ids.dtype.newbyteorder("="))
        index = bisect_right(self._starts, start) - 1
        done = 0
        while done < len(ids):
            first = self.stretches[index][0] + start + done - self._starts[index]
            piece = self._ids[first : min(self.stretches[index][1], first + len(ids) - done)]
            ids[done : done + len(piece)] = piece
            done += len(piece)
            index += 1
        if len(ids) and int(ids.max()) >= self._vocabulary_size:
            wrong = f"id {int(ids.max())} where there are {self._vocabulary_size}"
            raise InvalidCorpus(f"the ids file is damaged ({wrong}); make it again from the text")
        return ids


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids.

    `ids`: uint8, uint16 or uint32 [characters], mapped from the file and read-only. `counts`: int64 [len(vocabulary)],
    occurrences of every id in the whole text. `distinct`: characters of the source, before `max_vocab`.
    """

    ids: IDs
    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    path: Path
    source_sha256: str
    source_bytes: int
    distinct: int

    def __len__(self) -> int:
        """Characters in the whole text."""
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Corpus of {len(self):,} characters, {self.distinct:,} distinct: {self.path}>"

    def split(self, fraction: float = 0.1, kind: Literal["tail", "spread"] = "tail") -> tuple[Part, Part]:
        """The parts for training and for validation: the last `fraction` of the text, or ten evenly spread stretches.

        A validation part that would hold fewer than 5,000 characters is empty, and everything is for training.
        Raises InvalidOptions for a fraction outside of [0, 1) or another kind.
        """
        if not 0 <= fraction < 1:
            problem = f"{fraction} of the text cannot be held out; at least 0 and less than 1 can"
            raise InvalidOptions(f"validation_fraction: {problem}", {"validation_fraction": problem})
        if kind not in ("tail", "spread"):
            problem = f"{kind!r} is unknown; it is 'tail' or 'spread'"
            raise InvalidOptions(f"validation: {problem}", {"validation": problem})
        characters = len(self)
        held_out = characters - int(characters * (1 - fraction))
        if held_out < LEAST_VALIDATION:
            return self._part([(0, characters)]), self._part([])
        if kind == "tail":
            boundary = characters - held_out
            return self._part([(0, boundary)]), self._part([(boundary, characters)])
        return self._spread(held_out)

    def _spread(self, held_out: int) -> tuple[Part, Part]:
        """Each validation stretch lies in the middle of its tenth of the text, so neither end is only for it."""
        training, validation = [], []
        trained_to = 0
        for index in range(SPREAD_STRETCHES):
            tenth = len(self) * index // SPREAD_STRETCHES, len(self) * (index + 1) // SPREAD_STRETCHES
            length = held_out * (index + 1) // SPREAD_STRETCHES - held_out * index // SPREAD_STRETCHES
            start = tenth[0] + (tenth[1] - tenth[0] - length) // 2
            training.append((trained_to, start))
            validation.append((start, start + length))
            trained_to = start + length
        training.append((trained_to, len(self)))
        return self._part(training), self._part(validation)

    def _part(self, stretches: list[tuple[int, int]]) -> Part:
        return Part(self.ids, tuple(s for s in stretches if s[0] < s[1]), len(self.vocabulary))

    def report(self) -> TextReport:
        """What a person should know about this text before a network learns it."""
        return report(self.ids, self.counts, self.vocabulary, self.distinct, LEAST_VALIDATION)

    @classmethod
    def open(cls, ids_path: str | os.PathLike[str]) -> Corpus:
        """The corpus in an ids file. Raises InvalidCorpus when it is missing, cut short, damaged or not one of ours."""
        path = Path(ids_path)
        facts, ids = ids_file.open_mapped(path)
        facts.counts.flags.writeable = False
        return cls(ids, facts.vocabulary, facts.counts, path, facts.source_sha256, facts.source_bytes, facts.distinct)


def ingest(
    source: str | os.PathLike[str],
    ids_path: str | os.PathLike[str],
    *,
    max_vocab: int = 3500,
    whitelist: str | None = None,
    vocabulary: Vocabulary | None = None,
    extend: bool = False,
    progress: Callable[[float], None] | None = None,
    chunk_bytes: int = _CHUNK_BYTES,
) -> Corpus:
    """Turn a text file into an ids file and open it. Memory does not grow with the text.

    The vocabulary is made of the commonest `max_vocab` characters, of those in `whitelist` if one is given. A given
    `vocabulary` is used as it is; with `extend` it keeps its ids and the commonest new characters are appended while
    it has fewer than `max_vocab`. `progress` is called with the fraction done, 0 to 1, and may raise to give up.
    An ids file that exists is replaced once the new one is complete; until then nothing is changed.

    Raises InvalidCorpus, with path and byte offset, for a text that cannot be learned from; InvalidOptions for
    a `max_vocab` below 1 or a whitelist of which the text has nothing; WouldOverwrite when both paths are one file.
    """
    source, ids_path = Path(source), Path(ids_path)
    if max_vocab < 1:
        problem = f"{max_vocab} is too small; a vocabulary has at least 1 character"
        raise InvalidOptions(f"max_vocab: {problem}", {"max_vocab": problem})
    _keep_freed_memory()
    with open_source(source) as file:
        if ids_path.exists() and ids_path.samefile(source):
            raise WouldOverwrite(f"{ids_path} is the text itself; its ids need a file of their own")
        before = os.fstat(file.fileno())
        told = _Progress(file, 2 * before.st_size, progress)
        counts, sha256 = _count(source, file, chunk_bytes, told)
        if vocabulary is None or extend:
            vocabulary = _vocabulary(source, counts, vocabulary, max_vocab, whitelist)
        facts = _facts(counts, vocabulary, sha256, before.st_size)
        told.first_pass_done = True
        file.seek(0)
        try:
            with complete_or_absent(ids_path) as output:
                output.write(ids_file.header(facts))
                written = _write_ids(source, file, chunk_bytes, vocabulary, output, told)
                after = os.fstat(file.fileno())
                touched = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
                if touched or written != facts.characters:
                    raise InvalidCorpus(f"{source} was changed while it was read; try again when nothing writes to it")
        except OSError as error:
            raise InvalidCorpus(f"the ids of {source} cannot be written to {ids_path}: {error.strerror}") from error
    return Corpus.open(ids_path)


def _keep_freed_memory() -> None:
    """Let the C library reuse the memory of one chunk for the next, instead of giving it back and asking for it anew.

    glibc raises its limit for that to the size of the largest block that was freed; without, the passes spent
    up to half of their time in page faults. Elsewhere this costs nothing and changes nothing.
    """
    np.empty(_KEPT_BYTES, dtype=np.uint8)


class _Progress:
    """Tells the caller how far the two passes are."""

    def __init__(self, file: BinaryIO, total: int, callback: Callable[[float], None] | None) -> None:
        self.first_pass_done = False
        self._file, self._total, self._callback = file, total, callback

    def __call__(self) -> None:
        if self._callback is not None and self._total:
            passed = self._total // 2 if self.first_pass_done else 0
            self._callback(min(1.0, (passed + self._file.tell()) / self._total))


def _count(path: Path, file: BinaryIO, chunk_bytes: int, told: _Progress) -> tuple[NDArray[np.int64], str]:
    """The first pass: occurrences of every code point, int64 [1,114,112], and the SHA-256 of the file."""
    digest = hashlib.sha256()
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    pairs = np.zeros((256, 256), dtype=np.int64)
    for piece in read_pieces(path, file, chunk_bytes=chunk_bytes, digest=digest):
        if isinstance(piece, bytes):
            # Two at a time: to count takes as long for a pair as for one, and 65,536 counters still lie in the cache.
            np.add.at(pairs.reshape(-1), np.frombuffer(piece, "u2", len(piece) // 2).astype(np.intp), 1)
            if len(piece) % 2:
                counts[piece[-1]] += 1
        else:
            np.add.at(counts, piece.astype(np.intp), 1)
        told()
    counts[:256] += pairs.sum(axis=0) + pairs.sum(axis=1)
    if not counts.any():
        mark = " but for a byte order mark" if os.fstat(file.fileno()).st_size else ""
        raise InvalidCorpus(f"{path} is empty{mark}: there is nothing at byte 0 to learn from")
    return counts, digest.hexdigest()


def _vocabulary(
    path: Path, counts: NDArray[np.int64], parent: Vocabulary | None, max_vocab: int, whitelist: str | None
) -> Vocabulary:
    if parent is not None:
        new = np.where(parent.table == UNKNOWN, counts, 0)
        room = max(0, max_vocab - len(parent.characters))
        return parent.extended(commonest(new, room, whitelist))
    codes = np.flatnonzero(counts)
    if len(codes) == 1:
        only = chr(int(codes[0]))
        raise InvalidCorpus(
            f"{path} holds one character only, {only!r}, from byte 0 to its end; a text to learn from has at least two"
        )
    characters = commonest(counts, max_vocab, whitelist)
    if not characters:
        problem = f"none of its characters is in {path}"
        raise InvalidOptions(f"whitelist: {problem}", {"whitelist": problem})
    return Vocabulary(characters)


def _facts(code_counts: NDArray[np.int64], vocabulary: Vocabulary, sha256: str, source_bytes: int) -> Facts:
    codes = np.flatnonzero(code_counts)
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    np.add.at(counts, vocabulary.table[codes], code_counts[codes])
    return Facts(vocabulary, counts, sha256, source_bytes, distinct=len(codes))


def _write_ids(
    path: Path,
    file: BinaryIO,
    chunk_bytes: int,
    vocabulary: Vocabulary,
    output: BinaryIO,
    told: _Progress,
) -> int:
    """The second pass: the ids of every character, with plain writes. Returns how many there are."""
    id_type = ids_file.id_type(vocabulary)
    table = vocabulary.table.astype(id_type)
    ascii_table = table[:256].tobytes() if id_type.itemsize == 1 else None
    characters = 0

    def write(ids: bytes | memoryview) -> None:
        output.write(ids)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="charrnn-write") as writer:
        writing: Future[None] | None = None
        for piece in read_pieces(path, file, chunk_bytes=chunk_bytes):
            ids: bytes | memoryview
            if isinstance(piece, bytes) and ascii_table is not None:
                ids = piece.translate(ascii_table)
            else:
                ids = np.take(
                    table, np.frombuffer(piece, "u1") if isinstance(piece, bytes) else piece, mode="wrap"
                ).data
            if writing is not None:
                writing.result()
            writing = writer.submit(write, ids)
            characters += len(piece)
            told()
        if writing is not None:
            writing.result()
    return characters
