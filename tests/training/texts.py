"""Texts to learn in tests, and small networks that learn them in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

POEM = """The kettle hums a low brown tune,
the cat has claimed the chair,
and through the window, half a moon
hangs pale in morning air.

I pour a cup, I cut some bread,
I let the daylight in;
a hundred things wait in my head
for someone to begin.

But first the cup, but first the cat,
the crumbs upon the tray.
"""

VERSE = "A small boat rocks beside the quiet pier,\nand counts the lamps that wake along the shore.\n"

SMALL: dict[str, Any] = {"rnn_size": 16, "num_layers": 1, "batch_size": 8, "seq_length": 20, "dropout": 0.1}


def write_verse(folder: Path) -> Path:
    """A text long enough to hold some of it out."""
    path = folder / "verse.txt"
    path.write_text("".join(f"{number} {VERSE}" for number in range(800)), encoding="utf-8")
    return path


def contents(folder: Path) -> set[str]:
    """The names of all files in a folder, hidden ones too."""
    return {path.name for path in folder.iterdir()}


def processes_of(parent: int) -> set[int]:
    """The ids of the processes that a process started and that still run."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, started_by = status.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # gone meanwhile
        if int(started_by) == parent and state != "Z":
            found.add(int(status.parent.name))
    return found


def training_processes_of(parent: int) -> set[int]:
    """Those of them that train; others may be servers of other tests."""
    found = set()
    for process in processes_of(parent):
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # gone meanwhile
        if b"charrnn.training" in words:
            found.add(process)
    return found


def has_mapped(process: int, what: str) -> bool:
    """Whether a process has a file of that name in its memory."""
    try:
        return what in Path(f"/proc/{process}/maps").read_text()
    except OSError:
        return False


def wait_for(condition: Callable[[], Any], pause: float = 0.003) -> Any:
    """What the condition returns, once that is something."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(pause)
    raise TimeoutError
