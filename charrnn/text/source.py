"""Reading a text file of any size, piece by piece, and refusing what is not UTF-8 text with the place and the reason.

It knows bytes, encodings and line ends. It does not know vocabularies, ids or where the result goes.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidCorpus
from charrnn.text.vocabulary import code_points

if TYPE_CHECKING:
    from hashlib import _Hash

# ASCII only, as it lies in the file; or code points, uint32 [characters].
Piece: TypeAlias = bytes | NDArray[np.uint32]
Taken = TypeVar("Taken")

BYTE_ORDER_MARK = "\ufeff"
_WIDE_MARKS = (  # the longer ones first: UTF-32 in little-endian begins like UTF-16
    (b"\xff\xfe\x00\x00", "UTF-32LE"),
    (b"\x00\x00\xfe\xff", "UTF-32BE"),
    (b"\xff\xfe", "UTF-16LE"),
    (b"\xfe\xff", "UTF-16BE"),
)
_LONGEST_MARK = 4  # bytes
_CONTAINERS = (
    (b"PK\x03\x04", "a ZIP container, as .docx, .odt and .epub are: save it as plain text"),
    (b"%PDF", "a PDF: save it as plain text"),
    (b"\x1f\x8b", "gzip-compressed: unpack it first"),
    (b"BZh", "bzip2-compressed: unpack it first"),
    (b"\xfd7zXZ", "xz-compressed: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed: unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an old Office document: save it as plain text"),
)
_SAMPLE_BYTES = 1 << 16


def normalise(text: str) -> str:
    """The text as a corpus holds it: without a leading byte order mark, and with LF where CRLF was."""
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")


def open_source(path: Path) -> BinaryIO:
    """An unbuffered file at its first byte. Raises InvalidCorpus unless it is a regular file that can be read."""
    try:
        mode = path.stat().st_mode  # before opening: to open a pipe would wait for its other end
        if stat.S_ISDIR(mode):
            raise InvalidCorpus(f"{path} is a folder; a corpus is one text file in UTF-8")
        if not stat.S_ISREG(mode):
            raise InvalidCorpus(f"{path} is a pipe or a device, and a text is read twice: save it to a file first")
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise InvalidCorpus(f"there is no file at {path}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidCorpus(f"{path} cannot be read: {reason}") from error


def read_pieces(path: Path, file: BinaryIO, *, chunk_bytes: int, digest: _Hash | None = None) -> Iterator[Piece]:
    """The text, normalised, in pieces that begin and end with whole characters; `digest` is given all bytes read.

    Joined, the pieces do not depend on `chunk_bytes`. Raises InvalidCorpus with the byte offset of the first NUL or the
    first byte that is not UTF-8.
    """
    edges = _Edges()
    for chunk in _read_ahead(file, chunk_bytes, digest):
        offset, whole = edges.cut(chunk)
        if whole:
            yield _accepted(path, offset, whole, partial(_piece, first=offset == 0))
    if edges.rest:
        yield _accepted(path, edges.offset, edges.rest, partial(_piece, first=edges.offset == 0))


class ArrivingText:
    """A text that still comes in, checked as far as it is there; what was taken lies in the file `path` already.

    Raises what `read_pieces` would raise for the whole file, as soon as it can be known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._edges = _Edges()

    def take(self, chunk: bytes) -> None:
        """What came next. Raises InvalidCorpus."""
        offset, whole = self._edges.cut(chunk)
        if whole:
            _accepted(self._path, offset, whole, bytes.decode)

    def end(self) -> None:
        """That was all. Raises InvalidCorpus."""
        if self._edges.rest:
            _accepted(self._path, self._edges.offset, self._edges.rest, bytes.decode)


def _accepted(path: Path, offset: int, chunk: bytes, take: Callable[[bytes], Taken]) -> Taken:
    """What `take`, which decodes, makes of a chunk of whole characters. Raises InvalidCorpus."""
    if offset == 0:
        _refuse_wide_marks(path, chunk)
    nul = chunk.find(b"\0")
    try:
        taken = take(chunk if nul < 0 else chunk[:nul])
    except UnicodeDecodeError:
        raise _not_utf8(path, offset + _first_wrong_byte(chunk)) from None
    if nul >= 0:
        raise _nul(path, offset + nul)
    return taken


def _piece(chunk: bytes, *, first: bool) -> Piece:
    if first:
        chunk = chunk.removeprefix(BYTE_ORDER_MARK.encode())
    lines = _without_crlf(chunk) if b"\r" in chunk else chunk
    return lines if lines.isascii() else code_points(lines.decode())


def _without_crlf(chunk: bytes) -> bytes:
    """What `chunk.replace(b"\\r\\n", b"\\n")` gives, in half of its time for a text of many lines."""
    codes = np.frombuffer(chunk, dtype=np.uint8)
    dropped = (codes[:-1] == 0x0D) & (codes[1:] == 0x0A)
    return bytes(codes[:-1][~dropped].data) + chunk[-1:]


def _first_wrong_byte(chunk: bytes) -> int:
    try:
        chunk.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(chunk)


def _read_ahead(file: BinaryIO, chunk_bytes: int, digest: _Hash | None) -> Iterator[bytes]:
    """The chunks of a file. The next one is read and hashed in a thread while the caller works on this one."""

    def read() -> bytes:
        chunk = file.read(chunk_bytes)
        if digest is not None:
            digest.update(chunk)
        return chunk

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="charrnn-read") as reader:
        ahead = reader.submit(read)
        while chunk := ahead.result():
            ahead = reader.submit(read)
            yield chunk


