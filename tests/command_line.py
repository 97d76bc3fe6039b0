"""`charrnn …` in a process of its own, for tests that use it as a person or a script does."""

from __future__ import annotations

import os
import subprocess
import sys
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
        timeout=120,
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
