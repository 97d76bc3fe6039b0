"""Widgets on a workspace: the dashboard, and each of its views alone. They hold nothing that is not in the database."""

from __future__ import annotations

from charrnn.widgets.dashboard import Dashboard

__all__ = ["Dashboard"]
