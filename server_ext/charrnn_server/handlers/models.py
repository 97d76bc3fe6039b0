"""Models: the list, a new one, one of them, its name and options, its end.

It knows how a model reads in JSON. It does not know what may be done with one: the workspace does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import url_path_join

from charrnn_server import asked, metrics
from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord, Page
    from charrnn.workspace import Workspace

PAGE = 50  # models
MODEL = rf"{API}/models/([^/]+)"
OURS = ("worker_host", "worker_pid", "lease_until", "checkpoint", "model_file", "deaths")  # nobody else's business
OURS_OF_CORPUS = ("text_key", "ids_key", "ids_sha256")


def model_json(record: ModelRecord, place: int | None) -> dict[str, Any]:
    """A model as everybody may see it, whose place in the queue is `place`."""
    model = {name: value for name, value in record.to_json().items() if name not in OURS}
    if record.corpus is not None:
        model["corpus"] = {name: value for name, value in model["corpus"].items() if name not in OURS_OF_CORPUS}
    return {
        **model,
        "can_write": record.model_file is not None,
        "place_in_queue": place,
        "has_data": record.corpus is not None,
        "is_in_progress": record.active,
        "is_complete": record.status == "complete",
        "train_params": record.options,
    }


def with_places(workspace: Workspace, records: Sequence[ModelRecord]) -> list[dict[str, Any]]:
    """The models in JSON, with the places in the queue of those that wait there."""
    places = workspace.places(records)
    return [model_json(record, places.get(record.id)) for record in records]


class ModelHandler(CharRNNHandler):
    """What handlers of models have in common: they answer with one."""

    async def reply_model(
        self, work: Callable[[Workspace], ModelRecord], status: int = 200, *, new: bool = False
    ) -> None:
        """Answer with the model that `work` returns, a `new` one with its address."""
        (model,) = await self.run(lambda workspace: with_places(workspace, [work(workspace)]))
        if new:
            self.set_header("Location", url_path_join(self.base_url, API, "models", model["id"]))
        self.reply(model, status)

    def trained(self, queued: ModelRecord) -> ModelRecord:
        """The model, and somebody is there to train it."""
        self.app.ensure_supervised()
        metrics.queued()
        return queued


class ModelsHandler(ModelHandler):
    @action("read")
    async def get(self) -> None:
        wanted = asked.query(self.request, **LISTING)

        def work(workspace: Workspace) -> dict[str, Any]:
            page: Page = workspace.list(**{"limit": PAGE, **wanted})
            models = with_places(workspace, page.models)
            return {"models": models, "next": page.next, "total": page.total, "exact": page.exact}

        self.reply(await self.run(work))

    head = get

    @action("write")
    async def post(self) -> None:
        wanted = asked.body(self.json(), "name", name=asked.text, options=asked.mapping, sample=asked.text)

        def work(workspace: Workspace) -> ModelRecord:
            options = asked.training_options(wanted.get("options", {}))
            return workspace.create(wanted["name"], sample=wanted.get("sample"), **options)

        await self.reply_model(work, 201, new=True)


class OneModelHandler(ModelHandler):
    @action("read")
    async def get(self, id: str) -> None:
        await self.reply_model(lambda workspace: workspace.get(id))

    head = get

    @action("write")
    async def patch(self, id: str) -> None:
        wanted = asked.body(self.json(), name=asked.text, options=asked.mapping, sampling=asked.mapping)

        def work(workspace: Workspace) -> ModelRecord:
            options = asked.training_options(wanted.get("options", {}))
            sampling = asked.sampling_options(wanted.get("sampling", {}))
            return workspace.change(id, name=wanted.get("name"), options=options, sampling=sampling)

        await self.reply_model(work)

    @action("write")
    async def delete(self, id: str) -> None:
        await self.run(lambda workspace: workspace.delete(id))
        self.set_status(204)
        self.finish()


LISTING: dict[str, asked.Reader] = {
    "status": asked.text,
    "prefix": asked.short_text,
    "after": asked.model_id,
    "limit": asked.whole(1, 200),
}

ROUTES = [(f"{API}/models", ModelsHandler), (MODEL, OneModelHandler)]
