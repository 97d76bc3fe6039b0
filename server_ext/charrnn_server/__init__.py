"""The Jupyter server extension: charrnn over HTTP, in any Jupyter server or in one of its own (`jupyter charrnn`)."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from charrnn_server.app import CharRNNServer

    return [{"module": "charrnn_server.app", "app": CharRNNServer}]
