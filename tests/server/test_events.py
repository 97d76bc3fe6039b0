"""What happens to a model, told to whoever listens, on SQLite and on MariaDB."""

from __future__ import annotations

import itertools
import random
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from sqlalchemy import update

import charrnn
from charrnn.jobs.database import Database
from charrnn.jobs.records import Metric
from charrnn.jobs.schema import Model
from charrnn.jobs.status import Status
from tests.jobs.trainings import wait_for
from tests.mariadb import MariaDB
from tests.server.running import TOKEN, Server, configure, running
from tests.server.streams import Told, lines, told
from tests.workspace.played import TEXT, Attempt

UNTIL_LOCKED = """
from pathlib import Path
from jupyter_server.auth import Authorizer
class UntilLocked(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return not Path("locked").exists()
c.ServerApp.authorizer_class = UntilLocked
"""
OPTIONS = ("--CharRNNServer.supervise=False", "--CharRNNServer.tick=0.1", "--CharRNNServer.heartbeat=0.4")


def served(mariadb_server: MariaDB) -> str:
    """The URL of a new database with tables."""
    name = f"server_{uuid.uuid4().hex[:12]}"
    mariadb_server.execute(f"CREATE DATABASE {name}")
    database = Database(mariadb_server.url(name))
    database.upgrade()
    database.close()
    return mariadb_server.url(name)


