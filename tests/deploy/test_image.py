"""The image is built from its Dockerfile, and what it would start is started and used.

No Docker engine is needed: buildah builds on a Debian that debootstrap makes, and runs what the image names with its
user, its variables and its files. The network is this machine's, so the server gets a port of its own, on loopback.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.ports import free_port

pytestmark = pytest.mark.alone
ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "build" / "debian"  # kept for the next time
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TEXT = "".join(f"{number} small boats rock beside the quiet pier.\n" for number in range(500))
TINY = {"max_steps": 60, "rnn_size": 16, "num_layers": 1, "batch_size": 4, "seq_length": 16}
SECONDS = 300  # that anything here may take which is not the build


def require(condition: bool, why: str) -> None:
    """Skip where an image cannot be built, and fail where continuous integration counts on it."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def done(*command: str | Path, **options: Any) -> str:
    """What a command prints. Fails with all that it said."""
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout[-3000:]}\n{result.stderr[-6000:]}"
    return result.stdout


def debian() -> Path:
    """A Debian with nothing in it but what is essential."""
    if not BASE.exists():
        new = BASE.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(exist_ok=True)
        done("debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", new)
        new.rename(BASE)
    return BASE


def packages_of_this_machine(folder: Path) -> list[str]:
    """Options of a build with which pip finds packages where it finds them here. Nothing of that is in the image."""
    said = done("python3", "-m", "pip", "config", "list")
    found = [line.partition("=") for line in said.splitlines()]
    options = {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in found}
    if CERTIFICATES.exists():
        options["cert"] = "/run/certificates.crt"
    lines = [f"{name} = {' '.join(value.split())}\n" for name, value in options.items()]
    (folder / "pip.conf").write_text("".join(["[global]\n", *lines]), encoding="utf-8")
    mounts: list[tuple[Path, str | Path]] = [
        (folder / "pip.conf", "/etc/pip.conf"),
        (CERTIFICATES, "/run/certificates.crt"),
    ]
    for word in " ".join(options.values()).split():
        if word.startswith("file:///"):
            mounts.append((Path(word.removeprefix("file://")).parent,) * 2)  # an index, and the files beside it
        elif word.startswith("/") and word != "/run/certificates.crt":
            mounts.append((Path(word), word))
    return [f"--volume={place}:{inside}:ro" for place, inside in mounts if Path(place).exists()]


@dataclass(frozen=True)
class Image:
    """What was built, with a container of it."""

    tool: list[str | Path]
    container: str
    files: Path  # of the container, as they are seen from here
    config: dict[str, Any]

    def command(self, port: int) -> list[str]:
        """What the image starts, on a port of ours."""
        command: list[str] = self.config["Entrypoint"] + self.config["Cmd"]
        assert {"--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888"} <= set(command)
        ours = {
            "--ServerApp.ip=0.0.0.0": "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port=8888": f"--ServerApp.port={port}",
        }
        return [ours.get(word, word) for word in command]

    def run(self, *command: str) -> str:
        """What a command prints in the container, as its user."""
        return done(*self.tool, "run", "--isolation=chroot", self.container, "--", *command)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """The image, built for real."""
    require(os.geteuid() == 0, "an image is built by root only")
    for tool in ("buildah", "debootstrap"):
        require(shutil.which(tool) is not None, f"{tool} is missing: apt-get install {tool}")
    folder = tmp_path_factory.mktemp("image")
    driver = "overlay" if "overlay" in Path("/proc/filesystems").read_text(encoding="utf-8") else "vfs"
    tool: list[str | Path] = [
        "buildah", "--root", folder / "store", "--runroot", folder / "run", "--storage-driver", driver,
    ]  # fmt: skip
    try:
        base = done(*tool, "from", "scratch").strip()
        done(*tool, "add", "--quiet", base, debian(), "/")
        done(*tool, "commit", "--quiet", "--rm", base, "localhost/debian")
        done(
            *tool, "build", "--isolation=chroot", "--format=docker", "--pull-never", "--timestamp=0",
            "--build-arg=BASE=localhost/debian", *packages_of_this_machine(folder), "--tag=charrnn", ROOT,
        )  # fmt: skip
        container = done(*tool, "from", "--pull-never", "charrnn").strip()
        files = Path(done(*tool, "mount", container).strip())
        config = json.loads(done(*tool, "inspect", "--type=image", "charrnn"))["Docker"]["config"]
        yield Image(tool, container, files, config)
    finally:
        done(*tool, "rm", "--all")
        done(*tool, "rmi", "--all", "--force")


