"""Two public servers behind one nginx, with one database, one bucket and one secret: a site of two instances.

nginx has the configuration that is shipped, with the addresses of this test. MariaDB and moto's S3 stand for RDS and
Amazon's S3.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from tornado.websocket import WebSocketClientConnection

from charrnn.jobs.database import Database
from charrnn.jobs.store import Store
from tests.deploy import nginx
from tests.jobs.trainings import TINY, VERSE, wait_for
from tests.mariadb import MariaDB
from tests.ports import free_port
from tests.s3 import S3
from tests.server.dashboards import FACTS, Guest, heard, message, notebook
from tests.server.running import Server, running
from tests.server.sending import wire
from tests.server.streams import Told, told

PREFIX = "/write/"
SECRET = "a secret that both instances have"
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}
MEGABYTE = 1_000_000


@dataclass
class Site:
    """What visitors come to (`door`), the servers behind it, and what these share."""

    door: Server
    one: Server
    two: Server
    store: Store
    s3: S3
    bucket: str

    def of_address(self, address: str) -> Server:
        """The server that listens there."""
        return next(server for server in (self.one, self.two) if address.endswith(f":{server.port}"))

    def objects(self) -> dict[str, int]:
        """The sizes of all that lies in the bucket, by key."""
        listed = self.s3.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {each["Key"]: each["Size"] for each in listed}


class Visitor(Guest):
    """Somebody with a browser, who may be led to any of the servers."""

    def ask(self, method: str, path: str, at: Server | None = None, **options: Any) -> requests.Response:
        """A request to the API: at the door, or at one server."""
        server = at or self.server
        headers = {"Origin": f"http://127.0.0.1:{server.port}", "Referer": f"{server.site}/charrnn"}
        if "_xsrf" in self.session.cookies:
            headers["X-XSRFToken"] = self.session.cookies["_xsrf"]
        headers |= options.pop("headers", {})
        return self.session.request(method, server.api + path, headers=headers, timeout=120, **options)

    def model(self, id: str, at: Server | None = None) -> dict[str, Any]:
        document: dict[str, Any] = self.ask("GET", f"/models/{id}", at).json()
        return document

    def uploaded(self, text: bytes, at: Server | None = None, **wanted: Any) -> str:
        """The id of a new model with that text."""
        created = self.ask("POST", "/models", at, json={"name": "verse", "options": TINY, **wanted})
        assert created.status_code == 201, created.text
        id: str = created.json()["id"]
        stored = self.ask("POST", f"/models/{id}/corpus", at, data=text, headers=PLAIN)
        assert stored.json()["status"] == "ready", stored.text
        return id


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, mariadb_server: MariaDB, s3_server: S3) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    mariadb_server.start()
    name = f"site_{uuid.uuid4().hex[:12]}"
    mariadb_server.execute(f"CREATE DATABASE {name}")
    database = Database(mariadb_server.url(name))
    database.upgrade()
    bucket = s3_server.bucket()
    shared = {
        **s3_server.environment, "CHARRNN_PUBLIC": "1", "CHARRNN_DATABASE_URL": mariadb_server.url(name),
        "CHARRNN_STORAGE_URL": f"s3://{bucket}/texts", "CHARRNN_COOKIE_SECRET": SECRET,
        "CHARRNN_TRUSTED_PROXIES": "127.0.0.1", "CHARRNN_MAX_RUNNING": "1",
        "CHARRNN_UPLOAD_LIMIT": str(60 * MEGABYTE), "CHARRNN_MAX_TEXT_BYTES": str(200 * MEGABYTE),
    }  # fmt: skip
    port = free_port()
    with ExitStack() as stack:
        servers = []
        for number in ("one", "two"):
            (folder / number / "temporary").mkdir(parents=True)
            servers.append(
                stack.enter_context(
                    running(
                        folder / number, notebook(folder / number, FACTS), base_url=PREFIX, token=None,
                        TMPDIR=str(folder / number / "temporary"), **shared,
                    )
                )
            )  # fmt: skip
        process = stack.enter_context(nginx.running(configuration(folder / "nginx", port, *servers), port))
        door = Server(process, port, folder / "nginx", PREFIX, None)
        yield Site(door, *servers, Store(database), s3_server, bucket)


def configuration(folder: Path, port: int, one: Server, two: Server) -> Path:
    """nginx's configuration as it is shipped, but for the addresses. Answers tell which server they come from."""
    folder.mkdir()
    shipped = (nginx.SHIPPED / "two-servers.conf").read_text()
    for before, after in (
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("server 10.0.0.1:8888;", f"server 127.0.0.1:{one.port};"),
        ("server 10.0.0.2:8888;", f"server 127.0.0.1:{two.port};"),
    ):
        assert shipped.count(before) == 1
        shipped = shipped.replace(before, after)
    (folder / "two-servers.conf").write_text(shipped)
    (folder / "charrnn-proxy.conf").write_text((nginx.SHIPPED / "proxy.conf").read_text())
    return nginx.around(folder, "add_header X-Served-By $upstream_addr always;\ninclude two-servers.conf;")


