"""Several trainings over one another. It knows what a page needs to lay them side by side, and changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

from charrnn.errors import CharRNNError, InvalidOptions, ModelNotFound
from charrnn.jobs.records import ModelRecord, Position
from charrnn.widgets.training import record_of
from charrnn.widgets.view import ALONE, View, asked
from charrnn.widgets.visitor import workspace_of_visitor
from charrnn.workspace import Workspace

OFFERED = 50  # models to choose from; more are found by their name
MOST = 6  # models side by side
POINTS = 5000  # of a curve
OPTIONS = (
    "cell", "rnn_size", "num_layers", "embedding_size", "dropout", "seq_length", "batch_size", "learning_rate",
    "schedule", "minutes", "max_steps", "max_epochs", "until_stopped", "validation", "keep", "seed",
)  # fmt: skip


class CompareView(View):
    """Compare models of the workspace: ids, names or records.

    Raises ModelNotFound and AmbiguousName, and InvalidOptions for a model without a training in the workspace.
    """

    front = ("chart.js", "chart.css")

    def __init__(self, models: Sequence[str | ModelRecord] = (), workspace: Workspace | None = None) -> None:
        workspace = workspace_of_visitor() if workspace is None else workspace
        self._first = [record_of(workspace, model).id for model in models]
        self._prefix = ""
        super().__init__(workspace)

    def refresh(self) -> None:
        """Show which models there are to choose from."""
        page = self.workspace.list(limit=OFFERED, prefix=self._prefix or None)
        offered = [
            {
                "id": each.id, "name": each.name, "status": str(each.status), "step": each.step,
                "best": each.best_validation_loss,
            }
            for each in page.models
        ]  # fmt: skip
        self.show(offered=offered, more=page.next is not None, most=MOST, first=self._first)

    @asked
    def search(self, prefix: str) -> None:
        """Offer the models whose names begin so."""
        self._prefix = prefix
        self.look()

    @asked
    def compared(self, ids: list[str]) -> list[dict[str, Any]]:
        """Curves, samples and options of these models; those that are gone are left out."""
        if len(ids) > MOST:
            raise InvalidOptions(f"{MOST} models can be compared at a time, not {len(ids)}")
        found = []
        for id in ids:
            try:
                with ALONE:
                    found.append(self._one(id))
            except ModelNotFound:
                continue
        return found

    def _one(self, id: str) -> dict[str, Any]:
        position, metrics, samples = Position(), {}, {}
        while True:
            news = self.workspace.news(id, position)
            metrics.update({each.step: dataclasses.asdict(each) for each in news.metrics})
            samples.update({each.step: dataclasses.asdict(each) for each in news.samples})
            position = news.position
            if not news.full or len(metrics) >= POINTS:
                break
        record = news.record
        return {
            "id": id, "name": record.name, "status": str(record.status), "best": record.best_validation_loss,
            "seconds": record.seconds, "step": record.step, "options": self._options(record),
            "text": None if record.corpus is None else record.corpus.name,
            "metrics": [*metrics.values()], "samples": [*samples.values()],
        }  # fmt: skip

    def _options(self, record: ModelRecord) -> dict[str, Any]:
        """What the training really uses, or as long as it has saved nothing, what was asked for."""
        options = dict(record.options)
        if record.model_file is not None:
            with contextlib.suppress(CharRNNError):  # what was asked for will do
                options = {**self.workspace.model(record.id).options, **options}
        return {name: options[name] for name in OPTIONS if options.get(name) is not None}
