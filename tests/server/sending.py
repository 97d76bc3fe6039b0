"""Requests written by hand, byte by byte, for what no client would do; and what a server has stored meanwhile."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.jobs.trainings import wait_for
from tests.server.running import Server

BOUNDARY = "a-line-between-parts"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
TEXT = {"Content-Type": "text/plain"}


@dataclass
class Wire:
    """A connection to a server."""

    server: Server
    socket: socket.socket

    def begin(self, path: str, method: str = "POST", **headers: str | int | None) -> None:
        """Send the head of a request to a route of the API. Headers are given with `_` for `-`; None leaves one out."""
        all_headers = {"Host": "localhost", "Authorization": f"token {self.server.token}", **_dashed(headers)}
        lines = [f"{name}: {value}\r\n" for name, value in all_headers.items() if value is not None]
        base = self.server.base_url.rstrip("/")
        self.send(f"{method} {base}/charrnn/api/v1{path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def takes(self, data: bytes) -> bool:
        """Send, and say whether the server is still there to take it."""
        try:
            self.send(data)
        except OSError:
            return False
        return True

    def send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; the empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self) -> requests.Response:
        """The next answer, read to its end."""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.socket.recv(1)
            assert piece, f"the server hung up after {head!r}"
            head += piece
        first, *lines = head.decode("latin-1").split("\r\n")
        answer = requests.Response()
        answer.status_code = int(first.split()[1])
        answer.headers.update(line.split(": ", 1) for line in lines if line)
        left = int(answer.headers["Content-Length"])
        content = b""
        while len(content) < left:
            content += self.socket.recv(left - len(content))
        answer._content = content
        return answer

    def hears_nothing_more(self) -> bool:
        """Wait until the server hangs up, and say whether it did so without another word."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


@contextmanager
def wire(server: Server) -> Iterator[Wire]:
    """A new connection, on which nothing takes longer than two minutes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        yield Wire(server, connection)


def part(content: bytes, name: str = "file", file_name: str | None = "poems.txt", *headers: str) -> bytes:
    """A part of a form, the boundary before it included."""
    disposition = f'form-data; name="{name}"' + ("" if file_name is None else f'; filename="{file_name}"')
    lines = [f"--{BOUNDARY}", f"Content-Disposition: {disposition}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def files(server: Server) -> set[str]:
    """All files that the server has stored or is storing, but for the database's and the logs."""
    places = [server.folder / "data" / "storage", server.folder / "temporary"]
    return {str(path.relative_to(place)) for place in places for path in _files_below(place)}


def names(server: Server) -> list[str]:
    """The names of all models."""
    answer = server.get("/models", params={"limit": 200})
    return [model["name"] for model in answer.json()["models"]]


@contextmanager
def nothing_left(server: Server) -> Iterator[None]:
    """What happens inside leaves no file and no model behind."""
    before = files(server), names(server)
    yield
    wait_for(lambda: files(server) == before[0])
    assert names(server) == before[1]


def wait_until_stored(server: Server, size: int) -> Path:
    """The file that an upload is written to, once it has this many bytes."""
    place = server.folder / "data" / "storage" / "incoming"
    return wait_for(lambda: next((path for path in _files_below(place) if path.stat().st_size >= size), None))


def _files_below(place: Path) -> list[Path]:
    for _ in range(5):
        try:
            return [path for path in place.rglob("*") if path.is_file()]
        except FileNotFoundError:  # removed while we looked
            time.sleep(0.01)
    raise AssertionError(f"{place} never rests")


def _dashed(headers: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
