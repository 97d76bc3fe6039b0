"""The routes, each module's own list of them."""

from __future__ import annotations

from typing import Any


def routes() -> list[tuple[str, Any]]:
    """Patterns and handlers of everything under `/charrnn`, the catch-all last."""
    from charrnn_server.handlers import events, generate, health, models, reports, training, unknown

    return [
        *health.ROUTES,
        *models.ROUTES,
        *training.ROUTES,
        *reports.ROUTES,
        *events.ROUTES,
        *generate.ROUTES,
        *unknown.ROUTES,
    ]
