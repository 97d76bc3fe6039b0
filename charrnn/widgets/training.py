"""A training as it goes on: curves, what the model writes, the log, and what can be done with it.

It knows what a page has to be told, and what may be asked for. It leaves everything else to the workspace.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from charrnn.errors import CharRNNError, InvalidOptions, ModelNotFound, NoText
from charrnn.jobs.records import ModelRecord, Position
from charrnn.jobs.status import Status
from charrnn.widgets.view import ALONE, View, asked
from charrnn.widgets.visitor import workspace_of_visitor
from charrnn.workspace import Workspace

AT_ONCE = 1000  # of lines, of metrics and of samples in one answer


class TrainingView(View):
    """Watch a model of the workspace learn: its id, its name or its record.

    Raises ModelNotFound and AmbiguousName, and InvalidOptions for a model without a training in the workspace.
    """

    front = ("chart.js", "chart.css")

    def __init__(self, model: str | ModelRecord | None = None, workspace: Workspace | None = None) -> None:
        workspace = workspace_of_visitor() if workspace is None else workspace
        self._id = None if model is None else record_of(workspace, model).id
        super().__init__(workspace)

    def choose(self, id: str) -> None:
        """Watch this model from now on."""
        self._id = id
        self.look()

    def refresh(self) -> None:
        """Show how far the training is."""
        id = self._id
        if id is None:
            self.show(model=None, gone=False)
            return
        try:
            record = self.workspace.get(id)
            waiting = self.workspace.waiting().get(id) if record.status == Status.QUEUED else None
        except ModelNotFound:
            self.show(model=None, gone=True)
            return
        if id == self._id:
            place = None if waiting is None else waiting.place
            starts_in = None if waiting is None else waiting.seconds
            minutes = self.workspace.policy.of(self.workspace.user).offered_minutes()
            model = {**described(record), "place": place, "starts_in": starts_in}
            self.show(model=model, gone=False, minutes=minutes)

    # what is new ------------------------------------------------------------------------------------------------------

    @asked
    def news(self, id: str, attempt: int = 0, log: int = -1, metric: int = -1, sample: int = -1) -> dict[str, Any]:
        """What has happened to a model since a position, which came with the news before. What stands after `start` is
        told again: whoever has it already forgets it."""
        news = self.workspace.news(id, Position(attempt, log, metric, sample), AT_ONCE)
        return {
            "id": id, "start": dataclasses.asdict(news.start), "position": dataclasses.asdict(news.position),
            "lines": [[line.position, line.created_at.isoformat(), line.text] for line in news.lines],
            "metrics": [dataclasses.asdict(metric) for metric in news.metrics],
            "samples": [dataclasses.asdict(sample) for sample in news.samples], "full": news.full,
            "model": described(news.record),
        }  # fmt: skip

    @asked
    def guesses(self, id: str) -> dict[str, float] | None:
        """What mere guessing would reach, in nats per character; None where there is no text to count."""
        try:
            with ALONE:
                return dataclasses.asdict(self.workspace.guesses(id))
        except NoText:
            return None

    # what can be done -------------------------------------------------------------------------------------------------

    @asked
    def start(self, id: str) -> None:
        """Queue a model that waits for it, or that was stopped or failed."""
        self.workspace.start(id)
        self._train()

    @asked
    def stop(self, id: str) -> None:
        """Stop, or stop at once the second time."""
        self.workspace.stop(id)
        self.look()

    @asked
    def go_on(self, id: str, minutes: float) -> None:
        """Learn for so many minutes more."""
        self.workspace.continue_(id, minutes=minutes)
        self._train()

    @asked
    def start_over(self, id: str) -> None:
        """Forget everything that was learned, and begin again."""
        self.workspace.start_over(id)
        self._train()

    @asked
    def fork(self, id: str, name: str) -> str:
        """The id of a new model that begins with what this one has learned."""
        return self.workspace.fork(id, name or None).id

    def _train(self) -> None:
        if not self.workspace.ensure_supervised():
            raise CharRNNError("it waits in the queue, but nobody trains: run `charrnn supervise` somewhere")
        self.look()


def record_of(workspace: Workspace, model: str | ModelRecord) -> ModelRecord:
    """A model of the workspace by its id, its name or its record.

    Raises ModelNotFound and AmbiguousName, and InvalidOptions for what is none of these.
    """
    if isinstance(model, str):
        return workspace.find(model)
    if isinstance(model, ModelRecord):
        return model
    raise InvalidOptions(
        "trainings of a workspace are shown here: give the id, the name or the record of one, as Workspace().create() "
        f"returns it, not {type(model).__name__!r}. What charrnn.train() returned has been trained: Writer(model) "
        "writes with it"
    )


def described(record: ModelRecord) -> dict[str, Any]:
    """What the page shows of a model besides its curves."""
    return {
        "id": record.id, "name": record.name, "status": str(record.status), "step": record.step,
        "progress": record.progress, "epoch": record.epoch, "seconds": record.seconds, "left": record.seconds_left,
        "speed": record.characters_per_second, "best": record.best_validation_loss, "error": record.error,
        "stopping": record.stop_requested, "writes": record.model_file is not None,
        "goes_on": record.checkpoint is not None, "text": None if record.corpus is None else record.corpus.name,
        "endless": bool(record.options.get("until_stopped")), "updated": record.updated_at.isoformat(),
    }  # fmt: skip
