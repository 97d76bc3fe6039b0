"""A text that a server of this machine gives out, in place of the well-known ones of the internet."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from charrnn.text import samples

PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n" * 10_000


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass

    def copyfile(self, *files: Any) -> None:
        with suppress(ConnectionError):  # whoever asked has hung up
            super().copyfile(*files)


@contextmanager
def serving(folder: Path) -> Iterator[ThreadingHTTPServer]:
    """A server of the play, which lies in this new folder as `input.txt`."""
    folder.mkdir()
    (folder / "input.txt").write_text(PLAY)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offer(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> samples.Sample:
    """The sample `play`, for as long as a test lasts."""
    url = f"http://127.0.0.1:{server.server_port}/input.txt"
    sample = samples.Sample("play", "a play", url, hashlib.sha256(PLAY.encode()).hexdigest())
    monkeypatch.setitem(samples.SAMPLES, "play", sample)
    return sample
