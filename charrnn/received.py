"""What people hand over: a path, bytes or an open file, copied to a file of ours and counted on the way.

It knows how to read each of them in pieces and when to give up. It does not know what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from charrnn.errors import CharRNNError, StorageUnavailable, TooLarge

#: a path (also as str), the content itself, or a file that is open for reading bytes
Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO

_PIECE = 1 << 20  # bytes


def receive(source: Source, target: Path, limit: int | None, refused: type[CharRNNError]) -> int:
    """Copy `source` to the new file `target` and return how many bytes it has.

    Raises `refused` for a source that cannot be read to its end, TooLarge for one of more than `limit` bytes and
    StorageUnavailable when `target` cannot be written; the caller removes what is there by then.
    """
    size = 0
    try:
        with target.open("xb") as file:
            for piece in _pieces(source, refused):
                size += len(piece)
                if limit is not None and size > limit:
                    raise TooLarge(f"{shown_name(source, 'it')} is too large: there is room for {limit:,} bytes")
                file.write(piece)
    except OSError as error:  # those of the source have become `refused`
        raise StorageUnavailable(f"it cannot be stored: {error.strerror or error}") from error
    return size


def shown_name(source: Source, otherwise: str) -> str:
    """What to call it: the name of its file, without folders, or `otherwise`."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(name, str | os.PathLike) or str(name).startswith("<"):  # a number, or <stdin>
        return otherwise
    return Path(name).name or otherwise


def _pieces(source: Source, refused: type[CharRNNError]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        yield source
    elif isinstance(source, str | os.PathLike):
        with _opened(Path(source), refused) as file:
            yield from _read(file, refused)
    elif callable(getattr(source, "read", None)):
        yield from _read(source, refused)
    else:
        raise refused(f"a path, bytes or an open file is needed, not {type(source).__name__}")


def _opened(path: Path, refused: type[CharRNNError]) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise refused(f"there is no file at {path}") from None
    except IsADirectoryError:
        raise refused(f"{path} is a folder; one file is needed") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise refused(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read(file: BinaryIO, refused: type[CharRNNError]) -> Iterator[bytes]:
    while True:
        try:
            piece = file.read(_PIECE)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise refused(f"it could not be read to its end: {error}") from error
        if not isinstance(piece, bytes):
            raise refused("the file must be open for reading bytes, with mode 'rb'")
        if not piece:
            return
        yield piece
