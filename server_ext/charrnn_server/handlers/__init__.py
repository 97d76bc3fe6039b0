"""The routes, each module's own list of them."""

from __future__ import annotations

from typing import Any


def routes() -> list[tuple[str, Any]]:
    """Patterns and handlers of everything under `/charrnn`, the catch-all last."""
    from charrnn_server.handlers import (
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

    modules = [models, training, reports, events, generate, schemas, uploads, files, health, docs, pages]
    return [route for module in [*modules, upload_page, unknown] for route in module.ROUTES]