@pytest.fixture
def visitor(site: Site) -> Visitor:
    visitor = Visitor(site.door)
    assert visitor.look().status_code == 200
    return visitor


def test_a_visitor_is_the_same_person_at_both_and_finds_there_what_the_other_has_stored(
    site: Site, visitor: Visitor
) -> None:
    id = visitor.uploaded((700 * VERSE).encode(), site.one)
    for server in (site.one, site.two, site.door):
        assert [model["id"] for model in visitor.ask("GET", "/models", server).json()["models"]] == [id]
        report = visitor.ask("GET", f"/models/{id}/report", server)
        assert (report.status_code, report.json()["characters"]) == (200, 700 * len(VERSE)), report.text
        stranger = Visitor(server)
        stranger.look()
        assert stranger.ask("GET", f"/models/{id}").status_code == 404
    token = visitor.ask("POST", "/visitors", site.one).json()["token"]
    answer = site.two.get(f"/models/{id}", headers={"Authorization": f"token {token}"})
    assert (answer.status_code, answer.json()["id"]) == (200, id)


def test_a_large_text_passes_through_as_it_comes_and_leaves_nothing_half_done(site: Site, visitor: Visitor) -> None:
    client = site.s3.client()
    before = site.objects()
    line = ("x" * 63 + "\n").encode()
    half, size = line * (20 * MEGABYTE // len(line)), 2 * (20 * MEGABYTE // len(line)) * len(line)

    def announced(size: int) -> dict[str, str | None]:
        cookies = "; ".join(f"{name}={value}" for name, value in visitor.session.cookies.items())
        return {
            "Host": f"127.0.0.1:{site.door.port}", "Authorization": None, "Cookie": cookies,
            "Origin": f"http://127.0.0.1:{site.door.port}", "X_XSRFToken": visitor.session.cookies["_xsrf"],
            "Content_Type": "text/plain", "Content_Length": str(size),
        }  # fmt: skip

    with wire(site.door) as connection:
        connection.begin("/uploads?start=false&name=large", **announced(size))
        connection.send(half)
        wait_for(lambda: arrived(site) > 5 * MEGABYTE)  # before the other half is sent
        connection.send(half)
        stored = connection.answer()
    assert stored.status_code == 201, stored.text
    large = {key: bytes for key, bytes in site.objects().items() if key not in before}
    assert size in large.values()

    with wire(site.door) as connection:
        connection.begin("/uploads?start=false&name=cut", **announced(size))
        connection.send(half)
        wait_for(lambda: arrived(site) > 5 * MEGABYTE)
    wait_for(lambda: arrived(site) < MEGABYTE)
    assert set(site.objects()) == {*before, *large}

    with wire(site.door) as connection:
        connection.begin("/uploads?start=false&name=endless", **announced(61 * MEGABYTE))
        refused = connection.answer()
    assert refused.status_code == 413
    assert "60,000,000" in refused.json()["message"]  # our words, not nginx's
    assert not client.list_multipart_uploads(Bucket=site.bucket).get("Uploads")


def arrived(site: Site) -> int:
    """Bytes of texts that are being taken in by either server."""
    total = 0
    for server in (site.one, site.two):
        for path in (server.folder / "temporary").rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size if path.is_file() else 0
    return total


def test_scripts_are_told_apart_by_where_they_come_from_whatever_they_say(site: Site) -> None:
    def ask(address: str, method: str, body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", site.door.port, source_address=(address, 0), timeout=120)
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Content-Type": "application/json"}
        connection.request(method, f"{PREFIX}charrnn/api/v1/models", body, headers)
        answer = connection.getresponse()
        assert answer.status in (200, 201), answer.read()
        assert "Set-Cookie" not in answer.headers
        return json.loads(answer.read())

    made = ask("127.0.0.2", "POST", '{"name": "by a script"}')
    assert [model["id"] for model in ask("127.0.0.2", "GET")["models"]] == [made["id"]]
    assert ask("127.0.0.3", "GET")["models"] == []


def test_a_dashboard_stays_with_the_server_that_has_it_and_what_is_long_comes_compressed(site: Site) -> None:
    def led_to(visitor: Visitor) -> Server:
        return site.of_address(visitor.ask("GET", "/models").headers["X-Served-By"])

    guests: dict[int, Visitor] = {}
    while len(guests) < 2:  # whoever comes next is led to either of them
        guest = Visitor(site.door)
        guest.look()
        guests.setdefault(led_to(guest).port, guest)
    users = set()
    for port, guest in guests.items():
        facts = guest.facts()
        users.add(facts["user"])
        assert psutil.Process(facts["pid"]).parents()[0].pid == led_to(guest).process.pid
        assert led_to(guest).port == port
        assert guest.connected(facts["id"], asked_for_its_kernel) == "ok"
        assert guest.kernel(facts["id"]) == 200
        assert guest.leave(facts["id"]) == 204
    assert len(users) == 2

    contract = requests.get(f"{site.door.api}/openapi.json", headers={"Accept-Encoding": "gzip"}, timeout=120)
    assert contract.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in contract.headers["Vary"]
    assert contract.json()["openapi"]


async def asked_for_its_kernel(connection: WebSocketClientConnection) -> str:
    await connection.write_message(message("kernel_info_request", {}))
    answer: str = (await heard(connection, "kernel_info_reply"))["content"]["status"]
    return answer


def test_a_training_outlives_the_instance_that_trains_and_nothing_is_lost(site: Site, visitor: Visitor) -> None:
    text = "".join(f"{number * number} {VERSE}" for number in range(700)).encode()  # not to be known by heart soon
    id = visitor.uploaded(text, site.one)
    assert visitor.ask("POST", f"/models/{id}/start", site.two, json={"minutes": 10}).status_code == 202
    shown = wait_for(lambda: ((now := visitor.model(id))["can_write"] or not now["is_in_progress"]) and now)
    assert (shown["can_write"], shown["status"]) == (True, "running"), lines(visitor, id)

    news = visitor.ask("GET", f"/models/{id}/events", stream=True)
    assert "Content-Encoding" not in news.headers
    kinds: list[Told] = []
    for each in told(news):  # while the training goes on: nothing on the way waits for its end
        kinds.append(each)
        if {"status", "metric", "log"} <= {one.name for one in kinds}:
            break
    assert visitor.model(id)["status"] == "running"
    news.close()

    record = site.store.get(id)
    assert record.worker_pid is not None
    above = {process.pid for process in psutil.Process(record.worker_pid).parents()}
    trains, other = (site.one, site.two) if site.one.process.pid in above else (site.two, site.one)
    assert trains.process.pid in above
    before = (record.step, lines(visitor, id, other))
    kill(trains)

    taken = wait_for(lambda: (now := site.store.get(id)).attempt > record.attempt and now.step > record.step and now)
    assert taken.worker_pid is not None
    assert other.process.pid in {process.pid for process in psutil.Process(taken.worker_pid).parents()}
    # through the door, which knows now who is gone
    wait_for(lambda: any("resumed at step" in line for line in lines(visitor, id)[len(before[1]) :]))
    assert lines(visitor, id)[: len(before[1])] == before[1]

    assert visitor.ask("POST", f"/models/{id}/stop").status_code == 202
    rested = wait_for(lambda: not (now := visitor.model(id))["is_in_progress"] and now)
    assert (rested["status"], rested["error"]) == ("stopped", None)
    assert rested["step"] > before[0]
    written = visitor.ask("POST", f"/models/{id}/generate", json={"length": 40, "prompt": "A small", "seed": 1})
    assert written.status_code == 200, written.text
    assert len(written.json()["text"]) == 40
    objects = (site.s3.client().get_object(Bucket=site.bucket, Key=key) for key in site.objects() if id in key)
    assert text in [each["Body"].read() for each in objects]


def lines(visitor: Visitor, id: str, at: Server | None = None) -> list[str]:
    """The log of a model's training."""
    answer = visitor.ask("GET", f"/models/{id}/log", at, params={"limit": 10_000})
    return [line["text"] for line in answer.json()["lines"]]


def kill(server: Server) -> None:
    """End a server with all its workers and dashboards, as when its machine loses power."""
    tree = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    for process in tree:
        process.suspend()  # so that none of them sees another one end
    for process in tree:
        process.kill()
    server.process.wait()
