"""People who use a server over HTTP, all at a time, in one process that costs the server's machine little.

    python -m benchmarks.load_users PORT USERS SECONDS MODEL

Each is a visitor from an address of their own, as a load balancer tells it. In turns, with pauses as people make them,
they list their models, upload a text of 100 KB, start a training of a few steps and have their model write; whoever has
uploaded something follows its events meanwhile. It prints, as JSON, what took how long, what was refused, what failed
and which models the server has accepted. It does not know what became of those.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

API = "/charrnn/api/v1"
PAUSE, LONGEST_PAUSE = 10.0, 60.0  # seconds between two things that somebody does: on average, and at most
TRY_AGAIN = 10.0  # seconds after which somebody who was refused comes again, as the server asks for
FOLLOWED = 60.0  # seconds that somebody follows a model without a break
TIMEOUT = 60.0  # seconds without an answer, after which a person gives up
REFUSALS = (413, 429)  # answers that a policy means
TEXT_BYTES = 100_000
TRAINING = "rnn_size=16&num_layers=1&embedding_size=0&batch_size=8&seq_length=32&max_steps=20&minutes=0.5"
LINE = b"%d %d A small boat rocks beside the quiet pier, and nobody is in a hurry.\n"


@dataclass
class Heard:
    """What all of them have found."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # seconds, of what went well
    refused: Counter[str] = field(default_factory=Counter)  # as the policy wants it
    errors: Counter[str] = field(default_factory=Counter)
    uploaded: dict[str, str] = field(default_factory=dict)  # ids of accepted texts, and the names they were sent with
    started: list[str] = field(default_factory=list)  # ids of models whose training was accepted
    unsure: list[str] = field(default_factory=list)  # names of texts that were sent and never answered
    pulse: list[float] = field(default_factory=list)  # seconds that the server took to say that it is there

    def to_json(self) -> dict[str, Any]:
        """All of it, with the processor's seconds that this process has used."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {**vars(self), "cpu": used.ru_utime + used.ru_stime}


class Wrong(Exception):
    """An answer that is not what was asked for."""


class Refused(Exception):
    """An answer that the policy means."""


async def begin(
    port: int, method: str, path: str, body: bytes = b"", headers: str = ""
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request on a connection of its own; the status and what is to be read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n{headers}\r\n".encode()
            + body
        )
        status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
    except BaseException:
        writer.transport.abort()
        raise
    return status, reader, writer


@dataclass
class Person:
    """One of them."""

    port: int
    number: int
    heard: Heard
    file: bytes  # a model to write with
    chance: random.Random
    headers: str = ""
    model: str = ""
    ready: list[str] = field(default_factory=list)  # models with a text, not started
    newest: str = ""
    sent: int = 0

    async def live(self, end: float) -> None:
        """Come, do this and that, and follow what was uploaded, until the end."""
        await asyncio.sleep(self.chance.uniform(0, min(120.0, (end - time.monotonic()) / 4)))
        address = f"10.{self.number // 250}.7.{self.number % 250 + 1}"
        self.headers = f"X-Forwarded-For: {address}\r\nAccept: application/json\r\n"
        while not await self.arrive():
            if time.monotonic() + TRY_AGAIN > end:
                return
            await asyncio.sleep(TRY_AGAIN)
        following = asyncio.create_task(self.follow(end))
        while (now := time.monotonic()) < end:
            work = self.chance.choices(
                [self.list, self.look, self.upload, self.start, self.write], [35, 15, 12, 13, 25]
            )[0]
            await work()
            pause = min(self.chance.expovariate(1 / PAUSE), LONGEST_PAUSE)
            await asyncio.sleep(max(0.0, min(pause, end - now)))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    async def arrive(self) -> bool:
        """Get a token, and hand over a model to write with."""
        if "Authorization" not in self.headers:
            known = await self.asked("a token", "POST", "/visitors")
            if known is None:
                return False
            self.headers += f"Authorization: Bearer {known['token']}\r\n"
        binary = "Content-Type: application/octet-stream\r\n"
        model = await self.asked("import a model", "POST", "/models/import?name=writer", self.file, binary)
        if model is not None:
            self.model = model["id"]
        return model is not None

    async def list(self) -> None:
        await self.asked("list the models", "GET", "/models")

    async def look(self) -> None:
        await self.asked("look at a model", "GET", f"/models/{self.newest or self.model}")

    async def upload(self) -> None:
        """A text which nobody else has: half of them are trained at once."""
        self.sent += 1
        name = f"text-{self.number}-{self.sent}"
        line = LINE % (self.number, self.sent)
        text = (line * (TEXT_BYTES // len(line) + 1))[: TEXT_BYTES - 1] + b"\n"
        at_once = self.chance.random() < 0.5
        path = f"/uploads?name={name}&start={str(at_once).lower()}&{TRAINING}"
        before = self.heard.errors.total()
        made = await self.asked("upload 100 KB", "POST", path, text, "Content-Type: text/plain\r\n")
        if made is None:
            if self.heard.errors.total() > before:
                self.heard.unsure.append(name)
            return
        self.newest = made["id"]
        self.heard.uploaded[made["id"]] = name
        (self.heard.started if at_once else self.ready).append(made["id"])

    async def start(self) -> None:
        """Start what lies there; without such a thing, upload something."""
        if not self.ready:
            await self.upload()
            return
        id = self.ready[-1]
        if await self.asked("start a training", "POST", f"/models/{id}/start") is not None:
            self.ready.remove(id)
            self.heard.started.append(id)

    async def write(self) -> None:
        body = json.dumps({"prompt": "the ", "length": 300}).encode()
        json_form = "Content-Type: application/json\r\n"
        await self.asked("have 300 characters written", "POST", f"/models/{self.model}/generate", body, json_form)

    async def asked(self, what: str, method: str, path: str, body: bytes = b"", more: str = "") -> Any:
        """The answer's JSON; None, and it is counted, if there is none that could be used."""

        async def ask() -> Any:
            status, reader, writer = await begin(self.port, method, API + path, body, self.headers + more)
            try:
                answer = await reader.read()
            finally:
                writer.close()
            judge(status)
            return json.loads(_unchunked(answer) if not answer.startswith(b"{") else answer)

        return await self.counted(what, ask)

    async def counted(self, what: str, work: Callable[[], Awaitable[Any]]) -> Any:
        """What `work` returns, with the time it took; None where it failed."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(TIMEOUT):
                result = await work()
        except Refused:
            self.heard.refused[what] += 1
        except Wrong as error:
            self.heard.errors[f"{what}: {error}"] += 1
        except TimeoutError:
            self.heard.errors[f"{what}: no answer in {TIMEOUT:.0f} s"] += 1
        except (OSError, EOFError) as error:
            self.heard.errors[f"{what}: connection lost ({type(error).__name__})"] += 1
        except ValueError:
            self.heard.errors[f"{what}: an answer that cannot be read"] += 1
        else:
            self.heard.times[what].append(time.perf_counter() - began)
            return result
        return None

    async def follow(self, end: float) -> None:
        """Follow the newest model's events, with a break now and then."""
        while time.monotonic() < end:
            if not self.newest:
                await asyncio.sleep(1)
                continue
            path = f"{API}/models/{self.newest}/events"
            headers = self.headers.replace("application/json", "text/event-stream")

            async def open_stream(path: str = path, headers: str = headers) -> Any:
                status, reader, writer = await begin(self.port, "GET", path, b"", headers)
                try:
                    judge(status)
                    await reader.readuntil(b"data: ")
                except BaseException:
                    writer.transport.abort()
                    raise
                return reader, writer

            opened = await self.counted("follow events: first of them", open_stream)
            if opened is None:
                await asyncio.sleep(2)
                continue
            reader, writer = opened
            try:
                async with asyncio.timeout(max(0.0, min(FOLLOWED, end - time.monotonic()))):
                    while await reader.read(65536):
                        pass
                    self.heard.errors["follow events: ended by the server"] += 1
            except TimeoutError:
                pass  # this person has looked long enough
            except OSError as error:
                self.heard.errors[f"follow events: connection lost ({type(error).__name__})"] += 1
            finally:
                writer.close()
            await asyncio.sleep(1)


