"""The wheel holds everything: installed where nothing of the checkout is, the dashboard opens, below a prefix too."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import PATIENCE, Visit, chromium, new_context, open_dashboard
from tests.server.dashboards import kernels
from tests.server.running import Server, configure, wait_until_live

ROOT = Path(__file__).parent.parent.parent
TOKEN, PREFIX = "the-token-of-this-test", "/user/ann/"
STARTED = "import sys, charrnn, charrnn_server; print(sys.prefix, charrnn.__file__, charrnn_server.__file__)"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a command prints that must succeed, with nothing of this checkout on its path."""
    result = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=clean(), capture_output=True, encoding="utf-8", timeout=600,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout


def clean() -> dict[str, str]:
    """The environment without what would bring in the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def build(source: Path, target: Path, kind: str) -> Path:
    """A wheel or an sdist of a source tree, with the builder that is installed."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", target, cwd=source)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel in it. What charrnn depends on is borrowed from this environment.

    A `.pth` in a borrowed folder is not read, so an editable charrnn there is not what is imported.
    """
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    run(
        python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
        "--ignore-installed", wheel,
    )  # fmt: skip
    return python


@pytest.fixture
def server(python: Path, tmp_path: Path) -> Iterator[Server]:
    """Somebody else's Jupyter server with the wheel in it, below a prefix, as a hub starts them."""
    from tests.ports import free_port

    configure(tmp_path, "")
    places = {f"JUPYTER_{name}_DIR": str(tmp_path / "jupyter" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    (tmp_path / "root").mkdir()
    port = free_port()
    with (tmp_path / "messages").open("wb") as messages:
        process = subprocess.Popen(
            [python, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
             f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={tmp_path / 'root'}",
             f"--ServerApp.base_url={PREFIX}", f"--IdentityProvider.token={TOKEN}"],
            cwd=tmp_path, env={**clean(), **places, "CHARRNN_DATA_FOLDER": str(tmp_path / "data"),
                 "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter")},  # widgets' front ends, borrowed too
            stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
        )  # fmt: skip
    server = Server(process, port, tmp_path, PREFIX, TOKEN)
    try:
        wait_until_live(server)
        yield server
    finally:
        server.stop()


def test_the_wheel_in_an_environment_of_its_own_has_everything_and_starts(python: Path, tmp_path: Path) -> None:
    prefix, *files = run(python, "-c", STARTED, cwd=tmp_path).split()
    assert all(file.startswith(prefix) for file in files)
    assert "starts" in run(ROOT / "scripts" / "check_wheel.sh", python, cwd=tmp_path)


def test_an_sdist_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    archive = build(ROOT, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    other = build(source, tmp_path / "wheel", "wheel")
    names = [sorted(zipfile.ZipFile(each).namelist()) for each in (wheel, other)]
    assert names[0] == names[1]
    assert any(name.endswith("dashboard.ipynb") for name in names[0])
    assert any("migrations/versions/0001" in name for name in names[0])
    assert any(name.endswith("widgets/view.js") for name in names[0])
    assert not any("tests/" in name or "__pycache__" in name for name in names[0])


def test_the_dashboard_of_the_wheel_opens_in_somebodys_server_below_a_prefix(server: Server, python: Path) -> None:
    visit = Visit(server)
    with chromium() as browser:
        page = new_context(browser, visit).new_page()
        sockets: list[str] = []
        page.on("websocket", lambda socket: sockets.append(socket.url))
        open_dashboard(page, server)
        commands = [Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") for pid in kernels(server)]
        assert commands
        assert all(command.startswith(str(python)) for command in commands)
        other = page.get_by_role("navigation", name="Places").get_by_role("button", name="New model")
        other.click()
        expect(other).to_have_attribute("aria-current", "page", timeout=PATIENCE)  # the kernel has answered
        fetched = "url => fetch(url, {headers: {'X-XSRFToken': 'of this test'}}).then(answer => answer.status)"
        assert page.evaluate(fetched, f"{server.api}/models") == 200
        made = server.post("/models", json={"name": "poems"})
        assert made.status_code == 201
        visit.check()
        ours = f"127.0.0.1:{server.port}{PREFIX}"
        assert sockets
        assert all(url.startswith(f"ws://{ours}") for url in sockets)
        assert all(
            url.startswith((f"http://{ours}", f"blob:http://127.0.0.1:{server.port}/", "data:", "about:"))
            for url in visit.requests
        )
