"""Training: start, stop, continue, fork. All of it happens in the background; the answer is the model as it is now.

Every request may be repeated, except `fork`, which makes a model each time, and `continue`, which then finds the model
at work and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charrnn_server import asked
from charrnn_server.handlers.base import action
from charrnn_server.handlers.models import MODEL, ModelHandler

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord
    from charrnn.workspace import Workspace


class StartHandler(ModelHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        document = self.json()
        over = asked.body({"over": document.pop("over", False)}, over=asked.yes_or_no)["over"]

        def work(workspace: Workspace) -> ModelRecord:
            options = asked.training_options(document, "over")
            start = workspace.start_over if over else workspace.start
            return self.trained(start(id, **options))

        await self.reply_model(work, 202)


class StopHandler(ModelHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        asked.body(self.json())
        await self.reply_model(lambda workspace: workspace.stop(id), 202)


class ContinueHandler(ModelHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        document = self.json()

        def work(workspace: Workspace) -> ModelRecord:
            return self.trained(workspace.continue_(id, **asked.budget(document)))

        await self.reply_model(work, 202)


class ForkHandler(ModelHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        wanted = asked.body(self.json(), name=asked.text, options=asked.mapping, sample=asked.text)

        def work(workspace: Workspace) -> ModelRecord:
            options = asked.training_options(wanted.get("options", {}))
            return workspace.fork(id, wanted.get("name"), sample=wanted.get("sample"), **options)

        await self.reply_model(work, 202, new=True)


ROUTES = [
    (f"{MODEL}/start", StartHandler),
    (f"{MODEL}/stop", StopHandler),
    (f"{MODEL}/continue", ContinueHandler),
    (f"{MODEL}/fork", ForkHandler),
]
