"""Files that appear whole or not at all: written beside, flushed to the disk, renamed.

It knows how to keep a half-written file from ever being seen, and how to clear away what a killed process left: what
is being written is locked, and a lock ends with its process. It does not know what the files hold.
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
    _remove_abandoned_parts(path)
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
    _remove_abandoned_parts(path)
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(path)
    sync_folder(path.parent)


@contextlib.contextmanager
def working_folder(parent: Path, name: str) -> Iterator[Path]:
    """A private folder in `parent`, removed at the end. What a killed process left of that name is removed at once."""
    import shutil

    _remove_abandoned(parent, f".{glob.escape(name)}.*.work")
    while True:
        folder = parent / f".{name}.{os.urandom(4).hex()}.work"
        folder.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):  # taken for abandoned before it was locked
            descriptor = os.open(folder, os.O_RDONLY)
            if _hold(descriptor, folder):
                break
            os.close(descriptor)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


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
        if _hold(file.fileno(), beside):
            return beside, file
        file.close()


def _hold(descriptor: int, path: Path) -> bool:
    """Lock what was just made at `path`, where there are locks. False when somebody removed it before that."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True  # a file system without locks


def _remove_abandoned_parts(path: Path) -> None:
    _remove_abandoned(path.parent, f".{glob.escape(path.name)}.*.part")


def _remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove what was being written by processes that are gone: whatever can be locked."""
    if fcntl is None:
        return
    import shutil  # here, because writing a text starts sooner without

    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)
