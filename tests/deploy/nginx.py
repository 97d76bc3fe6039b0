"""An nginx of the tests' own, with the configuration that is shipped. It knows nginx, and nothing of charrnn."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "nginx"
NEEDED = "nginx is needed for this test: install the package nginx"


def program() -> str:
    """The path of nginx."""
    found = shutil.which("nginx", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin")))
    return found or pytest.fail(NEEDED)


def around(folder: Path, http: str) -> Path:
    """A whole configuration that writes only below `folder`: `http` is what stands between the braces."""
    folder.mkdir(parents=True, exist_ok=True)
    places = "\n".join(
        f"{name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(
        f"{user}\ndaemon off;\nmaster_process off;\npid {folder / 'pid'};\nerror_log {folder / 'error'};\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{places}\n{http}\n}}\n"
    )
    return path


def command(path: Path, *options: str) -> list[str]:
    """nginx with this configuration."""
    return [program(), "-p", str(path.parent), "-c", str(path), "-e", str(path.parent / "error"), *options]


def checked(path: Path) -> str:
    """What nginx says of a configuration that must be right."""
    result = subprocess.run(command(path, "-t"), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


@contextmanager
def running(path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """nginx, from when it answers on that port until the end."""
    checked(path)
    with (path.parent / "messages").open("wb") as messages:
        process = subprocess.Popen(command(path), stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)
    try:
        give_up = time.monotonic() + 60
        while True:
            assert process.poll() is None, (path.parent / "error").read_text()
            try:
                requests.get(f"http://127.0.0.1:{port}/", timeout=60, allow_redirects=False)
            except requests.ConnectionError:
                assert time.monotonic() < give_up, "nginx does not answer"
                time.sleep(0.02)
            else:
                break
        yield process
    finally:
        process.kill()
        process.wait()
