"""Pages that show something: the list of models. They work without JavaScript."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from charrnn_server import asked
from charrnn_server.handlers.base import action
from charrnn_server.handlers.buttons import FILTERS, STATUSES, buttons, more_minutes
from charrnn_server.handlers.models import LISTING
from charrnn_server.handlers.page import Page

if TYPE_CHECKING:
    from charrnn.jobs.records import Page as PageOfModels
    from charrnn.workspace import Workspace


class ModelsPage(Page):
    @action("read")
    async def get(self) -> None:
        given = asked.query(self.request, **{name: LISTING[name] for name in FILTERS})
        wanted = {name: value for name, value in given.items() if value}  # a form sends what was left empty too

        def work(workspace: Workspace) -> tuple[PageOfModels, set[str], float]:
            page, policy = workspace.list(**wanted), workspace.policy.of(workspace.user)
            owned = {model.id for model in page.models if policy.may_change(workspace.user, model.owner)}
            return page, owned, more_minutes(policy)

        page, owned, minutes = await self.run(work)
        allowed = {name for name in ("write", "execute") if await self.may(name)}
        offered = {
            model.id: [button for button in buttons(model) if button.needs in allowed]
            for model in page.models
            if model.id in owned
        }
        self.render_page(
            "models.html", models=page.models, total=page.total, exact=page.exact, wanted=wanted, statuses=STATUSES,
            older=_query(wanted | {"after": page.next}) if page.next else None, offered=offered, minutes=minutes,
            query=_query({"_xsrf": self.xsrf_token.decode(), **wanted}), back=_query(wanted),
        )  # fmt: skip


def _query(wanted: dict[str, Any]) -> str:
    return urlencode(wanted)


ROUTES = [("/charrnn/models", ModelsPage)]
