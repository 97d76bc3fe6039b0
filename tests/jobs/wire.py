"""A wire to a database server that can be cut, or held, in the middle of a transaction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class Wire:
    """Hands on what clients of `port` send to the server on this machine, and its answers; for a context's time."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        self.cuts = 0
        self.lock = threading.Lock()
        self.armed: tuple[bytes, Callable[[], None], str] | None = None
        self.sockets: list[socket.socket] = [self.listening]

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.sockets:
            cut(each)

    def at_next_commit_of(self, what: bytes, do: Callable[[], None], how: str) -> None:
        """When the next transaction that wrote to the table `what` is to be committed, call `do`, and then

        "before": cut the connection, and the server does not hear of the commit;
        "after": the same, but the server has committed before `do`, and the client does not hear so;
        "hold": say nothing to the server; the connection stays.
        """
        self.armed = what, do, how

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.server_port), timeout=120)
                    server.settimeout(None)
                except OSError:
                    cut(client)
                    continue
                self.sockets += [client, server]
                ends = client, server, threading.Event()
                threading.Thread(target=self._requests, args=ends, daemon=True).start()
                threading.Thread(target=self._answers, args=ends, daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        seen = b""
        with suppress(OSError):
            while data := client.recv(1 << 20):
                seen += data
                committing = data.endswith(b"\x03COMMIT")
                if committing and (now := self._disarm(seen)):
                    do, how = now
                    if how == "after":
                        cut(client)
                        answered.clear()
                        server.sendall(data)
                        assert answered.wait(60)
                    do()
                    self.cuts += 1
                    if how == "hold":
                        continue
                    break
                if committing:
                    seen = b""
                server.sendall(data)
        cut(client)
        cut(server)

    def _disarm(self, seen: bytes) -> tuple[Callable[[], None], str] | None:
        """What to do now, and how; once."""
        with self.lock:
            if self.armed is None or self.armed[0] not in seen:
                return None
            _, *what = self.armed
            self.armed = None
            return what[0], what[1]

    def _answers(self, client: socket.socket, server: socket.socket, answered: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 20):
                answered.set()
                client.sendall(data)
        cut(client)


def cut(end: socket.socket) -> None:
    """Close a connection, also for those who wait for it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
