"""A Python process whose folder is a disk of a few kilobytes: a tmpfs that only it sees and that ends with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.command_line import variables

# `--map-root-user` lets those mount who are not root, where the system allows it
_MOUNT = 'mount -t tmpfs -o size="$1" charrnn-test "$2" && shift 2 && exec "$@"'


def output(code: str, folder: Path, *, kilobytes: int) -> str:
    """What the Python `code` prints, run where `folder` (an empty one, sys.argv[1]) is a disk of that size."""
    folder.mkdir(exist_ok=True)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _MOUNT, "sh", f"{kilobytes}k", str(folder)]
    result = subprocess.run(
        [*command, sys.executable, "-c", code, str(folder)],
        env=variables(), capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, f"(needs unshare and mount, of util-linux)\n{result.stderr}"
    return result.stdout
