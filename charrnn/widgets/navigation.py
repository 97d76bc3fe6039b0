"""The way from one place of the dashboard to another. It knows which model is chosen, and shows its name."""

from __future__ import annotations

from charrnn.errors import ModelNotFound
from charrnn.jobs.records import ModelRecord
from charrnn.widgets.view import View
from charrnn.workspace import Workspace

OF_ONE = ("training", "writing")  # places that show the chosen model, whichever it is


class Navigation(View):
    """The places of the dashboard, one of which is open."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        super().__init__(workspace)
        self._chosen: str | None = None

    def opened(self, place: str, chosen: ModelRecord | None) -> None:
        """Show that a place is open, and the model that was chosen there, which stays chosen elsewhere."""
        if chosen is not None:
            self._chosen = chosen.id
            self.show(id=chosen.id, name=chosen.name)
        at = self._chosen if place in OF_ONE else chosen and chosen.id
        self.show(place=place, at=at)

    def refresh(self) -> None:
        """Follow the name of the chosen model, and forget a model that is gone."""
        if self._chosen is not None:
            try:
                self.show(name=self.workspace.get(self._chosen).name)
            except ModelNotFound:
                self._chosen = None
                self.show(id=None, name="", at=None)
