"""A real server in a process of its own, on a port and in a folder of its own, for tests that use it over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

import charrnn
import charrnn_server
from tests.command_line import variables
from tests.ports import free_port

TOKEN = "the-token-of-this-test"
PACKAGES = os.pathsep.join(str(Path(package.__file__).parent.parent) for package in (charrnn, charrnn_server))
STARTING, ENDING = 180, 90  # seconds


@dataclass
class Server:
    """A server that runs. Requests carry the token, unless they bring headers that say otherwise."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path  # the data folder is in it
    base_url: str = "/"
    token: str | None = TOKEN

    @property
    def site(self) -> str:
        """The server's address with its base URL, no slash at the end."""
        return f"http://127.0.0.1:{self.port}{self.base_url}".rstrip("/")

    @property
    def api(self) -> str:
        """The address under which the API's routes are."""
        return f"{self.site}/charrnn/api/v1"

    @property
    def messages(self) -> str:
        """What the server has printed."""
        return (self.folder / "messages").read_text(encoding="utf-8", errors="replace")

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request to a route of the API, without cookies of former ones."""
        headers = {} if self.token is None else {"Authorization": f"token {self.token}"}
        headers |= options.pop("headers", {})
        options.setdefault("timeout", 120)
        return requests.request(method, self.api + path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a route of the API."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """POST to a route of the API."""
        return self.ask("POST", path, **options)

    def memory(self) -> int:
        """Bytes of the server's process alone (resident)."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to end, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(ENDING)


@contextmanager
def running(
    folder: Path, *arguments: str, module: Sequence[str] = ("charrnn_server",), base_url: str = "/",
    token: str | None = TOKEN, probe: tuple[str, int] = ("/charrnn/api/v1/live", 204), spare_dashboards: int = 0,
    port: int | None = None, stdin: int = subprocess.DEVNULL, **environment: str,
) -> Iterator[Server]:  # fmt: skip
    """`jupyter charrnn` with these arguments, or another module's server, ended at the end.

    `folder` gets the data folder, what the server prints, and all that Jupyter wants to write. `environment` is more of
    it, such as CHARRNN_DATABASE_URL. With `token` None the server asks for none of ours (the public launch). It is
    there when the address of `probe` answers with that status. No kernel waits for a dashboard, unless a test says so.
    `port` is for a server that takes another's place.
    """
    port = port or free_port()
    places = {f"JUPYTER_{name}_DIR": str(folder / "jupyter" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    (folder / "root").mkdir(parents=True, exist_ok=True)
    options = [
        "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder / 'root'}", f"--ServerApp.base_url={base_url}",
        *([] if token is None else [f"--IdentityProvider.token={token}"]),
        *([f"--CharRNNServer.spare_dashboards={spare_dashboards}"] if "charrnn_server" in module else []),
    ]  # fmt: skip
    with (folder / "messages").open("ab") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *options, *arguments], cwd=folder, stdin=stdin,
            stdout=messages, stderr=messages,
            env=variables(**places, CHARRNN_DATA_FOLDER=str(folder / "data"), PYTHONPATH=PACKAGES, **environment),
        )  # fmt: skip
    server = Server(process, port, folder, base_url, token)
    try:
        wait_until_live(server, *probe)
        yield server
    finally:
        try:
            server.stop()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def configure(folder: Path, python: str) -> None:
    """Give Jupyter a configuration file, for a server that will run in this folder."""
    config = folder / "jupyter" / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "jupyter_server_config.py").write_text(f"c = get_config()\n{python}", encoding="utf-8")


def wait_until_live(server: Server, path: str = "/charrnn/api/v1/live", status: int = 204) -> None:
    """Wait until it answers, or say why it does not."""
    give_up = time.monotonic() + STARTING
    while True:
        assert server.process.poll() is None, server.messages[-3000:]
        try:
            if requests.get(server.site + path, timeout=120).status_code == status:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        assert time.monotonic() < give_up, server.messages[-3000:]
        time.sleep(0.05)
