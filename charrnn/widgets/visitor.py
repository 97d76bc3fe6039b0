"""For whom the widgets of this process are: whoever sits at this machine, or somebody whom a server has named.

It knows one name for the whole process, since a dashboard has a process of its own. A server says it before anything
of the dashboard runs; nothing that a browser sends comes here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.workspace import Workspace


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
        _visitor = visitor


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
