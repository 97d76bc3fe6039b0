"""How many threads NumPy's matrix products use. It knows the BLAS libraries that NumPy is built with, nothing else.

Products of one step are too small to share among threads, and threads that wait for one another beside other work cost
everyone dearly: with both cores of a machine busy, one thread evaluates a text eight times as fast as two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_PREFIXES = ("scipy_openblas", "openblas")
_SUFFIXES = ("64_", "", "_64", "64")
_lock = threading.Lock()
_users = 0
_before = 1


@cache
def _controls() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """Functions that get and set the number of threads; None where NumPy's BLAS is one that we do not know.

    They are found through NumPy's own extension module, whose dependencies a symbol look-up searches too; on Windows,
    where it does not, among the libraries that come with NumPy.
    """
    import ctypes
    from pathlib import Path

    import numpy as np

    candidates = [str(np._core._multiarray_umath.__file__)]  # type: ignore[attr-defined]
    candidates += map(str, (Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*"))
    for path in candidates:
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for prefix in _PREFIXES:
            for suffix in _SUFFIXES:
                get = getattr(library, f"{prefix}_get_num_threads{suffix}", None)
                set_ = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
                if get is not None and set_ is not None:
                    get.argtypes, get.restype = [], ctypes.c_int
                    set_.argtypes, set_.restype = [ctypes.c_int], None
                    return get, set_
    return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, matrix products use one thread. The setting is of the whole process; the last user restores it."""
    global _users, _before
    controls = _controls()
    if controls is None:
        yield
        return
    get, set_ = controls
    with _lock:
        if not _users:
            _before = get()
            if _before != 1:
                set_(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _before != 1:
                set_(_before)
