"""The way from one place of the dashboard to another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from charrnn import Workspace
from charrnn.errors import CharRNNError, ModelNotFound
from charrnn.widgets import Dashboard
from charrnn.widgets.dashboard import PLACES
from tests.command_line import variables


@pytest.fixture
def dashboard(workspace: Workspace) -> Iterator[Dashboard]:
    dashboard = Dashboard(workspace)
    yield dashboard
    dashboard.close()


def shown(dashboard: Dashboard) -> list[str]:
    """The views that are to be seen, and looked at."""
    views = [view for view in dashboard.children[1:] if view.layout.display != "none"]
    assert all(view.attended == (view in views) for view in dashboard.children[1:])
    return [type(view).__name__ for view in views]


def test_it_opens_with_the_models_and_has_made_nothing_else_yet(dashboard: Dashboard) -> None:
    assert shown(dashboard) == ["ModelsView"]
    assert len(dashboard.children) == 2
    assert dashboard.navigation.state["place"] == "models"


def test_one_place_is_shown_at_a_time_and_each_is_made_once(dashboard: Dashboard) -> None:
    for place, (_, name) in [*PLACES.items(), *PLACES.items()]:
        dashboard.visit(place)
        assert shown(dashboard) == [name]
        assert dashboard.navigation.state["place"] == place
    assert len(dashboard.children) == 1 + len(PLACES)


def test_the_chosen_model_stays_chosen_follows_its_name_and_is_forgotten_when_it_is_gone(
    dashboard: Dashboard, workspace: Workspace
) -> None:
    id = workspace.create("faust").id
    dashboard.visit("training", id)
    dashboard.visit("models")
    assert (dashboard.navigation.state["id"], dashboard.navigation.state["name"]) == (id, "faust")
    workspace.rename(id, "mephisto")
    dashboard.navigation.look()
    assert dashboard.navigation.state["name"] == "mephisto"
    workspace.delete(id)
    dashboard.navigation.look()
    assert (dashboard.navigation.state["id"], dashboard.navigation.state["name"]) == (None, "")


def test_places_and_models_that_are_not_there_are_refused_and_nothing_changes(dashboard: Dashboard) -> None:
    with pytest.raises(CharRNNError, match="there are models, new, training"):
        dashboard.visit("moon")
    with pytest.raises(ModelNotFound):
        dashboard.visit("training", "01aaaaaaaaaaaaaaaaaaaaaaaa")
    assert shown(dashboard) == ["ModelsView"]


def test_a_view_opens_another_place(dashboard: Dashboard, workspace: Workspace) -> None:
    id = workspace.create("faust").id
    models = dashboard.children[1]
    models.go("training", id)
    assert shown(dashboard) == ["TrainingView"]


def test_the_widgets_never_load_tensorflow() -> None:
    code = (
        "import sys, charrnn.widgets.dashboard as d, importlib\n"
        "for module, _ in d.PLACES.values(): importlib.import_module(module)\n"
        "print([name for name in ('tensorflow', 'keras', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], env=variables(), capture_output=True, text=True, timeout=120)
    assert told.stdout.strip() == "[]", told.stderr
