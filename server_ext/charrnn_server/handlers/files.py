"""A model's file, to be taken home. It knows how a file is sent piece by piece, and not what is in it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from tornado.iostream import StreamClosedError

from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.handlers.models import MODEL

if TYPE_CHECKING:
    from charrnn.workspace import Workspace

PIECE = 250_000  # bytes
_SEPARATORS = '/\\:*?"<>|'  # in some system's file names


class FileHandler(CharRNNHandler):
    @action("read")
    async def get(self, id: str) -> None:
        with contextlib.ExitStack() as opened:

            def open_file(workspace: Workspace) -> tuple[str, BinaryIO, int]:
                record, file = opened.enter_context(workspace.model_file(id))
                return record.name, file, os.fstat(file.fileno()).st_size

            try:
                name, file, size = await self.run(open_file)
                self.set_header("Content-Disposition", attachment(f"{name}.safetensors"))
                self.set_header("Content-Length", size)
                await self._send(file)
            finally:
                await self.app.run(opened.close)

    head = get

    async def _send(self, file: BinaryIO) -> None:
        """No more of it is read than the client takes; one that takes nothing for long is left."""
        self.set_header("Content-Type", "application/octet-stream")
        with contextlib.suppress(StreamClosedError):
            while self.request.method != "HEAD" and (piece := await self.app.run(file.read, PIECE)):
                self.write(piece)
                self._patience(self.app.silence)
                await self.flush()
        self.finish(set_content_type="application/octet-stream")


def attachment(name: str) -> str:
    """The header that has a browser store a file under this name, as far as file systems allow (RFC 6266)."""
    shown = "".join(letter if letter.isprintable() and letter not in _SEPARATORS else "_" for letter in name)
    shown = shown.lstrip(". ")
    plain = shown.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown, safe='')}"


ROUTES = [(rf"{MODEL}/file", FileHandler)]