@contextmanager
def started(image: Image, *environment: str) -> Iterator[tuple[str, int, psutil.Process, Path]]:
    """What the image starts: its address, its port, its first process, and what it prints."""
    port, log = free_port(), image.files.parent / f"log-{time.monotonic_ns()}"
    variables = [f"--env={each}" for each in environment]
    with log.open("wb") as messages:
        outside = psutil.Popen(
            [*image.tool, "run", "--isolation=chroot", *variables, image.container, "--", *image.command(port)],
            stdin=subprocess.DEVNULL, stdout=messages, stderr=messages,
        )  # fmt: skip
    try:
        site = f"http://127.0.0.1:{port}/charrnn"
        until(lambda: is_live(site), outside, log)
        first = next(each for each in outside.children(recursive=True) if each.name() == "tini")
        yield site, port, first, log
    finally:
        for each in [*outside.children(recursive=True), outside]:
            if each.is_running() and each.name() == "tini":
                each.terminate()
        try:
            outside.wait(SECONDS)
        except psutil.TimeoutExpired:
            for each in [*outside.children(recursive=True), outside]:
                each.kill()
            raise


def is_live(site: str) -> bool:
    try:
        return requests.get(f"{site}/api/v1/live", timeout=60).status_code == 204
    except requests.ConnectionError:
        return False


def until(condition: Any, process: psutil.Popen, log: Path) -> None:
    """Wait for something, as long as the server lives."""
    give_up = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
        assert time.monotonic() < give_up, log.read_text(encoding="utf-8")[-3000:]
        time.sleep(0.2)


def token(log: Path) -> str:
    """What a server of one's own prints, as a person finds it."""
    address = next(word for word in log.read_text(encoding="utf-8").split() if "127.0.0.1" in word and "token=" in word)
    return address.partition("token=")[2]


def test_it_has_what_runs_and_nothing_that_builds_or_tests(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    assert image.config["User"] == "1000:1000"
    assert image.config["ExposedPorts"] == {"8888/tcp": {}}
    assert image.config["Volumes"] == {"/data": {}}
    assert image.run("id", "-u").strip() == "1000"
    assert "Usage" in image.run("charrnn", "--help")
    for program in ("gcc", "pytest", "ruff", "mypy", "git"):
        assert not any(image.files.glob(f"*/bin/{program}")), program
        assert not any(image.files.glob(f"opt/charrnn/bin/{program}")), program
    assert (image.files / "etc/pip.conf").read_bytes() == b""  # the place where this test's build had its own
    assert not (image.files / "root/.cache").exists()
    size = int(done("du", "--summarize", "--block-size=1M", image.files).split()[0])
    with capsys.disabled():
        print(f" [the image has {size:,} MB] ")


def test_what_it_starts_trains_writes_and_ends_in_order(image: Image) -> None:
    with started(image) as (site, port, first, log):
        check = [word.replace(":8888/", f":{port}/") for word in image.config["Healthcheck"]["Test"][1:]]
        assert image.run(*check) == ""
        mine = {"Authorization": f"token {token(log)}"}
        assert requests.get(site, timeout=60).url != site  # to the page that asks for the token
        page = requests.get(site, params={"token": token(log)}, timeout=60)
        assert page.status_code == 200
        assert "charrnn-page" in page.text
        made = requests.post(
            f"{site}/api/v1/uploads", files={"file": ("boats.txt", TEXT)}, data=TINY, headers=mine, timeout=60
        )
        assert made.status_code == 201, made.text
        model = f"{site}/api/v1/models/{made.json()['id']}"
        give_up = time.monotonic() + SECONDS
        while (found := requests.get(model, headers=mine, timeout=60).json())["status"] in ("queued", "running"):
            assert time.monotonic() < give_up, found
            time.sleep(0.5)
        assert (found["status"], found["step"]) == ("complete", 60), found
        answer = requests.post(f"{model}/generate", json={"length": 50, "seed": 1}, headers=mine, timeout=60)
        assert len(answer.json()["text"]) == 50
        first.send_signal(signal.SIGTERM)
        assert first.wait(SECONDS) in (0, None)  # None: it was somebody else's child

    # again, with the same volume
    with started(image) as (site, _, _, log):
        mine = {"Authorization": f"token {token(log)}"}
        kept = requests.get(f"{site}/api/v1/models", headers=mine, timeout=60).json()["models"]
        assert [(each["id"], each["status"]) for each in kept] == [(found["id"], "complete")]


def test_with_one_variable_it_is_for_visitors_whom_it_knows_after_a_restart(image: Image) -> None:
    visitor = requests.Session()
    with started(image, "CHARRNN_PUBLIC=1") as (site, _, _, log):
        assert visitor.get(site, timeout=60).status_code == 200
        assert "token=" not in log.read_text(encoding="utf-8")
        answer = visitor.post(
            f"{site}/api/v1/models", json={"name": "mine"}, timeout=60,
            headers={"X-XSRFToken": visitor.cookies["_xsrf"]},
        )  # fmt: skip
        assert answer.status_code == 201, answer.text
    with started(image, "CHARRNN_PUBLIC=1") as (site, _, _, _):
        shown = visitor.get(f"{site}/api/v1/models/{answer.json()['id']}", timeout=60)
        assert shown.status_code == 200, shown.text
        stranger = requests.post(f"{site}/api/v1/visitors", timeout=60).json()["token"]
        gone = requests.delete(shown.url, headers={"Authorization": f"token {stranger}"}, timeout=60)
        assert gone.status_code in (403, 404)
