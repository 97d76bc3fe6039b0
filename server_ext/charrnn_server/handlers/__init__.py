"""The routes, each module's own list of them."""

from __future__ import annotations

from typing import Any


def routes() -> list[tuple[str, Any]]:
    """Patterns and handlers of everything under `/charrnn`, the catch-all last."""
    from charrnn_server.handlers import files, health, models, unknown, upload_page, uploads

    return [
        *health.ROUTES, *uploads.ROUTES, *files.ROUTES, *upload_page.ROUTES, *models.ROUTES, *unknown.ROUTES,
    ]  # fmt: skip
