"""charrnn in another's Jupyter server: it costs nothing until it is used, and takes people as that server does."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from charrnn.jobs.status import Status
from charrnn.workspace import Workspace
from tests.command_line import variables
from tests.jobs.trainings import wait_for
from tests.server.running import PACKAGES, TOKEN, Server, configure, running

FOREIGN = "c.ServerApp.jpserver_extensions = {'charrnn_server': True}\n"
HUB = """
from jupyter_server.auth import IdentityProvider, User
class Hub(IdentityProvider):
    def get_user(self, handler):
        name = handler.request.headers.get("X-Hub-User")
        handler._token_authenticated = True
        return User(name) if name else None
c.ServerApp.identity_provider_class = Hub
"""
LOAD = """
import json, sys, time
from jupyter_server.serverapp import ServerApp
app = ServerApp.instance()
app.initialize(["--no-browser", "--ServerApp.allow_root=True"], find_extensions=False)
before = set(sys.modules)
start = time.process_time()
manager = app.extension_manager
assert manager.add_extension("charrnn_server", enabled=True)
manager.link_extension("charrnn_server")
manager.load_extension("charrnn_server")
seconds = time.process_time() - start
assert "charrnn" in app.web_app.settings, "it was not loaded"
print(json.dumps({"seconds": seconds, "modules": sorted(set(sys.modules) - before)}))
"""
HEAVY = ("sqlalchemy", "alembic", "pymysql", "fsspec", "pydantic", "numpy", "tensorflow", "safetensors", "voila")


def loaded(folder: Path) -> dict[str, Any]:
    """How long a server that runs already takes to load the extension, and what it imports for that."""
    places = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    result = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, timeout=300, check=False, cwd=folder,
        env=variables(**places, CHARRNN_DATA_FOLDER=str(folder / "charrnn"), PYTHONPATH=PACKAGES),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter server of somebody who has other things to do in it too."""
    folder = tmp_path_factory.mktemp("foreign")
    configure(folder, FOREIGN)
    with running(folder, module=("jupyter_server",), base_url="/some/where/") as server:
        yield server


def test_loading_it_takes_a_moment_and_imports_nothing_heavy(tmp_path: Path) -> None:
    times = []
    for number in range(3):
        (tmp_path / str(number)).mkdir()
        found = loaded(tmp_path / str(number))
        heavy = {name.partition(".")[0] for name in found["modules"]} & set(HEAVY)
        assert heavy == set()
        assert not (tmp_path / str(number) / "charrnn").exists()
        times.append(found["seconds"])
    assert min(times) < 0.25  # seconds of the processor, of which it takes 0.01; loading the workspace takes 0.5


def test_nothing_is_opened_or_started_until_it_is_used(foreign: Server) -> None:
    data = foreign.folder / "data"
    assert foreign.get("/live").status_code == 204
    assert requests.get(f"{foreign.site}/api", timeout=120).status_code == 200
    assert not data.exists()
    assert foreign.get("/models").json()["models"] == []
    assert (data / "charrnn.sqlite3").exists()
    assert foreign.get("/health").json()["supervisor"]["ok"] is False
    model = foreign.post("/models", json={"name": "poems", "sample": "python", "options": {"minutes": 5}}).json()
    assert foreign.get("/health").json()["supervisor"]["ok"] is False, "nobody asked for a training"
    assert foreign.post(f"/models/{model['id']}/start").status_code == 202
    wait_for(lambda: foreign.get(f"/models/{model['id']}").json()["status"] == "running")
    assert foreign.get("/health").json()["supervisor"]["ok"] is True
    for _ in range(2):
        foreign.post(f"/models/{model['id']}/stop")
    wait_for(lambda: not foreign.get(f"/models/{model['id']}").json()["is_in_progress"])


