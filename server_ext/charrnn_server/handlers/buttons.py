"""What the buttons in the list of models do: plain forms, which need no script, and lead back to the list.

It knows the forms and which of them make sense for a model. It does not know whether they may be used: the workspace
and Jupyter do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

from jupyter_server.utils import url_path_join

from charrnn.errors import NotAllowed
from charrnn_server import asked
from charrnn_server.handlers.base import action
from charrnn_server.handlers.models import LISTING, ModelHandler
from charrnn_server.handlers.page import Page

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord
    from charrnn.policy import Policy
    from charrnn.workspace import Workspace

MORE_MINUTES = 3.0  # that a model goes on learning, unless it may only do so for less
STATUSES = ("draft", "ready", "queued", "running", "complete", "stopped", "failed")
FILTERS = ("status", "prefix", "after")  # of the list that one comes from


@dataclass(frozen=True)
class Button:
    """One button: the last part of the address that its form is sent to, and what stands on it."""

    way: str
    shown: str
    needs: Literal["write", "execute"]
    asks_first: bool = False  # it leads to a page that asks, and changes nothing


START, GO_ON = Button("start", "Start", "execute"), Button("start", "Go on", "execute")
STOP, STOP_NOW = Button("stop", "Stop", "execute"), Button("stop", "Stop at once", "execute")
CONTINUE = Button("continue", "Learn more", "execute")
DELETE = Button("delete", "Delete", "write", asks_first=True)


def buttons(model: ModelRecord) -> Sequence[Button]:
    """What can be done with a model as it is."""
    if model.active:
        return (STOP_NOW,) if model.stop_requested else (STOP,)
    if model.corpus is None:
        return (DELETE,)
    if model.status == "complete":
        return CONTINUE, DELETE
    return (GO_ON if model.attempt else START), DELETE


def more_minutes(policy: Policy) -> float:
    """How long a model of somebody with this policy goes on learning."""
    return MORE_MINUTES if policy.max_minutes is None else min(MORE_MINUTES, policy.max_minutes)


_status = asked.one_of(*STATUSES)


class ButtonPage(Page, ModelHandler):
    """Takes what a button sends: nothing but the address."""

    def wanted(self) -> dict[str, Any]:
        """The filters of the list that one comes from."""
        return asked.query(self.request, **{name: LISTING[name] for name in FILTERS} | {"status": _status})

    def list_address(self) -> str:
        """Where the list is that one comes from."""
        wanted = self.wanted()
        return url_path_join(self.base_url, "charrnn/models") + (f"?{urlencode(wanted)}" if wanted else "")

    async def done(self, work: Any) -> None:
        """Do it, and lead back to the list."""
        back = self.list_address()
        await self.run(work)
        self.redirect(back, status=303)


class StartButton(ButtonPage):
    @action("execute")
    async def post(self, id: str) -> None:
        await self.done(lambda workspace: self.trained(workspace.start(id)))


class StopButton(ButtonPage):
    @action("execute")
    async def post(self, id: str) -> None:
        await self.done(lambda workspace: workspace.stop(id))


class ContinueButton(ButtonPage):
    @action("execute")
    async def post(self, id: str) -> None:
        def work(workspace: Workspace) -> ModelRecord:
            minutes = more_minutes(workspace.policy.of(workspace.user))
            return self.trained(workspace.continue_(id, minutes=minutes))

        await self.done(work)


class DeletePage(ButtonPage):
    """Asks first, then deletes."""

    @action("write")
    async def get(self, id: str) -> None:
        back = self.list_address()

        def work(workspace: Workspace) -> ModelRecord:
            record = workspace.get(id)
            if not workspace.policy.may_change(workspace.user, record.owner):
                raise NotAllowed(f"{record.name!r} belongs to {record.owner!r}")
            return record

        self.render_page("delete.html", model=await self.run(work), back=back, query=self.query())

    @action("write")
    async def post(self, id: str) -> None:
        await self.done(lambda workspace: workspace.delete(id))

    def query(self) -> str:
        """The query of the form's address."""
        return urlencode({"_xsrf": self.xsrf_token.decode(), **self.wanted()})


ROUTES = [
    (r"/charrnn/models/([^/]+)/start", StartButton),
    (r"/charrnn/models/([^/]+)/stop", StopButton),
    (r"/charrnn/models/([^/]+)/continue", ContinueButton),
    (r"/charrnn/models/([^/]+)/delete", DeletePage),
]
