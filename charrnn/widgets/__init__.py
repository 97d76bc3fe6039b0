"""Widgets on a workspace: the dashboard, and each of its views alone. They hold nothing that is not in the database.

Each is loaded when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from charrnn.widgets.dashboard import Dashboard

if TYPE_CHECKING:
    from charrnn.widgets.compare import CompareView
    from charrnn.widgets.models import ModelsView
    from charrnn.widgets.new_model import NewModelView
    from charrnn.widgets.training import TrainingView
    from charrnn.widgets.writer import Writer

__all__ = ["CompareView", "Dashboard", "ModelsView", "NewModelView", "TrainingView", "Writer"]

_MODULES = {
    "CompareView": "compare", "ModelsView": "models", "NewModelView": "new_model", "TrainingView": "training",
    "Writer": "writer",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
