"""What a large upload does to a server: its memory, and everybody else who waits for an answer.

    python -m benchmarks server_upload

A server takes a text of 1 GB over HTTP. Its memory is the highest RssAnon that was seen every 5 ms, what it has for
itself without mapped files, against that before the upload. Meanwhile a process of its own asks `/live` on one
connection, 2 ms after each answer: nothing is looked up for that, so what it waits is what the event loop was kept from
its work, or all of them from the processor. First nothing else happens; then a model is trained and writes one text
after another while the upload comes and is read in. Server, client, probe and training are processes of their own.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ingest import MIXED, write_text
from benchmarks.table import Row, say
from tests.server.running import Server, running

GIGABYTE = 10**9
BAR_MEMORY, BAR_STALL = "64", "100"  # MB, ms
TRAINED = "name=trained&minutes=30&rnn_size=256&num_layers=1"
BEFORE_WRITING = 180  # seconds
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


def rows(size: int = GIGABYTE) -> Iterator[Row]:
    """An upload while nothing else happens, and one while a model is trained and writes."""
    with (
        tempfile.TemporaryDirectory(prefix="charrnn-") as name,
        running(Path(name), CHARRNN_UPLOAD_LIMIT=str(2 * size)) as server,  # the file may be a little larger
    ):
        large, small = Path(name) / "large.txt", Path(name) / "small.txt"
        write_text(large, MIXED, size)
        write_text(small, MIXED, 5_000_000)
        upload(server, small)  # so that everything is loaded
        yield from _alone(server, large, size)
        yield from _with_everything(server, large, small)


def _alone(server: Server, large: Path, size: int) -> Iterator[Row]:
    say("an upload by itself")
    before = unshared(server)
    with watched(server) as peak, probed(server) as waits:
        _, sent, whole = upload(server, large)
    what = f"upload of {size / GIGABYTE:g} GB"
    growth = peak[0] - before
    yield Row(f"{what}: growth of the server's unshared memory, MB", f"{growth:,.0f}", "", "", BAR_MEMORY, "")
    yield Row(f"{what}, MB/s", f"{size / 1e6 / sent:,.0f}", "", "", "", "")
    yield Row(f"{what}, until its ids are there, s", f"{whole:,.1f}", "", "", "", "")
    yield _longest(f"{what}: others wait", waits)


def _with_everything(server: Server, large: Path, small: Path) -> Iterator[Row]:
    say("an upload while a model is trained and writes")
    id, _, _ = upload(server, small, f"start=true&{TRAINED}")
    give_up = time.monotonic() + BEFORE_WRITING
    while not server.get(f"/models/{id}").json()["can_write"]:
        if time.monotonic() > give_up:
            raise SystemExit(f"nothing was learned in {BEFORE_WRITING} s: {server.get(f'/models/{id}').text}")
        time.sleep(0.5)
    with probed(server) as waits, writing(server, id) as written:
        upload(server, large)
    yield _longest(f"upload, ingest, training and {written[0]} texts written: others wait", waits)
    server.post(f"/models/{id}/stop")


def _longest(figure: str, waits: list[float]) -> Row:
    middle, late, longest = (1000 * waits[int(share * (len(waits) - 1))] for share in (0.5, 0.999, 1))
    waited = f"{middle:.1f} / {late:.0f} / {longest:.0f}"
    return Row(f"{figure}, median / 99.9 % / longest of {len(waits):,}, ms", waited, "", "", BAR_STALL, "")


def upload(server: Server, path: Path, query: str = "start=false") -> tuple[str, float, float]:
    """The new model's id, seconds until all was sent, and seconds until the answer."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, blocksize=2**18)
    connection.putrequest("POST", f"/charrnn/api/v1/uploads?{query}")
    connection.putheader("Authorization", f"token {server.token}")
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


def unshared(server: Server) -> float:
    """MB that the server's process has for itself."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


@contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """The highest memory that was seen inside, as the one member of a list."""
    peak, ended = [unshared(server)], threading.Event()

    def watch() -> None:
        while not ended.wait(0.005):
            peak[0] = max(peak[0], unshared(server))

    with _thread(watch, ended):
        yield peak


@contextmanager
def probed(server: Server) -> Iterator[list[float]]:
    """Seconds that each request to `/live` took inside, the longest last; they are there at the end."""
    waits: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", PROBE, str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as probe:
        yield waits
        waits += json.loads(probe.communicate(b"\n")[0])


@contextmanager
def writing(server: Server, id: str) -> Iterator[list[int]]:
    """The model writes all the time inside; how many texts is the one member of the list."""
    count, ended = [0], threading.Event()

    def write() -> None:
        while not ended.is_set():
            answer = server.post(f"/models/{id}/generate", json={"prompt": "The ", "length": 1000})
            count[0] += answer.status_code == 200

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
