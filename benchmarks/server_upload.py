"""What a large upload does to a server: its memory, and everybody else who waits for an answer.

    python -m benchmarks server_upload

A server of its own takes a text of 1 GB from a client on the same machine, over HTTP. Its memory is the highest RssAnon
that was seen every 5 ms, what it has for itself without mapped files, against that before the upload. Meanwhile
a process of its own asks `/live` on one connection, a request every 2 ms as soon as the one before is answered: nothing
is looked up for that, so what it waits is what the event loop was kept from its work, or the processor from all of
them. While the text is read in, a model is trained and another one writes, so that everything is under way at once.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ingest import MIXED, write_text
from benchmarks.table import Row, say
from charrnn.child import environment, python

GIGABYTE = 10**9
BAR_MEMORY, BAR_STALL = 64, 100  # MB, ms
SMALL_TEXT, TRAINED = 1_000_000, {"name": "trained", "minutes": "30", "rnn_size": "256", "num_layers": "1"}
TOKEN = "benchmark"
API = "/charrnn/api/v1"
ROOT = Path(__file__).parent.parent
PACKAGES = os.pathsep.join(map(str, (ROOT, ROOT / "server_ext")))
PROBE = """
import json, select, socket, sys, time
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
waits = []
while not select.select([sys.stdin], [], [], 0.002)[0]:
    begin = time.perf_counter()
    server.sendall(b"GET /charrnn/api/v1/live HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n")
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        answer += server.recv(65536)
    waits.append(time.perf_counter() - begin)
print(json.dumps(sorted(waits)))
"""


@dataclass
class Server:
    """A server that runs, and its process."""

    port: int
    process: int

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """What a route of the API answers, from JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, API + path, body, {"Authorization": f"token {TOKEN}", **headers})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {content.decode(errors='replace')[:500]}")
        return json.loads(content) if content else None

    def upload(self, path: Path, query: str) -> tuple[str, float, float]:
        """The new model's id, the seconds until the text was sent, and those until the answer came."""
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, blocksize=2**18)
        connection.putrequest("POST", f"{API}/uploads?{query}")
        connection.putheader("Authorization", f"token {TOKEN}")
        connection.putheader("Content-Length", str(path.stat().st_size))
        connection.endheaders()
        with path.open("rb") as file:
            connection.send(file)
        sent = time.perf_counter() - begin
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 201:
            raise SystemExit(f"the upload ended with {answer.status}: {content.decode(errors='replace')[:500]}")
        return json.loads(content)["id"], sent, time.perf_counter() - begin

    def memory(self) -> float:
        """MB that the process has for itself."""
        with Path(f"/proc/{self.process}/status").open() as status:
            return next(int(line.split()[1]) / 1000 for line in status if line.startswith("RssAnon"))


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """`jupyter charrnn` with its data in a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    with (folder / "messages").open("wb") as messages:
        process = subprocess.Popen(
            [*python("charrnn_server"), "--no-browser", "--allow-root", f"--ServerApp.port={port}",
             "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}"],
            cwd=folder, stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
            env=environment(**folders, PYTHONPATH=PACKAGES, CHARRNN_DATA_FOLDER=str(folder / "data"),
                            CHARRNN_UPLOAD_LIMIT=str(2 * GIGABYTE), CHARRNN_MAX_RUNNING="1"),
        )  # fmt: skip
    try:
        _wait(lambda: _answers(port), 60, lambda: (folder / "messages").read_text(errors="replace")[-2000:])
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def rows(size: int = GIGABYTE) -> Iterator[Row]:
    """One upload while nothing else happens, and one while a model is trained and another one writes."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        text = Path(folder) / "large.txt"
        write_text(text, MIXED, size)
        with running(Path(folder)) as server:
            _warm_up(server, Path(folder))
            yield from _alone(server, text, size)
            yield from _with_everything(server, text, Path(folder))


def _alone(server: Server, text: Path, size: int) -> Iterator[Row]:
    say("an upload by itself")
    before = server.memory()
    with watched(server) as peak, probed(server) as waits:
        _, sent, whole = server.upload(text, "start=false")
    what = f"upload of {size / GIGABYTE:g} GB"
    yield Row(f"{what}: growth of the server's unshared memory, MB", f"{peak[0] - before:,.0f}", "", "",
              f"{BAR_MEMORY}", "")  # fmt: skip
    yield Row(f"{what}, MB/s", f"{size / 1e6 / sent:,.0f}", "", "", "", "")
    yield Row(f"{what} and its ids, s", f"{whole:,.1f}", "", "", "", "")
    yield Row(f"{what}: longest wait of others, ms (of {len(waits):,})", f"{waits[-1] * 1000:,.0f}", "", "",
              f"{BAR_STALL}", "")  # fmt: skip


def _with_everything(server: Server, text: Path, folder: Path) -> Iterator[Row]:
    say("an upload while a model is trained and writes")
    id = _in_training(server, folder)
    with probed(server) as waits, writing(server, id) as written:
        server.upload(text, "start=false")
    count = len(waits)
    yield Row("upload, ingest, training and generation: longest wait of others, ms", f"{waits[-1] * 1000:,.0f}", "", "",
              f"{BAR_STALL}", "")  # fmt: skip
    yield Row(f"the same: 99.9 % of {count:,}, ms ({written[0]} texts written)",
              f"{waits[int(count * 0.999)] * 1000:,.0f}", "", "", "", "")  # fmt: skip
    server.ask("POST", f"/models/{id}/stop")


def _warm_up(server: Server, folder: Path) -> None:
    """Have everything loaded that a first request loads."""
    small = folder / "small.txt"
    write_text(small, MIXED, SMALL_TEXT)
    server.upload(small, "start=false")


def _in_training(server: Server, folder: Path) -> str:
    """The id of a model that is trained, and writes already."""
    query = "&".join(f"{name}={value}" for name, value in TRAINED.items())
    id, _, _ = server.upload(folder / "small.txt", query)
    _wait(lambda: server.ask("GET", f"/models/{id}")["can_write"], 180)
    return id


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """The highest memory of the server inside, in MB, as the one member of a list."""
    peak, ended = [server.memory()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak[0] = max(peak[0], server.memory())

    with _thread(watch, ended):
        yield peak


@contextmanager
def probed(server: Server) -> Iterator[list[float]]:
    """How long each request to `/live` took inside, in seconds, the longest last; it is there at the end."""
    waits: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", PROBE, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as probe:
        yield waits
        waits += json.loads(probe.communicate(b"\n")[0])


@contextmanager
def writing(server: Server, id: str) -> Iterator[list[int]]:
    """A model writes all the time inside; how many texts is the one member of the list."""
    count, ended = [0], threading.Event()
    body = json.dumps({"prompt": "The ", "length": 1000}).encode()

    def write() -> None:
        while not ended.is_set():
            server.ask("POST", f"/models/{id}/generate", body, **{"Content-Type": "application/json"})
            count[0] += 1

    with _thread(write, ended):
        yield count


@contextmanager
def _thread(work: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"{API}/live")
        return connection.getresponse().status == 204
    except OSError:
        return False


def _wait(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str] = str) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"waited {seconds} s for nothing; {otherwise()}")
        time.sleep(0.05)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for row in rows():
        print(*row.cells())
