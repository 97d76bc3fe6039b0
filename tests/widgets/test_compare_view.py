"""Several trainings side by side, as their page gets them. Whoever trains is played."""

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
def view(workspace: Workspace) -> Iterator[CompareView]:
    view = CompareView(workspace=workspace)
    view.attend(False)  # it looks when the test says so
    yield view
    view.close()


def learned(workspace: Workspace, name: str, loss: float, steps: int = 3) -> str:
    """The id of a model with a curve and samples; it is still running."""
    id = workspace.create(name, TEXT, start=True).id
    Attempt(workspace).deliver(
        metrics=[Metric(step, seconds=float(step), validation_loss=loss - step / 10) for step in range(1, steps + 1)],
        samples=[(step, f"{name} {step}") for step in range(1, steps + 1)],
        fields={"step": steps + 1, "best_validation_loss": loss - steps / 10},
    )
    return id


def test_there_are_models_to_choose_from_and_some_are_chosen_already(workspace: Workspace) -> None:
    a, b = learned(workspace, "a", 3.0), learned(workspace, "b", 2.0)
    view = CompareView(["a", b], workspace)
    view.look()
    assert view.state["first"] == [a, b]
    assert [(each["name"], each["status"]) for each in view.state["offered"]] == [("b", "running"), ("a", "running")]
    view.close()
    with pytest.raises(ModelNotFound):
        CompareView(["c"], workspace)


def test_models_are_found_by_the_beginning_of_their_names(
    view: CompareView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OFFERED", 2)
    for name in ("sonnets", "sermons", "poems"):
        workspace.create(name)
    view.look()
    assert view.state["more"] is True
    view.search("so")
    assert ([each["name"] for each in view.state["offered"]], view.state["more"]) == (["sonnets"], False)
    view.search("")
    assert len(view.state["offered"]) == 2


def test_each_has_its_curve_its_samples_and_its_best_loss(view: CompareView, workspace: Workspace) -> None:
    a, b = learned(workspace, "a", 3.0), learned(workspace, "b", 2.0, steps=2)
    first, second = view.compared([a, b])
    assert [each["validation_loss"] for each in first["metrics"]] == pytest.approx([2.9, 2.8, 2.7])
    assert [each["step"] for each in second["metrics"]] == [1, 2]
    assert second["samples"][-1] == {"step": 2, "text": "b 2"}
    assert (first["best"], first["text"]) == (pytest.approx(2.7), "text")


def test_a_long_curve_comes_whole(view: CompareView, workspace: Workspace) -> None:
    id = learned(workspace, "long", 300.0, steps=2500)
    (found,) = view.compared([id])
    assert [each["step"] for each in found["metrics"]] == list(range(1, 2501))


def test_options_are_those_that_were_asked_for_or_are_really_used(
    view: CompareView, workspace: Workspace, tmp_path: Path
) -> None:
    waits = workspace.create("waits", TEXT, start=False, rnn_size=64).id
    learns = workspace.create("learns", TEXT, start=True).id
    Attempt(workspace).publish(saved_model(tmp_path / "model.safetensors"), step=1)
    first, second = view.compared([waits, learns])
    assert first["options"]["rnn_size"] == 64
    assert (second["options"]["cell"], second["options"]["rnn_size"]) == ("gru", 12)


def test_a_deleted_model_is_left_out(view: CompareView, workspace: Workspace) -> None:
    kept, gone = workspace.create("kept").id, workspace.create("gone").id
    workspace.delete(gone)
    assert [each["name"] for each in view.compared([gone, kept])] == ["kept"]


def test_no_more_than_the_eye_can_tell_apart_are_compared(view: CompareView, workspace: Workspace) -> None:
    ids = [workspace.create(f"model {k}").id for k in range(module.MOST + 1)]
    with pytest.raises(InvalidOptions, match="6 models"):
        view.compared(ids)
    assert len(view.compared(ids[:-1])) == module.MOST
