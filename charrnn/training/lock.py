"""One training at a time for one model file: a lock that lasts as long as a process that holds it lives."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charrnn.errors import WouldOverwrite

PATIENCE = 15.0  # seconds: a process whose parent was killed saves and ends well within


@contextmanager
def held(path: Path, what: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the lock file `path`, removed at the end, and give its descriptor, for a child to hold it too.

    Raises WouldOverwrite, naming `what`, when somebody else holds it for longer than `patience` seconds.
    """
    give_up = time.monotonic() + patience
    while (descriptor := _try(path)) is None:
        if time.monotonic() > give_up:
            raise WouldOverwrite(
                f"{what} is being trained by another process; wait for it, or stop it, or save elsewhere"
            )
        time.sleep(0.05)
    try:
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _try(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):  # not one that was removed meanwhile
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
