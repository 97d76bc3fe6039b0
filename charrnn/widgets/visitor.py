"""Who looks at the views of this process: whoever runs the notebook, or a visitor of the server that started it."""

from __future__ import annotations

from functools import cache

from charrnn.workspace import Workspace


@cache
def workspace_of_visitor() -> Workspace:
    """The workspace as whoever looks may see it, from the settings. Raises InvalidSettings."""
    return Workspace()