def test_everything_lies_below_the_base_url(foreign: Server) -> None:
    headers = {"Authorization": f"token {TOKEN}"}
    answer = foreign.post("/models", json={"name": "below"})
    assert answer.headers["Location"].startswith("/some/where/charrnn/api/v1/models/")
    assert requests.get(f"http://127.0.0.1:{foreign.port}/charrnn/api/v1/live", timeout=120).status_code == 404
    page = requests.get(f"{foreign.site}/charrnn/models", headers=headers, timeout=120)
    assert page.status_code == 200
    linked = re.findall(r'(?:href|src|action)="(/[^"]*)"', page.text)
    assert linked
    assert [link for link in linked if not link.startswith("/some/where/")] == []
    login = requests.get(f"{foreign.site}/charrnn/models", timeout=120, allow_redirects=False)
    assert login.headers["Location"].startswith("/some/where/login?next=%2Fsome%2Fwhere%2Fcharrnn")
    assert foreign.get("/openapi.json").json()["servers"][0]["url"].startswith("/some/where")


@pytest.mark.parametrize("strict", [False, True])
def test_jupyter_has_nothing_to_complain_about(tmp_path: Path, strict: bool) -> None:
    configure(tmp_path, FOREIGN + f"c.ServerApp.allow_unauthenticated_access = {not strict}\n")
    with running(tmp_path, module=("jupyter_server",)) as server:
        assert server.get("/models").status_code == 200
        assert server.get("/models", headers={"Authorization": ""}).status_code == 403
        page = requests.get(f"{server.site}/charrnn/models", timeout=120, allow_redirects=False)
        assert (page.status_code, page.headers["Location"][:12]) == (302, "/login?next=")
        complaints = [line for line in server.messages.splitlines() if re.search("registered for|Error|error", line)]
        assert [line for line in complaints if "charrnn" in line] == []


def test_people_whom_the_server_knows_own_their_models(tmp_path: Path) -> None:
    configure(tmp_path, FOREIGN + HUB)
    with running(tmp_path, module=("jupyter_server",), token=None, CHARRNN_MAX_QUEUED="1") as server:
        ada, bob = {"X-Hub-User": "ada"}, {"X-Hub-User": "bob"}
        model = server.post("/models", json={"name": "poems", "sample": "python"}, headers=ada).json()
        assert model["owner"] == "ada"
        assert server.get(f"/models/{model['id']}", headers=bob).json()["owner"] == "ada"
        answer = server.ask("DELETE", f"/models/{model['id']}", headers=bob)
        assert answer.status_code == 403
        assert "belongs to 'ada'" in answer.json()["message"]
        assert server.get("/models").status_code == 403
        assert server.ask("DELETE", f"/models/{model['id']}", headers=ada).status_code == 204


def test_a_server_that_ends_lets_workers_save(tmp_path: Path) -> None:
    configure(tmp_path, FOREIGN)
    with running(tmp_path, module=("jupyter_server",)) as server:
        options = {"minutes": 10, "rnn_size": 16, "num_layers": 1, "log_every": 1}
        model = server.post("/models", json={"name": "poems", "sample": "python", "options": options}).json()
        assert server.post(f"/models/{model['id']}/start").status_code == 202
        wait_for(lambda: server.get(f"/models/{model['id']}").json()["step"] > 0)
        assert server.stop(signal.SIGTERM) == 0
    workspace = Workspace(data_folder=tmp_path / "data")
    record = workspace.get(model["id"])
    assert record.status == Status.QUEUED
    assert record.step > 0
    assert record.checkpoint is not None
    assert workspace.supervised() is False
    workspace.close()


def test_who_extends_the_server_finds_every_setting_as_a_trait() -> None:
    from charrnn.config import Settings, variable
    from charrnn_server.app import CharRNNServer

    traits = CharRNNServer.class_own_traits(config=True)
    for name in Settings.model_fields:
        assert name in traits
        assert variable(name) in traits[name].help
    others = {
        "supervise",
        "threads",
        "long_threads",
        "silence",
        "tick",
        "heartbeat",
        "patience",
        "listeners",
        "streams",
        "dashboard",
        "spare_dashboards",
        "abandoned",
        "unopened",
    }
    assert set(traits) - set(Settings.model_fields) <= {*others, "public"}