@pytest.fixture(scope="module", params=["SQLite", "MariaDB"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {}
    if request.param == "MariaDB":
        environment["CHARRNN_DATABASE_URL"] = served(request.getfixturevalue("mariadb_server"))
    with running(tmp_path_factory.mktemp("server"), *OPTIONS, **environment) as server:
        server.database = environment.get("CHARRNN_DATABASE_URL")  # type: ignore[attr-defined]
        yield server


@pytest.fixture(scope="module")
def workspace(server: Server) -> Iterator[charrnn.Workspace]:
    """The models of the server, put there and trained by this process."""
    settings = {"data_folder": server.folder / "data", "database_url": getattr(server, "database", None)}
    workspace = charrnn.Workspace(**{name: value for name, value in settings.items() if value})
    yield workspace
    workspace.close()


def started(workspace: charrnn.Workspace, name: str = "poems") -> str:
    """The id of a model in the queue, the only one there."""
    return workspace.start(workspace.create(name, TEXT).id).id


@contextmanager
def listening(server: Server, id: str, query: str = "", **headers: str) -> Iterator[Iterator[Told]]:
    """The events of a model, for as long as the context lasts."""
    with server.get(f"/models/{id}/events{query}", headers=headers, stream=True) as answer:
        yield told(answer)


def until(events: Iterable[Told], name: str, /, **wanted: Any) -> list[Told]:
    """The events up to the first of that name with such data."""
    heard = []
    for event in events:
        heard.append(event)
        if event.name == name and wanted.items() <= event.data.items():
            return heard
    raise AssertionError(f"no {name} with {wanted} among {heard}")


def steps(events: Iterable[Told], name: str) -> list[int]:
    return [event.data["step"] for event in events if event.name == name]


def texts(events: Iterable[Told]) -> list[str]:
    return [event.data["text"] for event in events if event.name == "log"]


# -- what is told ----------------------------------------------------------------------------------------------------


def test_whoever_comes_hears_all_that_was_and_then_what_happens(server: Server, workspace: charrnn.Workspace) -> None:
    id = started(workspace)
    attempt = Attempt(workspace)
    old = [(position, f"line {position} 🎭") for position in range(2_500)]
    attempt.deliver(
        lines=old, metrics=[Metric(step, float(step), train_loss=1.5) for step in range(1_200)],
        samples=[(0, "e\r\ne"), (100, "the")], fields={"step": 1_200},
    )  # fmt: skip
    with listening(server, id) as events:
        first = next(events)
        assert (first.name, first.data["status"], first.data["step"]) == ("status", "running", 1_200)
        assert first.data == {
            **server.get(f"/models/{id}").json(), "updated_at": first.data["updated_at"],
        }  # fmt: skip
        history = until(events, "log", position=2_499)
        assert texts(history) == [text for _, text in old]
        assert steps(history, "metric") == list(range(1_200))
        assert [event.data["text"] for event in history if event.name == "sample"] == ["e\r\ne", "the"]
        attempt.deliver(lines=[(2_500, "now")], metrics=[Metric(1_250, 3.0)], fields={"step": 1_251, "loss": 0.5})
        heard = until(events, "status", step=1_251)
        assert [event.name for event in heard] == ["log", "metric", "status"]
        assert heard[0].data["text"] == "now"
        assert heard[1].data == {
            "step": 1_250, "seconds": 3.0, "epoch": None, "train_loss": None, "validation_loss": None,
            "learning_rate": None, "characters_per_second": None,
        }  # fmt: skip
        assert heard[2].data["loss"] == 0.5
        attempt.end(lines=[(2_501, "end")])
        assert until(events, "status", status="complete")[0].data["text"] == "end"
        workspace.rename(id, "verses")  # it rests, and is listened to all the same
        assert until(events, "status", name="verses")


def test_a_script_hears_the_end_and_is_let_go(server: Server, workspace: charrnn.Workspace) -> None:
    id = started(workspace)
    attempt = Attempt(workspace)
    with listening(server, id, "?until=rest") as events:
        assert next(events).data["status"] == "running"
        attempt.deliver(lines=[(0, "one")], fields={"step": 5})
        attempt.end(Status.STOPPED, lines=[(1, "two")])
        heard = list(events)
    assert texts(heard) == ["one", "two"]
    assert (heard[-2].name, heard[-2].data["status"]) == ("status", "stopped")
    assert (heard[-1].name, heard[-1].data["reason"]) == ("end", "rest")
    with listening(server, id, "?until=rest") as events:
        assert [event.name for event in events] == ["status", "log", "log", "end"]


def test_a_model_in_the_queue_tells_its_place(server: Server, workspace: charrnn.Workspace) -> None:
    first, second = started(workspace, "first"), started(workspace, "second")
    with listening(server, second) as events:
        assert next(events).data["place_in_queue"] == 2
        workspace.stop(first)
        assert until(events, "status", place_in_queue=1)
    workspace.stop(second)


# -- going on where it ended -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["header", "address"])
def test_whoever_was_cut_off_goes_on_without_a_gap_and_hears_nothing_twice(
    server: Server, workspace: charrnn.Workspace, how: str
) -> None:
    id = started(workspace)
    attempt = Attempt(workspace)
    chance = random.Random(how)
    heard: list[Told] = []
    last, told_lines, told_steps = "", 0, 0
    for turn in range(20):
        for _ in range(chance.randrange(3)):
            attempt.deliver(
                lines=[(told_lines + number, f"{told_lines + number}") for number in range(4)],
                metrics=[Metric(told_steps + number, 1.0) for number in range(3)],
                samples=[(told_steps, "x")], fields={"step": told_steps + 5},
            )  # fmt: skip
            told_lines, told_steps = told_lines + 4, told_steps + 5
        query, headers = "", {}
        if last and how == "header":
            query, headers = "?last_event_id=0:-1:-1:-1", {"Last-Event-ID": last}
        elif last:
            query = f"?last_event_id={last}"
        with listening(server, id, query, **headers) as events:
            some = list(itertools.islice(events, chance.randrange(1, 9) if told_lines > len(heard) else 1))
        heard += some
        last = some[-1].id if some else last
        assert re.fullmatch(r"1(:(-1|\d+)){3}", last), turn
    attempt.end()
    with listening(server, id, f"?until=rest&last_event_id={last}") as events:
        heard += events
    assert texts(heard) == [str(number) for number in range(told_lines)]
    assert steps(heard, "metric") == [step for step in range(told_steps) if step % 5 < 3]
    assert steps(heard, "sample") == list(range(0, told_steps, 5))


def test_a_model_that_is_started_over_tells_its_curves_from_the_beginning(
    server: Server, workspace: charrnn.Workspace
) -> None:
    id = started(workspace)
    attempt = Attempt(workspace)
    attempt.deliver(lines=[(0, "one")], metrics=[Metric(10), Metric(40)], samples=[(0, "old")], fields={"step": 50})
    attempt.end(Status.STOPPED)
    with listening(server, id) as events:
        cut_off = until(events, "sample", step=0)[-1].id
        assert cut_off == "1:0:40:0"
        workspace.start_over(id)
        assert until(events, "status", status="queued")[-1].data["step"] == 0
        attempt = Attempt(workspace)
        attempt.deliver(lines=[(2, "two")], metrics=[Metric(20)], samples=[(0, "new")], fields={"step": 60})
        attempt.end()
        heard = until(events, "status", status="complete")
    with listening(server, id, f"?until=rest&last_event_id={cut_off}") as events:
        resumed = list(events)
    assert texts(resumed) == ["started over", "two"]
    for each in (heard, resumed):
        assert steps(each, "metric") == [20]
        assert [event.data["text"] for event in each if event.name == "sample"] == ["new"]
        assert {event.id.partition(":")[0] for event in each if event.name == "metric"} == {"2"}


# -- how it is told --------------------------------------------------------------------------------------------------


def test_a_quiet_connection_is_kept_alive_and_nobody_on_the_way_holds_anything_back(
    server: Server, workspace: charrnn.Workspace
) -> None:
    id = workspace.create("quiet").id
    with server.get(f"/models/{id}/events", stream=True) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache", "no")
        heard = lines(answer)
        assert next(heard) == "retry: 2000"
        assert sum(line.startswith(":") for line in itertools.islice(heard, 12)) >= 3


def test_a_model_that_is_deleted_says_so_and_ends(server: Server, workspace: charrnn.Workspace) -> None:
    id = workspace.create("short").id
    with listening(server, id) as events:
        assert next(events).data["status"] == "draft"
        workspace.delete(id)
        (end,) = events
    assert (end.name, end.data["reason"]) == ("end", "deleted")
    assert server.get(f"/models/{id}/events").status_code == 404


@pytest.mark.parametrize("query", ["?last_event_id=5", "?last_event_id=1:2:3:x", "?until=dawn", "?from=1"])
def test_what_cannot_be_meant_is_refused(server: Server, workspace: charrnn.Workspace, query: str) -> None:
    answer = server.get(f"/models/{workspace.create('x').id}/events{query}")
    assert answer.status_code == 422
    assert len(answer.json()["fields"]) == 1


def test_what_a_browser_heard_elsewhere_is_refused(server: Server, workspace: charrnn.Workspace) -> None:
    answer = server.get(f"/models/{workspace.create('x').id}/events", headers={"Last-Event-ID": "seventeen"})
    assert answer.json()["fields"] == {
        "last_event_id": 'must be the id of an event, such as 1:20:400:400, not "seventeen"'
    }


# -- many ------------------------------------------------------------------------------------------------------------


def questions(mariadb_server: MariaDB) -> int:
    """How many it has been asked."""
    return int(mariadb_server.execute("SHOW GLOBAL STATUS LIKE 'Com_select'")[0][1])


def test_two_hundred_listeners_cost_the_questions_of_one(tmp_path: Path, mariadb_server: MariaDB) -> None:
    url = served(mariadb_server)

    def seconds_of_questions(number: int) -> float:
        """How long it takes until so many were asked."""
        begin, before = time.perf_counter(), questions(mariadb_server)
        wait_for(lambda: questions(mariadb_server) >= before + number)
        return time.perf_counter() - begin

    with running(tmp_path, *OPTIONS, CHARRNN_DATABASE_URL=url) as server, ExitStack() as stack:
        workspace = charrnn.Workspace(data_folder=server.folder / "data", database_url=url)
        stack.callback(workspace.close)
        id = started(workspace)
        attempt = Attempt(workspace)
        one = stack.enter_context(listening(server, id))
        assert next(one).data["status"] == "running"
        assert seconds_of_questions(20) > 1.5  # one a tick
        others = [stack.enter_context(listening(server, id)) for _ in range(199)]
        for each in others:
            assert next(each).data["status"] == "running"
        assert seconds_of_questions(20) > 1.5  # no more of them than for one
        before, began = questions(mariadb_server), time.perf_counter()
        attempt.deliver(lines=[(0, "for all")], metrics=[Metric(1)], samples=[(1, "x")], fields={"step": 5})
        for each in (one, *others):
            assert [event.name for event in until(each, "status", step=5)] == ["log", "metric", "sample", "status"]
        asked, ticks = questions(mariadb_server) - before, (time.perf_counter() - began) / 0.1
        assert asked < ticks + 50  # and none of them asked for it


def test_forty_models_in_the_queue_cost_the_questions_of_one(tmp_path: Path, mariadb_server: MariaDB) -> None:
    url = served(mariadb_server)

    with running(tmp_path, *OPTIONS, CHARRNN_DATABASE_URL=url) as server, ExitStack() as stack:
        workspace = charrnn.Workspace(data_folder=server.folder / "data", database_url=url)
        stack.callback(workspace.close)
        ids = [started(workspace, f"poem {number}") for number in range(40)]
        streams = [stack.enter_context(listening(server, id)) for id in ids]
        for place, each in enumerate(streams, start=1):
            assert next(each).data["place_in_queue"] == place
        time.sleep(0.5)  # each of them was looked at once more
        before, began = questions(mariadb_server), time.perf_counter()
        time.sleep(1)
        assert (
            questions(mariadb_server) - before <= (time.perf_counter() - began) / 0.1 * 2 + 2
        )  # two a tick, for all of them
        workspace.stop(ids[0])
        for place, each in enumerate(streams[1:], start=1):
            until(each, "status", place_in_queue=place)  # they all have moved up


def test_whoever_takes_nothing_is_dropped_and_can_go_on_later(tmp_path: Path) -> None:
    options = (*OPTIONS, "--CharRNNServer.patience=1")
    with running(tmp_path, *options) as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = started(workspace)
        attempt = Attempt(workspace)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(
                f"GET /charrnn/api/v1/models/{id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Authorization: token {TOKEN}\r\n\r\n".encode()
            )
            wait_for(lambda: open_connections(server))
            size = 2_000  # 40 MB: far more than is kept on the way
            for start in range(0, size, 200):
                attempt.deliver(lines=[(start + number, "x" * 20_000) for number in range(200)])
            wait_for(lambda: not open_connections(server))
        attempt.end()
        with listening(server, id, "?until=rest&last_event_id=1:0:-1:-1") as events:
            assert [event.data["position"] for event in events if event.name == "log"] == list(range(1, size))
        workspace.close()


def open_connections(server: Server) -> int:
    """How many clients the server has now."""
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(each.laddr.port == server.port and each.status == "ESTABLISHED" for each in connections)


def test_only_so_many_may_listen(tmp_path: Path) -> None:
    with running(tmp_path, *OPTIONS, "--CharRNNServer.listeners=2") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = workspace.create("popular").id
        workspace.close()
        with listening(server, id) as one, listening(server, id) as two:
            assert next(one).name == next(two).name == "status"
            answer = server.get(f"/models/{id}/events")
            assert (answer.status_code, answer.json()["reason"]) == (429, "QuotaExceeded")
        wait_for(lambda: server.get(f"/models/{id}/events", stream=True).status_code == 200)


# -- whose -----------------------------------------------------------------------------------------------------------


def test_only_who_may_see_a_model_may_listen_to_it(tmp_path: Path) -> None:
    people = "--ServerApp.identity_provider_class=tests.server.people.People"
    with running(tmp_path, *OPTIONS, people, token=None, CHARRNN_PRIVACY="own") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data", privacy="own")
        id = workspace.as_user("anna").create("diary").id
        workspace.close()
        with listening(server, id, Authorization="token anna") as events:
            assert next(events).data["name"] == "diary"
        answers = [
            server.get(f"/models/{id}/events", headers=headers) for headers in ({"Authorization": "token berta"}, {})
        ]
        assert [answer.status_code for answer in answers] == [404, 403]


def test_who_may_no_longer_see_a_model_is_told_and_let_go(tmp_path: Path) -> None:
    people = "--ServerApp.identity_provider_class=tests.server.people.People"
    with running(tmp_path, *OPTIONS, people, token=None, CHARRNN_PRIVACY="own") as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data", privacy="own")
        id = workspace.as_user("anna").create("diary").id
        with listening(server, id, Authorization="token anna") as events:
            assert next(events).data["name"] == "diary"
            given_away = update(Model).where(Model.id == id).values(owner="berta")
            workspace._store.database.write(lambda connection: connection.execute(given_away))
            (end,) = events
        workspace.close()
        assert (end.name, end.data["reason"]) == ("end", "access")
        again = server.get(f"/models/{id}/events", headers={"Authorization": "token anna"})
        assert again.status_code == 404


def test_who_may_no_longer_read_anything_is_told_and_let_go(tmp_path: Path) -> None:
    configure(tmp_path, UNTIL_LOCKED)
    with running(tmp_path, *OPTIONS) as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = workspace.create("diary").id
        workspace.close()
        with listening(server, id) as events:
            assert next(events).data["name"] == "diary"
            (tmp_path / "locked").touch()
            (end,) = events
        assert (end.name, end.data["reason"]) == ("end", "access")
        assert server.get(f"/models/{id}/events").status_code == 403


# -- when something is away ------------------------------------------------------------------------------------------


def test_listeners_stay_while_the_database_is_away(tmp_path: Path, mariadb_server: MariaDB) -> None:
    url = served(mariadb_server)
    with running(tmp_path, *OPTIONS, CHARRNN_DATABASE_URL=url) as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data", database_url=url)
        id = workspace.create("patient").id
        with listening(server, id) as events:
            assert next(events).data["name"] == "patient"
            mariadb_server.stop()
            answer = server.get(f"/models/{id}/events")
            assert (answer.status_code, answer.json()["reason"]) == (503, "DatabaseUnavailable")
            mariadb_server.start()
            workspace.rename(id, "rewarded")
            assert until(events, "status", name="rewarded")
        workspace.close()


def test_a_server_that_ends_lets_its_listeners_go(tmp_path: Path) -> None:
    with running(tmp_path, *OPTIONS) as server:
        workspace = charrnn.Workspace(data_folder=server.folder / "data")
        id = workspace.create("left").id
        workspace.close()
        with listening(server, id) as events:
            assert next(events).data["name"] == "left"
            server.stop()
            with pytest.raises((requests.RequestException, StopIteration)):
                next(events)
        assert "Traceback" not in server.messages
        assert "Task was destroyed" not in server.messages
