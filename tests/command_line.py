"""`charrnn …` in a process of its own, for tests that use it as a person or a script does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import charrnn

PACKAGE = str(Path(charrnn.__file__).parent.parent)


def words(*arguments: str | Path) -> list[str]:
    """The command as a list, with the Python that runs the tests."""
    return [sys.executable, "-m", "charrnn", *map(str, arguments)]


def variables(**more: str) -> dict[str, str]:
    """The environment of a command: this source tree, a terminal of 120 columns, and what else is given."""
    return {**os.environ, "PYTHONPATH": PACKAGE, "COLUMNS": "120", **more}


def run(
    *arguments: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, reading its output as UTF-8."""
    return subprocess.run(
        words(*arguments),
        cwd=cwd,
        env=variables(**(environment or {})),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def output(*arguments: str | Path, cwd: Path | None = None) -> str:
    """What a command prints that must succeed."""
    result = run(*arguments, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def error(*arguments: str | Path, cwd: Path | None = None, code: int = 1) -> str:
    """The one line with which a command must fail."""
    result = run(*arguments, cwd=cwd)
    assert result.returncode == code, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def wait_for_supervisors(folder: Path, seconds: float = 300) -> None:
    """Wait until nobody supervises the workspace of that data folder: they end when nothing is left to train."""
    give_up = time.monotonic() + seconds
    while any(_supervises(process, folder) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < give_up, f"the workspace in {folder} is still supervised after {seconds:.0f} s"
        time.sleep(0.05)


def _supervises(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"supervise" in words and f"CHARRNN_DATA_FOLDER={folder}".encode() in (process / "environ").read_bytes()
    except OSError:
        return False  # gone meanwhile
