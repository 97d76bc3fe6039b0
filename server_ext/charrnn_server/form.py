"""What comes as the body of an upload: a form as browsers and curl send it (RFC 7578), or nothing but the file.

It knows the format and how much of everything may come: fields are kept, what belongs to the one file is passed on
piece by piece. It does not know what the fields mean or where the file goes.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from tornado.web import HTTPError

from charrnn.errors import TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"
MOST_FIELDS = 64
FIELD_BYTES = 64_000
HEADERS_BYTES = 16_000  # of one part
BESIDE_FILE = MOST_FIELDS * (FIELD_BYTES + HEADERS_BYTES)  # bytes of a form, at most
_PLAIN = (b"", b"text/plain", b"text/markdown", b"application/octet-stream")
_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")

logging.getLogger(MultipartParser.__module__).setLevel(logging.ERROR)  # what strangers send is told them, not the log


class PlainBody:
    """A body that is nothing but the file. Its name is in no form."""

    beside_file = 0

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None

    def feed(self, data: bytes) -> bytes:
        """What of `data` belongs to the file."""
        return data

    def end(self) -> None:
        """That was all."""


class Form(PlainBody):
    """A form with one file in the field `file`, and other fields before or after it.

    `fields` are those that have come whole, `file_name` is None until the file begins. Everything raises HTTPError 400
    for what is no such form, and TooLarge.
    """

    beside_file = BESIDE_FILE

    def __init__(self, boundary: bytes) -> None:
        super().__init__()
        if not boundary:
            raise HTTPError(400, "the Content-Type names no boundary: multipart/form-data; boundary=…")
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part, "on_header_field": self._take_header_name,
            "on_header_value": self._take_header_value, "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers, "on_part_data": self._take_data, "on_part_end": self._end_part,
            "on_end": self._end,
        }  # fmt: skip
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise HTTPError(400, f"the Content-Type cannot be right: {error}") from None
        self._ended = self._has_content = False
        self._piece = bytearray()  # of the file
        self._begin_part()

    def feed(self, data: bytes) -> bytes:
        """What of `data` belongs to the file."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise HTTPError(400, f"the form is broken: {error}") from None
        piece = bytes(self._piece)
        self._piece.clear()
        self._has_content |= bool(piece)
        return piece

    def end(self) -> None:
        """That was all. The form must be whole and have a file."""
        if not self._ended:
            raise HTTPError(400, "the form is cut off: there is no boundary at its end")
        if self.file_name is None:
            raise HTTPError(400, f"there is no file in the form; it belongs into the field {FILE!r}")
        if not self.file_name and not self._has_content:
            raise HTTPError(400, "no file was chosen")

    # called by the parser ---------------------------------------------------------------------------------------------

    def _begin_part(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._header = bytearray(), bytearray()
        self._header_bytes = 0
        self._field: str | None = None  # the name; None: it is the file
        self._value = bytearray()

    def _take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[0].extend(data[start:end])

    def _take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header[1].extend(data[start:end])

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > HEADERS_BYTES:
            raise HTTPError(400, f"the headers of a part of the form have more than {HEADERS_BYTES:,} bytes")

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = bytearray(), bytearray()

    def _end_headers(self) -> None:
        disposition, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in parameters:
            raise HTTPError(400, 'a part of the form does not say what it is: Content-Disposition: form-data; name="…"')
        if self._headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
            raise HTTPError(400, "there is a form within the form; send one file and plain fields")
        if (encoding := self._headers.get(b"content-transfer-encoding", b"").lower()) not in _ENCODINGS:
            raise HTTPError(400, f"a part of the form is encoded as {_shown(encoding)}; send it as it is")
        name = _shown(parameters[b"name"])
        if name == FILE:
            self._begin_file(_shown(parameters.get(b"filename", b"")))
        elif b"filename" in parameters:
            raise HTTPError(400, f"there is a file in the field {name!r}; one file is taken, in the field {FILE!r}")
        else:
            self._begin_field(name)

    def _begin_file(self, name: str) -> None:
        if self.file_name is not None:
            raise HTTPError(400, "there are two files in the form; send one at a time")
        self.file_name = re.split(r"[/\\]", name)[-1]

    def _begin_field(self, name: str) -> None:
        if name in self.fields:
            raise HTTPError(400, f"the field {name!r} is given twice")
        if len(self.fields) == MOST_FIELDS:
            raise HTTPError(400, f"there are more than {MOST_FIELDS} fields in the form")
        self._field = name

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._piece += data[start:end]
            return
        if len(self._value) + end - start > FIELD_BYTES:
            raise TooLarge(f"the field {self._field!r} has more than {FIELD_BYTES:,} bytes")
        self._value += data[start:end]

    def _end_part(self) -> None:
        if self._field is None:
            return
        try:
            self.fields[self._field] = self._value.decode()
        except UnicodeDecodeError as error:
            raise HTTPError(400, f"the field {self._field!r} is not UTF-8 at byte {error.start:,}") from None

    def _end(self) -> None:
        self._ended = True


def body_of(content_type: str) -> PlainBody:
    """What is to be made of a body of this type. Raises HTTPError 415 where that cannot be known, and 400."""
    kind, parameters = parse_options_header(content_type)
    if kind == b"multipart/form-data":
        return Form(parameters.get(b"boundary", b""))
    if kind in _PLAIN:
        return PlainBody()
    hint = ""
    if kind == b"application/x-www-form-urlencoded":  # which curl says of --data-binary, and -d drops line ends
        hint = "; with curl: -F file=@poems.txt, or -H 'Content-Type: text/plain' --data-binary @poems.txt"
    raise HTTPError(
        415, f"{_shown(kind)} cannot be taken: send multipart/form-data with the file in the field {FILE!r}, "
        f"or nothing but the file as text/plain or application/octet-stream{hint}",
    )  # fmt: skip


def _shown(raw: bytes) -> str:
    """A name as browsers write it: UTF-8, in which three characters are escaped that would break the header."""
    text = raw.decode("utf-8", "replace")
    return re.sub("%(22|0D|0A)", lambda escaped: chr(int(escaped[1], 16)), text, flags=re.IGNORECASE)[:1000]
