"""Clients of a server, many at a time, in a process of their own: what they measure goes to `benchmarks.server`.

    python -m benchmarks.clients PORT TOKEN KIND ARGUMENTS…

It speaks just enough HTTP to cost the server's machine little. Times are in seconds, from the first byte sent.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any


class Client:
    """One connection, which is kept."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token
        self.reader: asyncio.StreamReader | None = None

    async def ask(self, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> int:
        """Send a request, and return the status of the answer."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"{method} /charrnn/api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: token {self.token}\r\n"
            f"Accept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.writer.write(head.encode() + body)
        status, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(status.split()[1])

    async def piece(self) -> bytes:
        """The next piece of the answer's body; nothing at its end."""
        assert self.reader is not None
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers.pop("content-length")))
        if "transfer-encoding" not in self.headers:
            return b""
        size = int(await self.reader.readline(), 16)
        return (await self.reader.readexactly(size + 2))[:size]

    async def body(self) -> bytes:
        """All of it."""
        whole = bytearray()
        while piece := await self.piece():
            whole += piece
        return bytes(whole)


async def every_two_seconds(port: int, token: str, path: str, clients: int, seconds: float) -> dict[str, Any]:
    """Each client asks once every two seconds."""
    times: list[float] = []
    wrong: list[int] = []
    end = time.perf_counter() + seconds

    async def one() -> None:
        client = Client(port, token)
        await asyncio.sleep(2 * random.random())
        while (begin := time.perf_counter()) < end:
            status = await client.ask("GET", path)
            await client.body()
            times.append(time.perf_counter() - begin)
            if status not in (200, 204):
                wrong.append(status)
            await asyncio.sleep(max(0.0, 2 - times[-1]))

    await asyncio.gather(*(one() for _ in range(clients)))
    return {"times": sorted(times), "wrong": wrong}


async def write(port: int, token: str, id: str, clients: int, requests: int, form: str) -> dict[str, Any]:
    """Each client asks for 1,000 characters, again and again, so many requests in all; one looks at the server's
    pulse meanwhile."""
    firsts: list[float] = []
    pulse: list[float] = []
    left = requests
    body = json.dumps({"prompt": "the ", "length": 1000}).encode()

    async def one() -> None:
        nonlocal left
        client = Client(port, token)
        while left > 0:
            left -= 1
            begin = time.perf_counter()
            status = await client.ask("POST", f"/models/{id}/generate", body, form)
            answer = bytearray(await client.piece())
            firsts.append(time.perf_counter() - begin)
            answer += await client.body()
            assert status == 200, answer
            assert len(answer) > 1000

    async def feel() -> None:
        client = Client(port, token)
        while left > 0:
            begin = time.perf_counter()
            await client.ask("GET", "/live")
            pulse.append(time.perf_counter() - begin)
            await asyncio.sleep(0.1)

    begin = time.perf_counter()
    watch = asyncio.ensure_future(feel())
    await asyncio.gather(*(one() for _ in range(clients)))
    seconds = time.perf_counter() - begin
    await watch
    return {"rate": 1000 * len(firsts) / seconds, "firsts": sorted(firsts), "pulse": max(pulse)}


def main() -> None:
    port, token, kind, *arguments = sys.argv[1:]
    if kind == "get":
        path, clients, seconds = arguments
        result = asyncio.run(every_two_seconds(int(port), token, path, int(clients), float(seconds)))
    else:
        id, clients, requests = arguments
        forms = {"whole": "application/json", "streamed": "text/event-stream"}
        result = asyncio.run(write(int(port), token, id, int(clients), int(requests), forms[kind]))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
