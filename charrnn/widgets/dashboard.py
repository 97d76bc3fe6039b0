"""The dashboard: the views, and the way from one to another. It knows them by name, and nothing of what they show."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import ipywidgets

from charrnn.errors import CharRNNError
from charrnn.widgets.navigation import Navigation
from charrnn.widgets.view import View, unseen
from charrnn.widgets.visitor import workspace_of_visitor
from charrnn.workspace import Workspace

# where each place's view is: it is made when the place is first opened, so that the first one is there soon
PLACES = {
    "models": ("charrnn.widgets.models", "ModelsView"),
    "new": ("charrnn.widgets.new_model", "NewModelView"),
    "training": ("charrnn.widgets.training", "TrainingView"),
    "writing": ("charrnn.widgets.writer", "Writer"),
    "compare": ("charrnn.widgets.compare", "CompareView"),
}


class Dashboard(ipywidgets.VBox):  # type: ignore[misc]
    """All views on a workspace, by default that of whoever runs this notebook; one of them is shown."""

    def __init__(self, workspace: Workspace | None = None) -> None:
        self.workspace = workspace_of_visitor() if workspace is None else workspace
        self.navigation = Navigation(self.workspace)
        self._views: dict[str, View] = {}
        super().__init__([self.navigation])
        self.add_class("charrnn-dashboard")
        self._connect(self.navigation)
        self.visit("models")

    def visit(self, place: str, id: str | None = None) -> None:
        """Show a place, with the model of that id where it shows one. Raises CharRNNError where there is none such."""
        if place not in PLACES:
            raise CharRNNError(f"the dashboard has no place {place[:40]!r}; there are {', '.join(PLACES)}")
        chosen = None
        if id is not None:
            chosen = self.workspace.get(id)
        view = self._views.get(place)
        if view is None:
            module, name = PLACES[place]
            view = self._views[place] = getattr(import_module(module), name)(workspace=self.workspace)
            self._connect(view)
            self.children = (self.navigation, *self._views.values())
        choose: Callable[[str], None] | None = getattr(view, "choose", None)
        if id is not None and choose is not None:
            choose(id)
        for each in self._views.values():
            each.layout.display = "" if each is view else "none"
            each.attend(each is view)
        self.navigation.opened(place, chosen)

    def close(self) -> None:
        """End every view."""
        for view in (self.navigation, *self._views.values()):
            view.close()
        super().close()

    def _connect(self, view: View) -> None:
        view._go = self.visit

    def __repr__(self) -> str:
        return unseen(self)
