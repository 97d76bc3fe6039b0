"""Files that appear whole or not at all: written beside, flushed to the disk, renamed.

It knows how to keep a half-written file from ever being seen, and how to clear away what a killed process left. It does
not know what the files hold.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # there are no such locks here; then nobody's half-written file is ever removed
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def complete_or_absent(path: Path) -> Iterator[BinaryIO]:
    """A file to write, that takes the place of `path` once it is complete and on the disk, and else is removed.

    Whoever reads `path` meanwhile sees the old file. Raises OSError, and then nothing has changed.
    """
    remove_abandoned(path)
    beside, file = _create_beside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # there an open file cannot be renamed; elsewhere the lock must last until it is
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def put_in_place(written: Path, path: Path) -> None:
    """Make the closed file `written` the file `path`, once it is on the disk. Both lie on one file system.

    Raises OSError, and then nothing has changed.
    """
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(path)
    sync_folder(path.parent)


def remove_abandoned(path: Path) -> None:
    """Remove what a process left behind that was killed while it wrote `path`: its lock ended with it."""
    for beside in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), beside.open("rb") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                beside.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Some systems cannot open folders; there a rename itself must do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _create_beside(path: Path) -> tuple[Path, BinaryIO]:
    """A new hidden file in the same folder, locked for as long as it is open."""
    while True:
        beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        file = beside.open("xb")
        if fcntl is None:
            return beside, file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), beside.stat()):
                return beside, file
        except (BlockingIOError, FileNotFoundError):
            pass  # somebody took it for abandoned between its beginning and its lock, and removes it
        except OSError:
            return beside, file  # a file system without locks
        file.close()
