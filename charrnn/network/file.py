"""Model and checkpoint files: named arrays and one JSON object, in one `.safetensors` file.

It knows what such a file looks like, and how one from a stranger is checked before anything in it is believed. It does
not know what the arrays mean. Nothing here, or in what it calls, runs code from a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidModel
from charrnn.files import complete_or_absent

FORMAT_VERSION = 1
METADATA_KEY = "charrnn"  # one key only: safetensors writes several in random order
HEADER_LIMIT = 32 * 2**20  # bytes; the longest vocabulary there can be takes five million
BRACKETS_LIMIT = 200_000  # objects and lists in a header: a training record has about a thousand

_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32,
    "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and metadata (JSON values) to `path`, whole or not at all.

    The bytes depend on nothing but the content. An existing file is replaced in one step; whoever reads meanwhile
    sees the old one. `format_version` is added to the metadata. Raises InvalidModel when a float is not finite or a
    dtype has no place in the format, and OSError.
    """
    import safetensors.numpy

    target = Path(path)
    arrays = {}
    for name, array in tensors.items():
        if array.dtype.newbyteorder("=").type not in _DTYPES.values():
            raise InvalidModel(f"{target}: {name} has dtype {array.dtype}, which the format does not hold")
        _check_finite(target, name, array)
        arrays[name] = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray makes scalars 1-d
    text = json.dumps(
        {"format_version": FORMAT_VERSION, **metadata}, sort_keys=True, ensure_ascii=False, allow_nan=False,
        separators=(",", ":"),
    )  # fmt: skip
    data = safetensors.numpy.save(arrays, {METADATA_KEY: text})
    with complete_or_absent(target) as file:
        file.write(data)


