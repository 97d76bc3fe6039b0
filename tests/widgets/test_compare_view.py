"""What the view that compares models tells its page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn import Workspace
from charrnn.errors import InvalidOptions, ModelNotFound
from charrnn.jobs.records import Metric
from charrnn.widgets import compare as module
from charrnn.widgets.compare import CompareView
from tests.workspace.played import TEXT, Attempt, saved_model


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(data_folder=tmp_path / "data")
    yield workspace
    workspace.close()


@pytest.fixture
def view(workspace: Workspace) -> Iterator[CompareView]:
    view = CompareView(workspace=workspace)
    yield view
    view.close()


def learned(workspace: Workspace, name: str, model: Path, steps: int, **options: object) -> str:
    """A model with a curve and samples."""
    id = workspace.create(name, TEXT, **options).id
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.publish(model, step=steps, seconds=steps / 10, epoch=1.0, best_validation_loss=2.0)
    attempt.end(
        metrics=[Metric(step, step / 10, step / 100, 3.0, 3.1) for step in range(1, steps + 1)],
        samples=[(0, "xq"), (steps, f"<b>{name}</b>")],
    )
    return id


def test_models_are_offered_newest_first_and_found_by_the_beginning_of_their_name(
    view: CompareView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OFFERED", 2)
    for name in ("sonnets", "plays", "songs"):
        workspace.create(name)
    view.look()
    assert [each["name"] for each in view.state["offered"]] == ["songs", "plays"]
    assert view.state["more"]
    view.search("so")
    assert [each["name"] for each in view.state["offered"]] == ["songs", "sonnets"]
    assert not view.state["more"]


def test_curves_samples_and_what_differs_come_for_each(view: CompareView, workspace: Workspace, tmp_path: Path) -> None:
    file = saved_model(tmp_path / "m.safetensors")
    ids = [learned(workspace, "one", file, 1500, seed=1), learned(workspace, "two", file, 20, seed=2)]
    found = view.compared(ids)
    assert [each["id"] for each in found] == ids
    assert [len(each["metrics"]) for each in found] == [1500, 20]
    assert [metric["step"] for metric in found[0]["metrics"]] == list(range(1, 1501))
    assert found[1]["samples"] == [{"step": 0, "text": "xq"}, {"step": 20, "text": "<b>two</b>"}]
    assert [each["options"]["seed"] for each in found] == [1, 2]
    assert {each["options"]["cell"] for each in found} == {"gru"}, "what the file says, where nothing was asked for"


def test_models_that_are_gone_are_left_out_and_too_many_are_refused(view: CompareView, workspace: Workspace) -> None:
    kept, gone = workspace.create("kept").id, workspace.create("gone").id
    workspace.delete(gone)
    assert [each["id"] for each in view.compared([gone, kept])] == [kept]
    with pytest.raises(InvalidOptions, match="6 models can be compared at a time, not 7"):
        view.compared([kept] * 7)


def test_models_can_be_named_from_the_beginning(workspace: Workspace) -> None:
    record = workspace.create("one")
    view = CompareView(["one", record], workspace)
    view.look()
    assert view.state["first"] == [record.id, record.id]
    view.close()
    with pytest.raises(ModelNotFound):
        CompareView(["no such"], workspace)
