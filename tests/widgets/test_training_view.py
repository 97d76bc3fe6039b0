"""What the view of a training tells its page, and does for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.errors import AmbiguousName, InvalidTransition, ModelNotFound
from charrnn.jobs.records import Delivery, Metric
from charrnn.jobs.status import Status
from charrnn.widgets.training import TrainingView
from tests.workspace.played import TEXT, Attempt, saved_model


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    workspace = Workspace(data_folder=tmp_path / "data")
    monkeypatch.setattr(workspace, "ensure_supervised", lambda: True)  # the worker is played
    yield workspace
    workspace.close()


@pytest.fixture
def view(workspace: Workspace) -> Iterator[TrainingView]:
    view = TrainingView(workspace.create("poems", TEXT, minutes=2).id, workspace)
    yield view
    view.close()


def shown(view: TrainingView) -> dict[str, Any]:
    view.look()
    model: dict[str, Any] = view.state["model"]
    return model


def test_a_model_is_named_by_its_id_its_name_or_its_record(workspace: Workspace) -> None:
    record = workspace.create("poems")
    for model in (record.id, "poems", record):
        view = TrainingView(model, workspace)
        assert shown(view)["id"] == record.id
        view.close()
    with pytest.raises(ModelNotFound):
        TrainingView("no such", workspace)
    workspace.create("poems")
    with pytest.raises(AmbiguousName):
        TrainingView("poems", workspace)


def test_it_follows_a_training_from_the_queue_to_its_end(view: TrainingView, workspace: Workspace) -> None:
    id = shown(view)["id"]
    assert (shown(view)["status"], shown(view)["writes"], shown(view)["text"]) == ("ready", False, "text")
    workspace.start(id)
    assert (shown(view)["status"], shown(view)["place"]) == ("queued", 1)
    attempt = Attempt(workspace)
    attempt.deliver(fields={"step": 30, "progress": 0.25, "seconds_left": 90.0, "characters_per_second": 1e5})
    model = shown(view)
    assert (model["status"], model["place"]) == ("running", None)
    assert (model["step"], model["progress"], model["left"], model["speed"]) == (30, 0.25, 90.0, 1e5)
    attempt.store.finish(attempt.claim, Status.FAILED, Delivery(), "the disk is full")
    assert (shown(view)["status"], shown(view)["error"]) == ("failed", "the disk is full")


def test_news_come_once_and_what_comes_again_says_from_where(view: TrainingView, workspace: Workspace) -> None:
    id = shown(view)["id"]
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.deliver(
        lines=[(0, "begun")], metrics=[Metric(10, 1.0, 0.1, 3.0), Metric(20, 2.0, 0.2, 2.5, 2.6)],
        samples=[(0, "xq"), (10, "the")], fields={"step": 21},
    )  # fmt: skip
    first = view.news(id)
    assert [line[2] for line in first["lines"]] == ["begun"]
    assert [each["validation_loss"] for each in first["metrics"]] == [None, 2.6]
    assert [each["text"] for each in first["samples"]] == ["xq", "the"]
    assert not first["full"]
    nothing = view.news(id, **first["position"])
    assert (nothing["lines"], nothing["metrics"], nothing["samples"]) == ([], [], [])
    attempt.end(Status.STOPPED, lines=[(1, "stopped")])
    assert [line[2] for line in view.news(id, **first["position"])["lines"]] == ["stopped"]

    workspace.start_over(id)
    Attempt(workspace).deliver(lines=[(2, "begun again")], metrics=[Metric(10, 1.0, 0.1, 2.9)], fields={"step": 11})
    again = view.news(id, **first["position"])
    assert again["start"]["metric"] == again["start"]["sample"] == -1
    assert [each["train_loss"] for each in again["metrics"]] == [2.9]


def test_what_guessing_would_reach_is_told_where_there_is_a_text(view: TrainingView, workspace: Workspace) -> None:
    guesses = view.guesses(shown(view)["id"])
    assert guesses is not None
    assert guesses["evenly"] == pytest.approx(math.log(len(set(TEXT.decode()))))
    assert guesses["pairs"] < guesses["characters"] < guesses["evenly"]
    assert view.guesses(workspace.create("empty").id) is None


def test_it_starts_stops_goes_on_starts_over_and_forks(
    view: TrainingView, workspace: Workspace, tmp_path: Path
) -> None:
    id = shown(view)["id"]
    view.start(id)
    assert shown(view)["status"] == "queued"
    attempt = Attempt(workspace)
    attempt.publish(saved_model(tmp_path / "m.safetensors"), step=100, seconds=60.0, epoch=2.0)
    view.stop(id)
    assert shown(view)["stopping"] == 1
    view.stop(id)
    assert shown(view)["stopping"] == 2
    attempt.end(Status.STOPPED)
    model = shown(view)
    assert (model["status"], model["goes_on"], model["writes"]) == ("stopped", True, True)

    view.go_on(id, 3)
    assert shown(view)["status"] == "queued"
    assert workspace.get(id).options["minutes"] == 4
    view.stop(id)
    child = view.fork(id, "more poems")
    assert (workspace.get(child).name, workspace.get(child).parent_id) == ("more poems", id)
    assert workspace.get(view.fork(id, "")).name == "poems (fork)"
    view.start_over(id)
    model = shown(view)
    assert (model["status"], model["step"], model["goes_on"]) == ("queued", 0, False)
    with pytest.raises(InvalidTransition):
        view.start_over(id)


def test_a_model_that_is_deleted_meanwhile_is_gone_and_another_can_be_chosen(
    view: TrainingView, workspace: Workspace
) -> None:
    id = shown(view)["id"]
    workspace.delete(id)
    view.look()
    assert (view.state["model"], view.state["gone"]) == (None, True)
    other = workspace.create("songs").id
    view.choose(other)
    assert (view.state["model"]["name"], view.state["gone"]) == ("songs", False)