class _Edges:
    """Cuts chunks anew, so that no character, CRLF or byte order mark lies across an edge."""

    def __init__(self) -> None:
        self.offset = 0  # of what was not given out yet
        self.rest = b""

    def cut(self, chunk: bytes) -> tuple[int, bytes]:
        """What is whole by now, with its offset; it may be nothing. The rest waits for the next chunk."""
        joined = self.rest + chunk if self.rest else chunk
        edge = 0 if self.offset == 0 and len(joined) < _LONGEST_MARK else _last_edge(joined)
        self.rest = joined[edge:]
        offset, self.offset = self.offset, self.offset + edge
        return offset, joined[:edge]


def _last_edge(chunk: bytes) -> int:
    """Where to cut: before a CR that could be half a CRLF, or before a character whose last bytes are still to come."""
    if chunk[-1] < 0x80:
        return len(chunk) - (chunk[-1] == 0x0D)
    for back in range(1, min(3, len(chunk)) + 1):
        byte = chunk[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(chunk) - (back if back < length else 0)
    return len(chunk)


def _refuse_wide_marks(path: Path, start: bytes) -> None:
    for mark, encoding in _WIDE_MARKS:
        if start.startswith(mark):
            raise _wrong_encoding(path, 0, f"begins with the byte order mark of {encoding}", encoding)


def _nul(path: Path, offset: int) -> InvalidCorpus:
    start = _sample(path, 0)
    if encoding := _utf16_without_mark(start):
        return _wrong_encoding(path, offset, f"has a NUL at byte {offset:,} and looks like {encoding}", encoding)
    return InvalidCorpus(f"{path} has a NUL at byte {offset:,}{_container(start)}; a corpus is plain text in UTF-8")


def _not_utf8(path: Path, offset: int) -> InvalidCorpus:
    start, here = _sample(path, 0), _sample(path, offset)
    around = _sample(path, max(0, offset - _SAMPLE_BYTES // 2))
    place = f"at byte {offset:,} (line {_line(path, offset):,})"
    if hint := _container(start):
        return InvalidCorpus(f"{path} is not UTF-8 {place}{hint}")
    if encoding := _utf16_without_mark(start):
        return _wrong_encoding(path, offset, f"is not UTF-8 {place} and looks like {encoding}", encoding)
    if _ends_within_a_character(here):
        return InvalidCorpus(f"{path} ends in the middle of a character {place}: is the file complete?")
    if _looks_like_windows_1252(around):
        return _wrong_encoding(path, offset, f"is not UTF-8 {place} and looks like Windows-1252", "WINDOWS-1252")
    shown = " ".join(f"{byte:02X}" for byte in here[:4])
    return InvalidCorpus(f"{path} is not UTF-8 {place}: {shown} is no character; mend it there or save it as UTF-8")


def _wrong_encoding(path: Path, offset: int, what: str, encoding: str) -> InvalidCorpus:
    place = "" if f"byte {offset:,}" in what else f" at byte {offset:,}"
    return InvalidCorpus(f"{path} {what}{place}; save it as UTF-8, for example: iconv -f {encoding} -t UTF-8")


def _sample(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:  # not the one being read, whose position belongs to the reading thread
        file.seek(offset)
        return file.read(_SAMPLE_BYTES)


def _line(path: Path, offset: int) -> int:
    """The line, counted from 1, that holds the byte at `offset`."""
    lines, left = 1, offset
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, 1 << 20))):
            lines += chunk.count(b"\n")
            left -= len(chunk)
    return lines


def _container(start: bytes) -> str:
    return next((f" and looks like {what}" for magic, what in _CONTAINERS if start.startswith(magic)), "")


def _utf16_without_mark(start: bytes) -> str | None:
    """UTF-16LE or UTF-16BE when every other byte is where its high bytes would be: small, and only there."""
    sample = np.frombuffer(start[: len(start) // 2 * 2], dtype=np.uint8)
    high_bytes = sample < 0x09  # of Latin, Greek, Cyrillic, Hebrew, Arabic …; in text of 8 bits they do not occur
    even, odd = int(high_bytes[0::2].sum()), int(high_bytes[1::2].sum())
    most, least = max(even, odd), min(even, odd)
    if most < max(2, len(sample) // 200) or least > most // 20:
        return None
    if most < len(sample) // 4 and int((sample >= 0x80).sum()) < len(sample) // 5:
        return None  # letters of 8 bits with some NULs between them
    encoding = "UTF-16LE" if odd > even else "UTF-16BE"
    text = sample.tobytes().decode("utf-16-le" if odd > even else "utf-16-be", "replace")
    readable = sum(character.isprintable() or character in "\r\n\t" for character in text)
    return encoding if readable > 0.9 * len(text) else None


def _ends_within_a_character(here: bytes) -> bool:
    """Whether these last bytes of a file are the beginning of a character and nothing else."""
    try:
        here.decode()
    except UnicodeDecodeError as error:
        return error.start == 0 and error.reason == "unexpected end of data"
    return False


def _looks_like_windows_1252(around: bytes) -> bool:
    """Lone bytes above 127 among ASCII, as Western European text has them; not long runs, as other scripts have."""
    high = np.frombuffer(around, dtype=np.uint8) >= 0x80
    undefined = sum(around.count(bytes([byte])) for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D))
    valid = sum(character >= "\x80" and character != "\ufffd" for character in around.decode("utf-8", "replace"))
    return not undefined and valid == 0 and int(high.sum()) <= 0.25 * len(around) + 1
