"""For whom the widgets of this process are: whoever sits at this machine, or somebody whom a server has named.

It knows one name for the whole process, since a dashboard has a process of its own. A server says it before anything
of the dashboard runs; nothing that a browser sends comes here.
"""

from __future__ import annotations

import contextlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.workspace import Workspace


MEMORY = 1 << 30  # bytes that the process of a visitor may take besides what it has


@dataclass(frozen=True)
class Visitor:
    """Somebody, as the workspace knows people. `user` None is whoever sits at this machine."""

    user: str | None = None
    origin: str | None = None  # an account that is charged along with theirs


_lock = threading.Lock()
_visitor: Visitor | None = None
_workspace: Workspace | None = None


def enter(user: str | None = None, origin: str | None = None) -> None:
    """Say for whom this process is, once. Raises RuntimeError for another one after that."""
    global _visitor
    visitor = Visitor(user, origin)
    with _lock:
        if _visitor not in (None, visitor):
            raise RuntimeError("this process has its visitor already")
        if _visitor is None and origin is not None:
            limit_memory(MEMORY)
        _visitor = visitor


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has, so that no stranger takes all that the machine has.

    Beyond that it meets MemoryError. Where the system does not tell how much a process has, there is no limit.
    """
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        status = Path("/proc/self/status").read_text()
        if (found := re.search(r"^VmData:\s*(\d+) kB$", status, re.MULTILINE)) is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(found[1]) + more, hard))


def workspace_of_visitor() -> Workspace:
    """The models as they may see them, with the settings of this process: the same one for all widgets.

    Raises InvalidSettings.
    """
    global _visitor, _workspace
    with _lock:
        if _workspace is None:
            from charrnn.workspace import Workspace

            _visitor = _visitor or Visitor()
            _workspace = Workspace().as_user(_visitor.user, origin=_visitor.origin)
        return _workspace
