"""Which character has which id: the table between text and the numbers that a network reads.

It knows code points, ids and how often a character occurred; it does not know files, chunks or networks.
Id 0 is *unknown*; the characters of the vocabulary have the ids 1, 2, … in their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from charrnn.errors import InvalidModel

CODE_POINTS = 0x110000
UNKNOWN = 0
UNKNOWN_CHARACTER = "\ufffd"
_FIRST_SURROGATE, _LAST_SURROGATE = 0xD800, 0xDFFF


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points of a text: uint32 [characters], read-only. Lone surrogates are code points too."""
    if not text:
        return np.empty(0, dtype=np.uint32)
    codes = np.array([text]).view(np.uint32)  # NumPy's strings are code points, and this copy is its quickest
    codes.flags.writeable = False
    return codes


class Vocabulary:
    """An immutable list of characters. Id 0 means unknown, the first character has id 1.

    Raises InvalidModel when `characters` is empty, holds a character twice or holds a lone surrogate.
    """

    def __init__(self, characters: str) -> None:
        if not isinstance(characters, str):
            raise InvalidModel(f"a vocabulary is a string of characters, not {type(characters).__name__}")
        if not characters:
            raise InvalidModel("a vocabulary needs at least one character; this one is empty")
        codes = code_points(characters)
        if np.any((codes >= _FIRST_SURROGATE) & (codes <= _LAST_SURROGATE)):
            raise InvalidModel("a vocabulary holds characters; this one holds a lone surrogate, which is half of one")
        distinct, occurrences = np.unique(codes, return_counts=True)
        if len(distinct) < len(codes):
            twice = chr(int(distinct[np.argmax(occurrences > 1)]))
            raise InvalidModel(f"a vocabulary holds a character once; {twice!r} (U+{ord(twice):04X}) is in it twice")
        self._characters = characters

    @property
    def characters(self) -> str:
        """The known characters in the order of their ids: `characters[i]` has the id `i + 1`."""
        return self._characters

    def __len__(self) -> int:
        """How many ids there are: the characters and the unknown."""
        return len(self._characters) + 1

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and bool(self.table[ord(character)])

    def __eq__(self, other: object) -> bool:
        return self._characters == other._characters if isinstance(other, Vocabulary) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._characters)

    def __repr__(self) -> str:
        shown = self._characters if len(self._characters) <= 20 else self._characters[:20] + "…"
        return f"<Vocabulary of {len(self._characters):,} characters: {shown!r}>"

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """Code point → id: int32 [1,114,112], read-only. Memory is taken only where a character lies."""
        table = np.zeros(CODE_POINTS, dtype=np.int32)
        table[code_points(self._characters)] = np.arange(1, len(self), dtype=np.int32)
        table.flags.writeable = False
        return table

    @cached_property
    def _codes(self) -> NDArray[np.uint32]:
        return code_points(UNKNOWN_CHARACTER + self._characters)

    def encode(self, text: str) -> NDArray[np.int32]:
        """The ids of a text: int32 [characters]. What the vocabulary does not hold is 0, lone surrogates too."""
        # Every code point is inside the table: "wrap" never wraps, it only spares NumPy the check.
        return np.take(self.table, code_points(text), mode="wrap")

    def decode(self, ids: ArrayLike) -> str:
        """The text of ids [characters]; id 0 becomes U+FFFD. Raises ValueError for an id that does not exist."""
        array = np.asarray(ids)
        if array.size == 0:
            return ""
        if array.dtype.kind not in "iu":
            raise ValueError(f"ids are integers, not {array.dtype}")
        lowest, highest = int(array.min()), int(array.max())
        if lowest < 0 or highest >= len(self):
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"id {wrong} does not exist; this vocabulary has the ids 0 to {len(self) - 1}")
        return str(self._codes[array.ravel()].astype("<u4", copy=False).tobytes(), "utf-32-le")

    def unknown_in(self, text: str) -> str:
        """The distinct characters of a text that the vocabulary does not hold, in the order of their appearance."""
        ids = self.encode(text)
        return "".join(dict.fromkeys(text[i] for i in np.flatnonzero(ids == UNKNOWN)))

    def extended(self, characters: str) -> Vocabulary:
        """A vocabulary in which every id keeps its meaning and the characters that are new have the next ids."""
        new = self.unknown_in(characters)
        return Vocabulary(self._characters + new) if new else self

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads: `{"characters": "…"}`."""
        return {"characters": self._characters}

    @classmethod
    def from_json(cls, data: object) -> Vocabulary:
        """The vocabulary that `to_json` wrote. Raises InvalidModel for anything else."""
        if not isinstance(data, dict) or set(data) != {"characters"} or not isinstance(data["characters"], str):
            raise InvalidModel('a vocabulary is stored as {"characters": "…"}; this one is not')
        return cls(data["characters"])

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[int, int] | Sequence[int] | NDArray[np.integer[Any]],
        *,
        max_vocab: int = 3500,
        whitelist: str | None = None,
    ) -> Vocabulary:
        """The commonest characters, at most `max_vocab`, by falling frequency and then by code point.

        `counts` maps code points to occurrences, or is an array of occurrences with the code point as its index.
        With a `whitelist` only its characters are taken. Raises InvalidModel when no character is left.
        """
        return cls(commonest(counts, max_vocab, whitelist))


def commonest(
    counts: Mapping[int, int] | Sequence[int] | NDArray[np.integer[Any]], limit: int, whitelist: str | None = None
) -> str:
    """At most `limit` characters by falling count, ties by code point, only those in `whitelist` if one is given.

    `counts` as in `Vocabulary.from_counts`. Empty when nothing is left.
    """
    if isinstance(counts, Mapping):
        codes = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        occurrences = np.fromiter(counts.values(), dtype=np.int64, count=len(counts))
    else:
        all_occurrences = np.asarray(counts, dtype=np.int64)
        codes = np.flatnonzero(all_occurrences)
        occurrences = all_occurrences[codes]
    wanted = occurrences > 0
    if whitelist is not None:
        wanted &= np.isin(codes, code_points(whitelist))
    codes, occurrences = codes[wanted], occurrences[wanted]
    order = np.lexsort((codes, -occurrences))[:limit]
    return "".join(map(chr, codes[order].tolist()))
