"""The ids file: a safetensors file that is checked when it is opened.

It knows the layout: tensors `counts` (int64, occurrences of every id) and `ids` (uint8, uint16 or uint32, one for every
character) and one metadata key, `charrnn`, with JSON. It does not know where ids come from or what they are for.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidCorpus, InvalidModel
from charrnn.text.vocabulary import CODE_POINTS, Vocabulary

FORMAT_VERSION = 1
_LONGEST_HEADER = 100_000_000  # bytes, the limit of safetensors
_ID_TYPES: dict[str, np.dtype[Any]] = {"U8": np.dtype("u1"), "U16": np.dtype("<u2"), "U32": np.dtype("<u4")}
_COUNT_TYPE: np.dtype[Any] = np.dtype("<i8")


@dataclass(frozen=True, eq=False)
class Facts:
    """What the file says about its ids. `counts`: int64 [len(vocabulary)], occurrences of every id."""

    vocabulary: Vocabulary
    counts: NDArray[np.int64]
    source_sha256: str
    source_bytes: int
    distinct: int

    @property
    def characters(self) -> int:
        return int(self.counts.sum())


def id_type(vocabulary: Vocabulary) -> np.dtype[Any]:
    """The smallest unsigned integer that holds every id, in little-endian."""
    return _ID_TYPES[_id_type_name(vocabulary)]


def header(facts: Facts) -> bytes:
    """Everything that stands before the ids."""
    metadata = {
        "format_version": FORMAT_VERSION,
        "kind": "corpus",
        "vocabulary": facts.vocabulary.to_json(),
        "source_sha256": facts.source_sha256,
        "source_bytes": facts.source_bytes,
        "distinct": facts.distinct,
    }
    ids_start = len(facts.counts) * _COUNT_TYPE.itemsize
    ids_stop = ids_start + facts.characters * id_type(facts.vocabulary).itemsize
    content = {
        "__metadata__": {"charrnn": json.dumps(metadata, sort_keys=True, ensure_ascii=False)},
        "counts": {"dtype": "I64", "shape": [len(facts.counts)], "data_offsets": [0, ids_start]},
        "ids": {
            "dtype": _id_type_name(facts.vocabulary),
            "shape": [facts.characters],
            "data_offsets": [ids_start, ids_stop],
        },
    }
    encoded = json.dumps(content, ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)  # so that the tensors are aligned
    return len(encoded).to_bytes(8, "little") + encoded + facts.counts.astype(_COUNT_TYPE).tobytes()


def open_mapped(path: Path) -> tuple[Facts, NDArray[Any]]:
    """What the file says and its ids [characters], mapped and read-only.

    Raises InvalidCorpus when it is missing, cut short, damaged or not an ids file. The ids themselves are not read.
    """
    try:
        with path.open("rb") as file:
            return _open_checked(path, file)
    except FileNotFoundError:
        raise InvalidCorpus(f"there is no ids file at {path}") from None
    except OSError as error:
        raise InvalidCorpus(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, InvalidModel) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InvalidCorpus(f"{path} is no whole ids file of charrnn: {reason}; make it again from the text") from error


def _open_checked(path: Path, file: BinaryIO) -> tuple[Facts, NDArray[Any]]:
    size = os.fstat(file.fileno()).st_size
    header_bytes = int.from_bytes(file.read(8), "little")
    _require(2 <= header_bytes <= min(_LONGEST_HEADER, size - 8), "its beginning is not that of a safetensors file")
    content = json.loads(file.read(header_bytes))
    _require(isinstance(content, dict), "its header is not a JSON object")
    metadata = _metadata(content)
    vocabulary = Vocabulary.from_json(metadata["vocabulary"])
    _require(set(content) == {"__metadata__", "counts", "ids"}, "it has other tensors than counts and ids")

    characters = _length(content["ids"])
    type_name = _id_type_name(vocabulary)
    start, counts_bytes = 8 + header_bytes, len(vocabulary) * _COUNT_TYPE.itemsize
    stop = counts_bytes + characters * _ID_TYPES[type_name].itemsize
    counts_entry = {"dtype": "I64", "shape": [len(vocabulary)], "data_offsets": [0, counts_bytes]}
    ids_entry = {"dtype": type_name, "shape": [characters], "data_offsets": [counts_bytes, stop]}
    _require(content["counts"] == counts_entry, "its counts do not fit its vocabulary")
    _require(content["ids"] == ids_entry, "its ids do not fit its vocabulary")
    _require(start + stop == size, f"it has {size:,} bytes where {start + stop:,} are said to be")

    counts = np.frombuffer(file.read(counts_bytes), dtype=_COUNT_TYPE).astype(np.int64)
    right = bool(np.all((counts >= 0) & (counts <= characters))) and int(counts.sum()) == characters
    _require(right, "its counts do not add up to its characters")
    facts = Facts(vocabulary, counts, metadata["source_sha256"], metadata["source_bytes"], metadata["distinct"])
    mapped = np.memmap(path, _ID_TYPES[type_name], mode="r", offset=start + counts_bytes, shape=(characters,))
    return facts, mapped.view(np.ndarray)


def _metadata(content: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads(content["__metadata__"]["charrnn"])
    _require(isinstance(metadata, dict), "its metadata are not a JSON object")
    _require(metadata["kind"] == "corpus", f"it holds a {metadata['kind']}")
    version = metadata["format_version"]
    _require(version == FORMAT_VERSION, f"its format version is {version}, and this charrnn reads {FORMAT_VERSION}")
    sha256, source_bytes, distinct = metadata["source_sha256"], metadata["source_bytes"], metadata["distinct"]
    _require(isinstance(sha256, str) and len(sha256) == 64, "its source_sha256 is not one")
    _require(type(source_bytes) is int and source_bytes > 0, "its source_bytes are not a positive number")
    _require(type(distinct) is int and 0 < distinct <= CODE_POINTS, "its distinct is not a number of characters")
    return metadata


def _length(entry: object) -> int:
    shape = entry["shape"] if isinstance(entry, dict) else None
    if isinstance(shape, list) and len(shape) == 1 and type(shape[0]) is int and shape[0] > 0:
        return shape[0]
    raise ValueError("its ids are not one row of numbers")


def _id_type_name(vocabulary: Vocabulary) -> str:
    return next(name for name, kind in _ID_TYPES.items() if len(vocabulary) - 1 <= np.iinfo(kind).max)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
