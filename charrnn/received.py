"""What people hand over: a path, bytes, an open file or what comes in bit by bit, in a file of ours and counted.

It knows how to read each of them in pieces and when to give up. What is in them it has others look at.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from charrnn.errors import CharRNNError, InvalidOptions, StorageUnavailable, TooLarge

if TYPE_CHECKING:
    from charrnn.text.source import ArrivingText

#: a path (also as str), the content itself, or a file that is open for reading bytes
Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO

_PIECE = 1 << 20  # bytes


def receive(source: Source, target: Path, limit: int | None, refused: type[CharRNNError]) -> int:
    """Copy `source` to the new file `target` and return how many bytes it has.

    Raises `refused` for a source that cannot be read to its end, TooLarge for one of more than `limit` bytes and
    StorageUnavailable when `target` cannot be written; the caller removes what is there by then.
    """
    size = 0
    with _storing(), target.open("xb") as file:  # errors of the source have become `refused`
        for piece in _pieces(source, refused):
            size += len(piece)
            refuse_more(limit, size, shown_name(source, "it"))
            file.write(piece)
    return size


class Incoming:
    """A file that comes in bit by bit, in a scratch folder of its own until somebody takes it or it is closed.

    One thread at a time may use it. `limit` is how many bytes there is room for, `name` what its sender calls it.
    Everything raises StorageUnavailable when the file cannot be written.
    """

    def __init__(self, scratch: AbstractContextManager[Path], limit: int | None, name: str, *, is_text: bool) -> None:
        """`scratch`: makes the folder, and removes it at the end. `is_text`: refuse what is not as soon as it comes."""
        self.limit, self.name = limit, name
        self.size = 0  # bytes so far
        with contextlib.ExitStack() as stack:
            self.path = stack.enter_context(scratch) / "incoming"
            with _storing():
                self._file = stack.enter_context(self.path.open("xb"))
            self._stack = stack.pop_all()
        self._text: ArrivingText | None = None
        if is_text:
            from charrnn.text.source import ArrivingText

            self._text = ArrivingText(self.path)

    def write(self, data: bytes) -> None:
        """What came next. Raises TooLarge and, with the place, InvalidCorpus."""
        self.size += len(data)
        refuse_more(self.limit, self.size, self.name)
        with _storing():
            self._file.write(data)
            self._file.flush()  # whoever finds something wrong looks around there
        if self._text is not None:
            with self._under_its_name():
                self._text.take(data)

    def complete(self) -> Path:
        """That was all: the file, closed, to be read or moved. Raises InvalidCorpus."""
        with _storing():
            self._file.close()
        if self._text is not None:
            with self._under_its_name():
                self._text.end()
        return self.path

    def close(self) -> None:
        """Remove what is still there."""
        self._stack.close()

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _under_its_name(self) -> Iterator[None]:
        try:
            yield
        except CharRNNError as error:
            raise without_path(error, self.path, self.name) from None


def refuse_more(limit: int | None, size: int, name: str) -> None:
    """Raises TooLarge for something of more than `limit` bytes."""
    if limit is not None and size > limit:
        raise TooLarge(f"{name} is too large: there is room for {limit:,} bytes")


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(f"it cannot be stored: {error.strerror or error}") from error


def without_path(error: CharRNNError, path: Path, shown: str) -> CharRNNError:
    """The same error, with the name that a person knows in the place of the path of our copy."""
    message = str(error).replace(str(path), shown)
    if isinstance(error, InvalidOptions):
        return InvalidOptions(message, {name: text.replace(str(path), shown) for name, text in error.fields.items()})
    return type(error)(message)


# What Python calls open streams that are no files; a file may well be named "<b>.txt".
STREAMS = frozenset({"<stdin>", "<stdout>", "<stderr>"})


def shown_name(source: Source | Incoming, otherwise: str) -> str:
    """What to call it: the name of its file, without folders, or `otherwise`."""
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if not isinstance(name, str | os.PathLike) or str(name) in STREAMS:  # a number, or no file's name
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
