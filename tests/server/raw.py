"""Requests as no decent client sends them, written to the socket byte by byte."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server.running import Server


@contextmanager
def connected(server: Server, seconds: float = 120) -> Iterator[socket.socket]:
    """A connection to the server, whose reads end after so many seconds."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        yield connection


def head(server: Server, method: str, path: str, **headers: str | int) -> bytes:
    """The head of a request; `Host` and the token are in it unless something else is given."""
    all_headers = {"Host": f"127.0.0.1:{server.port}"}
    if server.token is not None:
        all_headers["Authorization"] = f"token {server.token}"
    all_headers |= {name.replace("_", "-"): str(value) for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def exchange(server: Server, *pieces: bytes, seconds: float = 120) -> bytes:
    """What the server answers, until it has said all or hangs up."""
    with connected(server, seconds) as connection:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
        return answer(connection)


def answer(connection: socket.socket) -> bytes:
    """What comes, to the end of its body or of the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while more := connection.recv(65536):
            received += more
            before, end, body = received.partition(b"\r\n\r\n")
            lengths = [line for line in before.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if end and (before.startswith(b"HTTP/1.1 204") or (lengths and len(body) >= int(lengths[0][15:]))):
                break
    return received


def status(received: bytes) -> int:
    """The status of an answer; 0 where there is none."""
    words = received.split(b" ", 2)
    return int(words[1]) if len(words) > 1 else 0


def sent_until_closed(connection: socket.socket, piece: bytes, most: int, pause: float = 0) -> int:
    """Send until the server has had enough or `most` bytes are sent, piece after piece; how many were."""
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
            time.sleep(pause)
    return sent


def wait_until_closed(connection: socket.socket) -> None:
    """Wait until the server hangs up, whatever it says before."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