def judge(status: int) -> None:
    """Raises Refused or Wrong for an answer that is no success."""
    if status in REFUSALS:
        raise Refused(str(status))
    if not 200 <= status < 300:
        raise Wrong(f"status {status}")


def _unchunked(answer: bytes) -> bytes:
    whole = bytearray()
    while answer:
        size, _, rest = answer.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        answer = rest[length + 2 :]
    return bytes(whole)


@asynccontextmanager
async def _felt(port: int, heard: Heard) -> AsyncIterator[None]:
    """Feel the server's pulse twice a second: how long its event loop lets somebody wait who wants nothing."""

    async def feel() -> None:
        while True:
            began = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT):
                    _, _, writer = await begin(port, "GET", f"{API}/live")
                    writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                heard.errors[f"the pulse: {type(error).__name__}"] += 1
            heard.pulse.append(time.perf_counter() - began)
            await asyncio.sleep(0.5)

    task = asyncio.create_task(feel())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def use(port: int, users: int, seconds: float, file: bytes, seed: int = 1) -> Heard:
    """All of them, for so long."""
    heard = Heard()
    end = time.monotonic() + seconds
    async with _felt(port, heard):
        people = [Person(port, number, heard, file, random.Random(seed * 1000 + number)) for number in range(users)]
        await asyncio.gather(*(person.live(end) for person in people))
    return heard


def main() -> None:
    port, users, seconds, model = sys.argv[1:]
    heard = asyncio.run(use(int(port), int(users), float(seconds), Path(model).read_bytes()))
    print(json.dumps(heard.to_json()))


if __name__ == "__main__":
    main()
