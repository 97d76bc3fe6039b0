"""The dashboard's page and its kernels: what is there at once, whose they are, how many there may be, when they end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.jobs.trainings import wait_for
from tests.server import raw
from tests.server.dashboards import BY_CODE, FACTS, Guest, heard, kernels, message, notebook
from tests.server.places import BY_HAND, PREFIX, new_model, workspace_of
from tests.server.running import TOKEN, Server, configure, running
from tests.workspace.played import trained

HOSTILE = "</script><script>alert('x')</script><img src=x onerror=alert(1)>"
QUICK = ("--CharRNNServer.abandoned=3", "--CharRNNServer.unopened=10")
PATIENT = "--CharRNNServer.unopened=600"  # however long opening several takes on a busy machine
READ_ONLY = """
from jupyter_server.auth import Authorizer
class ReadOnly(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == "read"
c.ServerApp.authorizer_class = ReadOnly
"""
SHOWN_LATE = """
import sys, time
sys.stdout.flush_timeout = sys.stderr.flush_timeout = 0  # whoever runs a cell hears that it is over
get_ipython().events.register("pre_run_cell", lambda info:
    get_ipython().kernel.iopub_thread.schedule(lambda: time.sleep(6)))  # long before it hears what the cell has shown
"""
HUB = """
from jupyter_server.auth import IdentityProvider, User
class Hub(IdentityProvider):
    def get_user(self, handler):
        name = handler.request.headers.get("X-Hub-User")
        return User(name) if name else None
c.ServerApp.identity_provider_class = Hub
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server below a prefix, whose dashboards tell about their processes."""
    folder = tmp_path_factory.mktemp("dashboards")
    with running(folder, BY_HAND, PATIENT, notebook(folder, FACTS), base_url=PREFIX) as server:
        yield server


@pytest.fixture
def guest(server: Server) -> Iterator[Guest]:
    guest = Guest(server)
    guest.look()
    before = kernels(server)
    yield guest
    for pid in kernels(server) - before:
        psutil.Process(pid).kill()
    wait_for(lambda: kernels(server) <= before)


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_has_the_newest_models_before_there_is_any_kernel(
    server: Server, model_file: Path
) -> None:
    with workspace_of(server) as workspace:
        trained(workspace, model_file, "sonnets")
    new_model(server, HOSTILE)
    guest = Guest(server)
    answer = guest.look()
    assert answer.status_code == 200
    assert kernels(server) == set()
    assert answer.text.endswith("</html>")
    rows = re.findall(r"<li>(.*?)</li>", answer.text, re.DOTALL)
    assert "sonnets" in rows[1]
    assert "complete" in rows[1]
    assert "100 %" in rows[1]
    assert "draft" in rows[0]
    assert "<img" not in answer.text
    assert answer.text.count("<script") == answer.text.count("</script>") == 3
    assert "Starting the dashboard" in answer.text


def test_its_scripts_are_told_where_everything_is(server: Server) -> None:
    guest = Guest(server)
    guest.look()
    told = guest.told()
    assert (told["base_url"], told["api"]) == (PREFIX, f"{PREFIX}charrnn/api/v1")
    assert guest.base.endswith(told["dashboard"])
    assert told["xsrf"] == guest.session.cookies["_xsrf"]
    site = f"http://127.0.0.1:{server.port}"
    answer = guest.session.get(site + told["api"] + "/models", timeout=60)
    assert answer.status_code == 200


def test_nothing_of_it_comes_from_elsewhere(server: Server) -> None:
    guest = Guest(server)
    answer = guest.look()
    policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert not re.search(r"https?:|\*|unsafe-eval", answer.headers["Content-Security-Policy"])
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["script-src"] == f"'self' 'sha256-{digest}' blob:"
    for address in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text):
        assert address.startswith((f"{PREFIX}charrnn", "data:image/svg+xml,")), address
    found = re.search(r'id="jupyter-config-data" type="application/json">(.*?)</script>', answer.text, re.DOTALL)
    assert found is not None
    configuration = json.loads(found[1])
    assert not re.search(r"https?://", found[1])
    assert configuration["fullMathjaxUrl"] is None
    assert len(configuration["federated_extensions"]) == 3


def test_it_is_sent_compressed_to_whoever_takes_that(server: Server) -> None:
    guest = Guest(server)
    answer = guest.look()
    assert answer.headers["Content-Encoding"] == "gzip"
    plain = guest.session.get(f"{server.site}/charrnn", headers={"Accept-Encoding": ""}, timeout=60)
    assert "Content-Encoding" not in plain.headers


def test_files_of_the_front_end_are_small_kept_and_only_those(server: Server) -> None:
    guest = Guest(server)
    guest.look()
    found = re.search(r'"fullStaticUrl": "([^"]*)"', guest.page)
    assert found is not None
    files = f"http://127.0.0.1:{server.port}{found[1]}"
    answer = guest.session.get(f"{files}/voila.js", timeout=60)
    assert answer.status_code == 200
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Type"].startswith(("text/javascript", "application/javascript"))
    plain = guest.session.get(f"{files}/voila.js", headers={"Accept-Encoding": ""}, timeout=60)
    assert "Content-Encoding" not in plain.headers
    assert plain.content == answer.content
    for path in ("/../../../../etc/passwd", "/..%2f..%2fconf.json", "/nothing.js", "/%2e%2e/page.html", "/.hidden"):
        with raw.connected(server) as connection:
            connection.sendall(raw.head(server, "GET", found[1] + path))
            assert raw.status(raw.answer(connection)) == 404, path
    assert requests.get(f"{files}/voila.js", timeout=60).status_code == 403


def test_without_a_database_the_page_says_so(tmp_path: Path) -> None:
    with running(tmp_path, CHARRNN_DATABASE_URL="mysql://nobody@127.0.0.1:1/nothing") as server:
        guest = Guest(server)
        answer = guest.look()
        assert answer.status_code == 503
        assert 'class="trouble" role="alert"' in answer.text
        assert answer.text.count("<script") == 2, "nothing is started"


# -- its process -----------------------------------------------------------------------------------------------------


def test_a_kernel_is_this_python_with_the_servers_settings_and_little_else(server: Server, guest: Guest) -> None:
    facts = guest.facts()
    assert facts["python"] == sys.executable
    assert (facts["user"], facts["origin"]) == (None, None)
    assert facts["database"] == f"sqlite:///{server.folder / 'data' / 'charrnn.sqlite3'}"
    assert facts["environment"]["OMP_NUM_THREADS"] == "1"
    assert facts["environment"]["CHARRNN_COOKIE_SECRET"] == ""
    assert not any(TOKEN in value for value in facts["environment"].values())
    modules = {name.partition(".")[0] for name in facts["modules"]}
    assert modules & {"tensorflow", "pydevd", "pandas", "alembic"} == set()
    assert "" not in facts["path"], "the folder that it runs in is not searched for modules"
    assert kernels(server) == {facts["pid"]}


def test_jupyters_own_list_of_kernels_does_not_have_it(server: Server, guest: Guest) -> None:
    id = guest.open()["id"]
    headers = {"Authorization": f"token {TOKEN}"}
    assert requests.get(f"{server.site}/api/kernels", headers=headers, timeout=60).json() == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/restart"), ("POST", "/interrupt")):
        answer = requests.request(method, f"{server.site}/api/kernels/{id}{path}", headers=headers, timeout=60)
        assert answer.status_code >= 400
    assert guest.kernel(id) == 200


def test_a_browser_can_send_what_widgets_say_and_never_code(server: Server, guest: Guest, tmp_path: Path) -> None:
    id = guest.open()["id"]
    (pid,) = kernels(server)
    touched = tmp_path / "touched"
    code = {"code": BY_CODE.format(str(touched)), "silent": False, "store_history": False, "user_expressions": {}}
    debugging = {"type": "request", "seq": 1, "command": "evaluate", "arguments": {"expression": code["code"]}}
    refused = [
        ("execute_request", code, "shell"), ("execute_request", code, "control"), ("execute_request", code, "iopub"),
        ("debug_request", debugging, "control"), ("input_reply", {"value": "x"}, "stdin"),
        ("complete_request", {"code": "os.", "cursor_pos": 3}, "shell"),
        ("inspect_request", {"code": "open", "cursor_pos": 2, "detail_level": 1}, "shell"),
        ("history_request", {"hist_access_type": "tail", "n": 10}, "shell"),
        ("shutdown_request", {"restart": False}, "control"), ("shutdown_request", {"restart": False}, "shell"),
        ("interrupt_request", {}, "control"), ("create_subshell_request", {}, "control"),
    ]  # fmt: skip

    async def talk(connection: WebSocketClientConnection) -> None:
        for kind, content, channel in refused:
            connection.write_message(message(kind, content, channel))
        connection.write_message(message("kernel_info_request", {}))
        kinds = set()
        while "kernel_info_reply" not in kinds:
            text = await asyncio.wait_for(connection.read_message(), 60)
            assert text is not None
            kinds.add(json.loads(text)["msg_type"])
        assert kinds <= {"kernel_info_reply", "status"}
        connection.write_message(message("comm_info_request", {}))
        await heard(connection, "comm_info_reply")

    guest.connected(id, talk)
    assert not touched.exists()
    assert kernels(server) == {pid}


def test_a_notebook_that_fails_is_told_and_leaves_no_kernel(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, notebook(tmp_path, "secret = 'abc'\nraise RuntimeError(secret)")) as server:
        guest = Guest(server)
        guest.look()
        answer = guest.post("/kernels")
        assert (answer.status_code, answer.json()["reason"]) == (503, "CannotStart")
        assert "abc" not in answer.text
        assert "abc" in server.messages
        wait_for(lambda: kernels(server) == set())


def test_what_a_busy_kernel_shows_late_is_shown(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, PATIENT, notebook(tmp_path, SHOWN_LATE, FACTS)) as server:
        guest = Guest(server)
        guest.look()
        (output,) = guest.post("/kernels").json()["outputs"]
        assert {output["data"]["application/json"]["pid"]} == kernels(server)


# -- whose it is -----------------------------------------------------------------------------------------------------


def test_people_have_their_own_and_nobody_gets_at_anothers(tmp_path: Path) -> None:
    configure(tmp_path, HUB)
    with running(tmp_path, BY_HAND, PATIENT, notebook(tmp_path, FACTS), token=None, CHARRNN_ADMINS="teacher") as server:
        ada, bob = Guest(server, **{"X-Hub-User": "ada"}), Guest(server, **{"X-Hub-User": "bob"})
        facts = ada.facts()
        assert facts["user"] == "ada"
        assert facts["admins"] == ["teacher"]
        bob.look()
        id = facts["id"]
        assert (bob.kernel(id), bob.leave(id), bob.refused(id, **{"X-Hub-User": "bob"})) == (404, 404, 404)
        assert bob.refused(id) == 403, "nobody is logged in"
        assert ada.kernel(id) == 200
        assert ada.refused(id, **{"X-Hub-User": "ada"}) == 101
        assert ada.refused(id, **{"X-Hub-User": "ada", "Origin": "http://elsewhere.example"}) == 403
        assert bob.facts()["pid"] != facts["pid"]


def test_it_is_opened_and_left_only_with_what_our_page_knows(server: Server, guest: Guest) -> None:
    assert guest.post("/kernels", xsrf=False).status_code == 403
    assert guest.post(
        "/kernels", Origin="http://elsewhere.example", Referer="http://elsewhere.example/"
    ).status_code in (
        403,
        404,
    )
    assert kernels(server) == set()
    id = guest.open()["id"]
    assert guest.post(f"/kernels/{id}/leave", xsrf=False).status_code == 403
    assert guest.kernel(id) == 200
    xsrf = guest.told()["xsrf"]
    beacon = guest.session.post(f"{guest.base}/kernels/{id}/leave", params={"_xsrf": xsrf}, data=b"", timeout=60)
    assert beacon.status_code == 204
    wait_for(lambda: kernels(server) == set())
    assert guest.kernel(id) == 404


def test_who_may_only_read_sees_the_list_and_starts_nothing(tmp_path: Path) -> None:
    configure(tmp_path, READ_ONLY)
    with running(tmp_path) as server:
        guest = Guest(server)
        assert guest.look().status_code == 200
        assert guest.post("/kernels").status_code == 403
        assert kernels(server) == set()


# -- how many, how long ------------------------------------------------------------------------------------------------


def test_a_kernel_without_a_browser_ends_and_one_with_a_browser_stays(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, *QUICK, notebook(tmp_path, FACTS)) as server:
        guest = Guest(server)
        kept = guest.facts()

        async def sit(_: WebSocketClientConnection) -> None:
            unopened, left = guest.facts(), guest.facts()
            other = await websocket_connect(guest.socket(left["id"]))
            other.close()
            for _ in range(600):
                if kernels(server) == {kept["pid"]}:
                    break
                await asyncio.sleep(0.1)
            assert kernels(server) == {kept["pid"]}
            assert (guest.kernel(unopened["id"]), guest.kernel(left["id"])) == (404, 404)

        guest.connected(kept["id"], sit)
        wait_for(lambda: kernels(server) == set())


def test_a_browser_that_is_slow_keeps_its_kernel_by_asking_for_it(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, "--CharRNNServer.unopened=8", notebook(tmp_path, FACTS)) as server:
        guest = Guest(server)
        opened = guest.facts()
        began = time.monotonic()
        while time.monotonic() - began < 10:
            assert guest.kernel(opened["id"]) == 200
            time.sleep(0.2)
        assert kernels(server) == {opened["pid"]}
        wait_for(lambda: kernels(server) == set())


def test_pages_that_are_opened_and_left_alone_leave_no_kernel(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, *QUICK, notebook(tmp_path, FACTS), spare_dashboards=1) as server:
        for _ in range(100):
            guest = Guest(server)
            guest.look()
        path = "/charrnn/dashboard/kernels"
        for _ in range(3):  # somebody who is gone before the kernel is there
            with raw.connected(server) as connection:
                connection.sendall(raw.head(server, "POST", path, Content_Length=0))
        opened = guest.facts()
        wait_for(lambda: len(kernels(server)) == 1 and opened["pid"] not in kernels(server))
        assert guest.kernel(opened["id"]) == 404


def test_beyond_the_limit_a_plain_page_says_so_until_somebody_leaves(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, PATIENT, notebook(tmp_path, FACTS), CHARRNN_MAX_DASHBOARDS="1") as server:
        first, second = Guest(server), Guest(server)
        second.look()
        id = first.open()["id"]
        answer = second.post("/kernels")
        assert (answer.status_code, answer.json()["reason"]) == (503, "Busy")
        assert int(answer.headers["Retry-After"]) > 0
        page = second.look()
        assert page.status_code == 503
        assert int(page.headers["Retry-After"]) > 0
        assert "As many dashboards are open" in page.text
        for link in ("/charrnn/models", "/charrnn/upload", "/charrnn/api/docs"):
            assert f'href="{link}"' in page.text
            assert second.session.get(server.site + link, timeout=60).status_code == 200
        assert len(kernels(server)) == 1
        assert first.leave(id) == 204
        assert second.look().status_code == 200
        assert second.open()["id"] != id


def test_several_are_open_at_once_each_with_a_process_of_its_own(server: Server, guest: Guest) -> None:
    opened = [Guest(server).facts() for _ in range(4)]
    assert len({each["pid"] for each in opened}) == 4
    assert kernels(server) == {each["pid"] for each in opened}


def test_a_kernel_that_waits_is_handed_out_once_and_another_takes_its_place(tmp_path: Path) -> None:
    with running(tmp_path, BY_HAND, *QUICK, notebook(tmp_path, FACTS), spare_dashboards=1) as server:
        wait_for(lambda: len(kernels(server)) == 1)  # nobody has asked for anything yet
        (waiting,) = kernels(server)
        guest = Guest(server)
        first = guest.facts()
        assert first["pid"] == waiting
        second = guest.facts()
        assert second["pid"] != first["pid"]
        wait_for(lambda: len(kernels(server) - {first["pid"], second["pid"]}) == 1)
        wait_for(lambda: len(kernels(server)) == 1)
        (waiting,) = kernels(server)
        os.kill(waiting, signal.SIGKILL)
        assert guest.facts()["pid"] != waiting


def test_a_kernel_that_dies_is_gone_for_good_and_its_browser_hears_of_it(server: Server, guest: Guest) -> None:
    facts = guest.facts()

    async def kill(connection: WebSocketClientConnection) -> None:
        os.kill(facts["pid"], signal.SIGKILL)
        while await asyncio.wait_for(connection.read_message(), 60) is not None:
            pass

    guest.connected(facts["id"], kill)
    assert guest.kernel(facts["id"]) == 404
    assert kernels(server) == set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_with_the_server_all_kernels_end(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, BY_HAND, PATIENT, notebook(tmp_path, FACTS), spare_dashboards=1) as server:
        guest = Guest(server)
        guest.open()
        wait_for(lambda: len(kernels(server)) == 2)
        processes = [psutil.Process(pid) for pid in kernels(server)]
        server.stop(number)
        wait_for(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes))


# -- in other places ---------------------------------------------------------------------------------------------------


def test_in_somebody_elses_server_it_is_there_from_its_first_use_on(tmp_path: Path) -> None:
    configure(
        tmp_path,
        "c.ServerApp.jpserver_extensions = {'charrnn_server': True, 'voila.server_extension': True}\n"
        f"c.CharRNNServer.dashboard = {notebook(tmp_path, FACTS).partition('=')[2]!r}\n",
    )
    with running(tmp_path, module=("jupyter_server",), probe=("/api", 200), base_url="/some/where/") as server:
        assert kernels(server) == set()
        guest = Guest(server)
        assert guest.look().status_code == 200
        facts = guest.facts()
        assert facts["user"] is None
        assert guest.refused(facts["id"]) == 101
        headers = {"Authorization": f"token {TOKEN}"}
        voila = requests.get(f"{server.site}/voila/static/voila.js", headers=headers, timeout=60)
        assert voila.status_code == 200, "that extension keeps its own addresses"
