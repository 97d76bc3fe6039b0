"""Answers that are sent while they come to be: begun once, sent piece by piece, given up when nobody takes them.

It knows connections. It does not know what is sent.
"""

from __future__ import annotations

import asyncio

from tornado.iostream import StreamClosedError

from charrnn_server.handlers.base import CharRNNHandler


class Gone(Exception):
    """The client takes nothing any more."""


class StreamingHandler(CharRNNHandler):
    """A handler whose answer has no length."""

    gone = False

    def begin(self, content_type: str) -> None:
        """Say what will come. From here on errors cannot be told by a status any more."""
        self.set_header("Content-Type", content_type)
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Accel-Buffering", "no")  # what nginx understands
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.set_nodelay(True)

    async def send(self, piece: bytes | str) -> None:
        """Send a piece, and wait until it is on its way. Raises Gone when that takes too long, or nobody is there."""
        if self.gone:
            raise Gone
        self.write(piece)
        try:
            await asyncio.wait_for(self.flush(), self.app.patience)
        except TimeoutError:
            self.break_off()
            raise Gone from None
        except StreamClosedError:
            raise Gone from None

    def break_off(self) -> None:
        """End the connection in the middle, so that nobody takes what was sent for the whole."""
        self._hang_up()

    def on_connection_close(self) -> None:
        """The client is gone."""
        self.gone = True
        super().on_connection_close()
