"""Pages that show something: the list of models. They work without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from charrnn_server import asked
from charrnn_server.handlers.base import action
from charrnn_server.handlers.models import LISTING
from charrnn_server.handlers.page import Page

if TYPE_CHECKING:
    from charrnn.jobs.records import Page as PageOfModels
    from charrnn.workspace import Workspace

STATUSES = ("draft", "ready", "queued", "running", "complete", "stopped", "failed")


class ModelsPage(Page):
    @action("read")
    async def get(self) -> None:
        given = asked.query(self.request, **{name: LISTING[name] for name in ("status", "prefix", "after")})
        wanted = {name: value for name, value in given.items() if value}  # a form sends what was left empty too

        def work(workspace: Workspace) -> PageOfModels:
            return workspace.list(**wanted)

        page = await self.run(work)
        self.render_page(
            "models.html", models=page.models, total=page.total, exact=page.exact, wanted=wanted, statuses=STATUSES,
            older=_query(wanted | {"after": page.next}) if page.next else None,
        )  # fmt: skip


def _query(wanted: dict[str, Any]) -> str:
    return urlencode(wanted)


ROUTES = [("/charrnn/models", ModelsPage)]
