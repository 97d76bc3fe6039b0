"""The routes, each module's own list of them."""

from __future__ import annotations

from typing import Any


def routes() -> list[tuple[str, Any]]:
    """Patterns and handlers of everything under `/charrnn`, the catch-all last."""
    from charrnn_server.handlers import (
        buttons,
        dashboard,
        docs,
        events,
        files,
        generate,
        health,
        models,
        pages,
        reports,
        schemas,
        training,
        unknown,
        upload_page,
        uploads,
    )

    modules = [
        uploads, files, models, training, reports, events, generate, schemas, health, docs, dashboard, pages, buttons,
        upload_page, unknown,
    ]  # fmt: skip
    return [route for module in modules for route in module.ROUTES]  # `/models/import` before `/models/ID`
