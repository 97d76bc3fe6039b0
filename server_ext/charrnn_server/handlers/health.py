"""Whether the server answers, and whether what it needs does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from charrnn.errors import CharRNNError
from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action, allow_unauthenticated

if TYPE_CHECKING:
    from charrnn.workspace import Workspace


class LiveHandler(CharRNNHandler):
    """For probes: nothing is looked at, and nobody is asked who they are."""

    @allow_unauthenticated
    async def get(self) -> None:
        self.set_status(204)
        self.finish()

    head = get


class HealthHandler(CharRNNHandler):
    @action("read")
    async def get(self) -> None:
        parts: dict[str, Any] = {}
        for name, check in (("database", _database), ("storage", _storage), ("supervisor", _supervisor)):
            try:
                parts[name] = {"ok": await self.run(check), "message": None}
            except CharRNNError as error:
                parts[name] = {"ok": False, "message": str(error)}
        well = all(part["ok"] for part in parts.values())
        self.reply({"ok": well, **parts}, 200 if well else 503)


def _database(workspace: Workspace) -> bool:
    workspace.list(limit=1)
    return True


def _storage(workspace: Workspace) -> bool:
    workspace.check_storage()
    return True


def _supervisor(workspace: Workspace) -> bool:
    return workspace.supervised()


ROUTES = [(f"{API}/live", LiveHandler), (f"{API}/health", HealthHandler)]
