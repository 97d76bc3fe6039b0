"""The list of models. It knows what a row shows and which filters are set, and asks the workspace for all else."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.errors import InvalidTransition
from charrnn.jobs.records import ModelRecord
from charrnn.jobs.status import Status
from charrnn.widgets.view import View, asked
from charrnn.workspace import Workspace

if TYPE_CHECKING:
    from charrnn.jobs.waiting import Waiting

PAGE = 50  # models, and so many more with every "Show more"
MOST = 500  # that are shown at once: they are all looked at again every second
PYTHON_MINUTES = 1.0


class ModelsView(View):
    """All models that this user may see, newest first."""

    front = ("drop.js",)

    def __init__(self, workspace: Workspace | None = None) -> None:
        self._looking = threading.Lock()  # so that what was seen first is not shown last
        self._wanted = PAGE
        self._prefix = ""
        self._status: Status | None = None
        super().__init__(workspace)

    def refresh(self) -> None:
        """Show the models as they are now."""
        with self._looking:
            models, total, exact = self._page()
            queued = any(each.status == Status.QUEUED for each in models)
            waiting = self.workspace.waiting() if queued else {}
            rows = [self._row(each, waiting.get(each.id)) for each in models]
            self.show(
                models=rows, total=total, exact=exact, more=len(rows) < total and len(rows) < MOST,
                most=MOST, prefix=self._prefix, status=self._status,
                people=any(each.owner != self.workspace.user for each in models),
                nobody=queued and not self.workspace.supervised(),
                minutes=self.workspace.policy.of(self.workspace.user).offered_minutes(),
            )  # fmt: skip

    def _page(self) -> tuple[list[ModelRecord], int, bool]:
        """The newest models that fit the filters, how many there are of them, and whether that is exact."""
        found: list[ModelRecord] = []
        after = None
        while True:
            page = self.workspace.list(
                status=self._status, prefix=self._prefix, after=after, limit=self._wanted - len(found)
            )
            found += page.models
            after = page.next
            if after is None or len(found) >= self._wanted:
                return found, page.total, page.exact

    def _row(self, record: ModelRecord, waiting: Waiting | None) -> Mapping[str, Any]:
        text = record.corpus
        return {
            "id": record.id,
            "name": record.name,
            "owner": _shown(record.owner),
            "mine": self.workspace.owns(record),
            "status": record.status,
            "progress": record.progress,
            "left": record.seconds_left,
            "stopping": record.stop_requested,
            "place": waiting and waiting.place,
            "starts_in": waiting and waiting.seconds,
            "loss": record.best_validation_loss,
            "error": record.error,
            "created_at": record.created_at.isoformat(),
            "text": text and text.name,
            "characters": text and text.characters,
            "writes": record.model_file is not None,
            "goes_on": record.checkpoint is not None and text is not None,
        }

    # what is asked for ------------------------------------------------------------------------------------------------

    @asked
    def search(self, prefix: str, status: str) -> None:
        """Show only models whose names begin so, and those in a status if one is given. Raises InvalidOptions."""
        if status:
            self.workspace.list(status=status, limit=1)  # raises for one that does not exist
        self._prefix, self._status = prefix.strip()[:200], Status(status) if status else None
        self._wanted = PAGE
        self.refresh()

    @asked
    def more(self) -> None:
        """Show older ones, too."""
        self._wanted = min(self._wanted + PAGE, MOST)
        self.refresh()

    @asked
    def rename(self, id: str, name: str) -> None:
        """Raises InvalidOptions for a name that cannot be."""
        self.workspace.rename(id, name)
        self.refresh()

    @asked
    def delete(self, id: str) -> None:
        """Delete a model for good."""
        self.workspace.delete(id)
        self.refresh()

    @asked
    def stop(self, id: str) -> None:
        """Take it out of the queue, or have its training save and end."""
        self.workspace.stop(id)
        self.refresh()

    @asked
    def train_on(self, id: str, minutes: float | None = None) -> None:
        """Let a model that was stopped, or could not go on, finish; or one that is complete learn for more minutes.

        Raises InvalidTransition for one that has nothing to go on from.
        """
        record = self.workspace.get(id)
        if minutes is not None:
            self.workspace.continue_(id, minutes=minutes)
        elif record.status in (Status.STOPPED, Status.FAILED):
            self.workspace.start(id)
        else:
            raise InvalidTransition(f"{record.name!r} is {record.status}: there is nothing left of its budget")
        self.workspace.ensure_supervised()
        self.refresh()

    @asked
    def python(self) -> None:
        """Learn Python's own source for a minute, and show how that goes."""
        name, minutes = "Python's own source", self._minutes()
        record = self.workspace.create(name, sample="python", start=True, minutes=minutes)
        self.workspace.ensure_supervised()
        self.refresh()
        self.lead("training", record.id)

    def _minutes(self) -> float:
        limit = self.workspace.policy.of(self.workspace.user).max_minutes
        return PYTHON_MINUTES if limit is None else min(limit, PYTHON_MINUTES)

    @asked
    def shipped(self) -> None:
        """Write with the model that comes with charrnn."""
        from charrnn.shipped import built_in_model

        record = self.workspace.import_model(built_in_model(), "Python, ready to write")
        self.refresh()
        self.lead("writing", record.id)


def _shown(owner: str | None) -> str | None:
    """Whose a model is, in words: of what a server calls its visitors, enough to tell one from another."""
    visitor = re.fullmatch(r"(visitor|guest)-([0-9a-f]{6})[0-9a-f]{26}", owner or "")
    return f"{visitor[1]} {visitor[2]}" if visitor else owner