def read_tensors(
    path: str | os.PathLike[str], kind: str | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and the metadata of a file that `write_tensors` wrote. `kind`: what its metadata must say it is.

    Raises InvalidModel, naming the path and the reason, for anything else: missing, cut off, of another program or
    of a newer charrnn, damaged, or made to harm.
    """
    import safetensors.numpy

    source = Path(path)
    data, metadata = _read(source)
    if kind is not None and metadata.get("kind") != kind:
        raise InvalidModel(f"{source}: holds a {str(metadata.get('kind'))[:40]}; a {kind} is needed")
    try:
        tensors = safetensors.numpy.load(data)
    except Exception as error:  # the library's own errors have no common parent of their own
        raise InvalidModel(f"{source}: not a valid safetensors file ({error})") from error
    for name, array in tensors.items():
        _check_finite(source, name, array)
    return tensors, metadata


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file, and its metadata. The header is checked before the rest is read."""
    refusal = _foreign_name(path)
    if refusal:
        raise InvalidModel(f"{path}: {refusal}")
    try:
        if path.exists() and not path.is_file():
            found = "a folder" if path.is_dir() else "no file"
            raise InvalidModel(f"{path}: is {found}; a .safetensors file is needed")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            start += file.read(_header_length(path, start, size))
            header = _header(path, start)
            metadata = _metadata(path, header)
            _check_tensors(path, header, size - len(start))
            return start + file.read(), metadata
    except FileNotFoundError:
        raise InvalidModel(f"{path}: there is no such file") from None
    except OSError as error:
        raise InvalidModel(f"{path}: cannot be read ({error.strerror or error})") from error
    except MemoryError:
        raise InvalidModel(f"{path}: does not fit in memory") from None


def _header_length(path: Path, start: bytes, size: int) -> int:
    """Bytes of the header, from the first eight of a file."""
    refusal = _foreign_content(start)
    if refusal:
        raise InvalidModel(f"{path}: {refusal}")
    if len(start) < 8:
        raise InvalidModel(f"{path}: cut off or empty, only {len(start)} bytes")
    length = int.from_bytes(start, "little")
    if length > HEADER_LIMIT:
        raise InvalidModel(
            f"{path}: not a charrnn model: its first bytes announce a header of {length} bytes, "
            f"where at most {HEADER_LIMIT} are allowed"
        )
    if 8 + length > size:
        raise InvalidModel(f"{path}: cut off: {size} bytes, and the header alone ends at byte {8 + length}")
    return length


_INSTEAD = "train again on the text; a charrnn model is one .safetensors file"


def _foreign_name(path: Path) -> str | None:
    """Why a file of this name is refused unread; None if it is not."""
    name = path.name.lower()
    if name.endswith((".pkl", ".pickle")):
        return f"a pickle, which can run any code when it is opened, so charrnn never opens one; {_INSTEAD}"
    is_checkpoint = name == "checkpoint" or any(part.startswith("ckpt") for part in name.split(".")[1:])
    if is_checkpoint or name.endswith((".index", ".meta")) or ".data-000" in name:
        return f"a TensorFlow checkpoint, which charrnn does not read; {_INSTEAD}"
    if name.endswith((".h5", ".hdf5", ".keras")):
        return f"a Keras model, which charrnn does not read; {_INSTEAD}"
    return None


def _foreign_content(start: bytes) -> str | None:
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and start[2:8] != bytes(6):
        return f"a pickle, which can run any code when it is opened, so charrnn never opens one; {_INSTEAD}"
    if start == b"\x89HDF\r\n\x1a\n":
        return f"an HDF5 file, as Keras writes them, which charrnn does not read; {_INSTEAD}"
    if start.startswith(b"PK\x03\x04"):
        return f"a zip archive, as PyTorch and Keras write them, which charrnn does not read; {_INSTEAD}"
    return None


def _header(path: Path, start: bytes) -> dict[str, Any]:
    header = _json(path, start[8:], "header")
    if not isinstance(header, dict):
        raise InvalidModel(f"{path}: not a charrnn model: its header is no JSON object")
    return header


def _metadata(path: Path, header: dict[str, Any]) -> dict[str, Any]:
    texts = header.pop("__metadata__", None)
    text = texts.get(METADATA_KEY) if isinstance(texts, dict) else None
    if not isinstance(text, str):
        raise InvalidModel(f"{path}: a safetensors file, but not charrnn's: it has no metadata {METADATA_KEY!r}")
    metadata = _json(path, text.encode("utf-8", "surrogatepass"), f"metadata {METADATA_KEY!r}")
    version = metadata.get("format_version") if isinstance(metadata, dict) else None
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidModel(f"{path}: metadata {METADATA_KEY!r} has no format_version")
    if version > FORMAT_VERSION:
        raise InvalidModel(
            f"{path}: written by a newer charrnn (format {version}; this one reads up to {FORMAT_VERSION}): upgrade"
        )
    return dict(metadata)


def _json(path: Path, text: bytes, what: str) -> Any:
    """Parse JSON of a stranger: no duplicate names, no NaN, bounded in depth and number of objects."""
    if text.count(b"{") + text.count(b"[") > BRACKETS_LIMIT:
        raise InvalidModel(f"{path}: its {what} holds more than {BRACKETS_LIMIT} lists and objects")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise InvalidModel(f"{path}: its {what} is nested too deeply") from None
    except ValueError as error:  # of UTF-8, of JSON, of too long a number
        raise InvalidModel(f"{path}: its {what} is not valid JSON ({str(error)[:200]})") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is given twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_tensors(path: Path, header: dict[str, Any], size: int) -> None:
    """That the arrays tile the `size` bytes after the header exactly, each as long as its shape and dtype say."""
    spans = []
    for name, entry in header.items():
        where = f"{path}: array {name[:80]!r}"
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise InvalidModel(f"{where} is not described by dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise InvalidModel(f"{where} has dtype {str(dtype)[:40]!r}, which charrnn does not use")
        if not _is_counts(shape) or len(shape) > 8 or not _is_counts(offsets) or len(offsets) != 2:
            raise InvalidModel(f"{where} has a shape or offsets that are no list of whole numbers")
        length = np.dtype(_DTYPES[dtype]).itemsize
        for dimension in shape:
            length *= dimension
        if offsets[1] - offsets[0] != length:
            raise InvalidModel(f"{where} has {offsets[1] - offsets[0]} bytes where {dtype} {shape} takes {length}")
        spans.append((offsets[0], offsets[1], name))
    end = 0
    for start, stop, name in sorted(spans):
        if start != end:
            raise InvalidModel(f"{path}: array {name[:80]!r} starts at byte {start} of the data where {end} is right")
        end = stop
    if end > size:
        raise InvalidModel(f"{path}: cut off: the arrays take {end} bytes, {size} are there")
    if end < size:
        raise InvalidModel(f"{path}: {size - end} bytes too long")


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_finite(path: Path, name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InvalidModel(f"{path}: array {name[:80]!r} holds numbers that are not finite")
