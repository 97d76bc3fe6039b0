"""A training, as its page gets it and what its page can do with it. Whoever trains is played."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.errors import CharRNNError, InvalidTransition, ModelNotFound, NotAllowed
from charrnn.jobs.records import Delivery, Metric
from charrnn.jobs.status import Status
from charrnn.widgets.training import TrainingView
from tests.workspace.played import TEXT, Attempt, saved_model


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How often somebody was called for to train; nobody comes."""
    calls: list[str] = []
    monkeypatch.setattr(Workspace, "ensure_supervised", lambda self: calls.append("called") or True)
    return calls


@pytest.fixture
def workspace(tmp_path: Path, supervised: list[str]) -> Iterator[Workspace]:
    workspace = Workspace(data_folder=tmp_path / "data", max_running=1)
    yield workspace
    workspace.close()


@pytest.fixture
def view(workspace: Workspace) -> Iterator[TrainingView]:
    view = TrainingView(workspace=workspace)
    view.attend(False)  # it looks when the test says so
    yield view
    view.close()


def shown(view: TrainingView, id: str) -> dict[str, Any]:
    view.choose(id)
    assert view.state["problem"] == ""
    assert view.state["model"]["id"] == id
    return dict(view.state["model"])


def told(attempt: Attempt, *steps: int) -> None:
    """The played worker tells of these steps, and begins the next."""
    attempt.deliver(
        lines=[(step, f"step {step}") for step in steps],
        metrics=[Metric(step, seconds=step / 2, train_loss=3.0 - step / 10, validation_loss=3.1) for step in steps],
        samples=[(step, f"<b>{step}</b>") for step in steps],
        fields={"step": steps[-1] + 1, "progress": 0.5, "seconds": steps[-1] / 2},
    )


def test_a_view_without_a_model_says_so(view: TrainingView) -> None:
    view.look()
    assert (view.state["model"], view.state["gone"]) == (None, False)


def test_a_model_is_found_by_name_id_and_record(workspace: Workspace) -> None:
    record = workspace.create("Faust")
    for model in ("Faust", record.id, record):
        view = TrainingView(model, workspace)
        view.look()
        assert view.state["model"]["name"] == "Faust"
        view.close()
    with pytest.raises(ModelNotFound):
        TrainingView("Hamlet", workspace)


def test_what_waits_has_a_place(view: TrainingView, workspace: Workspace) -> None:
    workspace.create("first", TEXT, start=True, minutes=1)
    second = shown(view, workspace.create("second", TEXT, start=True).id)
    assert (second["status"], second["place"], second["starts_in"]) == ("queued", 2, 60.0)


def test_as_many_minutes_are_offered_as_the_person_may_have(tmp_path: Path) -> None:
    here = Workspace(data_folder=tmp_path, max_minutes=5)
    for workspace, minutes in ((here, [1, 3, 10, 30]), (here.as_user("anna"), [1, 3, 5])):
        view = TrainingView(workspace.create("poems"), workspace)
        view.look()
        assert view.state["minutes"] == minutes
        view.close()
    here.close()


def test_news_are_everything_at_first_and_then_only_what_is_new(view: TrainingView, workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT, start=True).id
    attempt = Attempt(workspace)
    told(attempt, 1, 2, 3)
    first = view.news(id)
    assert [line[2] for line in first["lines"]] == ["step 1", "step 2", "step 3"]
    assert [each["step"] for each in first["metrics"]] == [1, 2, 3]
    assert first["samples"][-1] == {"step": 3, "text": "<b>3</b>"}
    assert (first["model"]["status"], first["model"]["step"], first["full"]) == ("running", 4, False)
    told(attempt, 4)
    later = view.news(id, **first["position"])
    assert [line[2] for line in later["lines"]] == ["step 4"]
    assert [each["step"] for each in later["metrics"]] == [4]


def test_two_pages_that_begin_at_different_times_have_the_same(view: TrainingView, workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT, start=True).id
    attempt = Attempt(workspace)
    pages: list[dict[int, float]] = [{}, {}]
    positions: list[dict[str, int]] = [{}, {}]
    for steps, followers in (((1, 2), [0]), ((3,), [0]), ((4, 5), [0, 1])):
        told(attempt, *steps)
        for page in followers:
            news = view.news(id, **positions[page])
            pages[page] |= {each["step"]: each["train_loss"] for each in news["metrics"]}
            positions[page] = news["position"]
    assert pages[0] == pages[1]
    assert sorted(pages[0]) == [1, 2, 3, 4, 5]


def test_what_starts_over_is_told_from_the_beginning(
    view: TrainingView, workspace: Workspace, tmp_path: Path, supervised: list[str]
) -> None:
    id = workspace.create("poems", TEXT, start=True).id
    attempt = Attempt(workspace)
    told(attempt, 1, 2, 3)
    attempt.publish(saved_model(tmp_path / "model.safetensors"), step=3)
    attempt.end()
    position = view.news(id)["position"]
    view.start_over(id)
    assert supervised == ["called"]
    again = Attempt(workspace)
    again.deliver(metrics=[Metric(1, seconds=0.5, train_loss=2.0)], samples=[(1, "anew")], fields={"step": 2})
    news = view.news(id, **position)
    assert (news["start"]["metric"], news["start"]["sample"]) == (-1, -1)
    assert [(each["step"], each["train_loss"]) for each in news["metrics"]] == [(1, 2.0)]
    assert [each["text"] for each in news["samples"]] == ["anew"]


def test_guesses_are_lower_the_more_is_counted(view: TrainingView, workspace: Workspace) -> None:
    guessed = view.guesses(workspace.create("poems", TEXT).id)
    assert guessed is not None
    assert guessed["evenly"] == pytest.approx(math.log(len(set(TEXT.decode()))))
    assert guessed["evenly"] > guessed["characters"] > guessed["pairs"] >= 0


def test_without_a_text_there_is_nothing_to_guess(view: TrainingView, workspace: Workspace) -> None:
    assert view.guesses(workspace.create("empty").id) is None


def test_it_stops_goes_on_and_is_continued(
    view: TrainingView, workspace: Workspace, tmp_path: Path, supervised: list[str]
) -> None:
    id = workspace.create("poems", TEXT).id
    assert shown(view, id)["status"] == "ready"
    view.start(id)
    attempt = Attempt(workspace)
    told(attempt, 1)
    view.stop(id)
    assert (view.state["model"]["stopping"], shown(view, id)["status"]) == (1, "running")
    view.stop(id)
    assert shown(view, id)["stopping"] == 2
    attempt.publish(saved_model(tmp_path / "model.safetensors"), step=1)
    attempt.end(Status.STOPPED)
    stopped = shown(view, id)
    assert (stopped["status"], stopped["writes"], stopped["goes_on"]) == ("stopped", True, True)
    view.start(id)
    assert shown(view, id)["status"] == "queued"
    Attempt(workspace).end()
    before = workspace.get(id).options.get("minutes") or 0
    view.go_on(id, 3.0)
    assert workspace.get(id).status == Status.QUEUED
    assert workspace.get(id).options["minutes"] != before
    assert len(supervised) == 3


def test_a_fork_is_a_new_model_on_the_same_text(view: TrainingView, workspace: Workspace, tmp_path: Path) -> None:
    id = workspace.create("poems", TEXT, start=True).id
    attempt = Attempt(workspace)
    attempt.publish(saved_model(tmp_path / "model.safetensors"), step=1)
    attempt.end()
    child = workspace.get(view.fork(id, "more poems"))
    parent = workspace.get(id)
    assert (child.name, child.parent_id, child.status) == ("more poems", id, Status.READY)
    assert child.corpus is not None
    assert parent.corpus is not None
    assert child.corpus.sha256 == parent.corpus.sha256


def test_a_failure_says_why(view: TrainingView, workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT, start=True).id
    workspace._store.finish(
        Attempt(workspace).claim, Status.FAILED, Delivery(), "the loss is not a number any more"
    )  # fmt: skip
    failed = shown(view, id)
    assert (failed["status"], failed["error"]) == ("failed", "the loss is not a number any more")


def test_nobody_to_train_is_said(
    view: TrainingView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(Workspace, "ensure_supervised", lambda self: False)
    id = workspace.create("poems", TEXT).id
    with pytest.raises(CharRNNError, match="charrnn supervise"):
        view.start(id)
    assert workspace.get(id).status == Status.QUEUED


def test_what_cannot_be_done_is_refused_and_changes_nothing(view: TrainingView, workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    with pytest.raises(InvalidTransition):
        view.go_on(id, 3.0)
    assert workspace.get(id).status == Status.READY


def test_a_deleted_model_is_said_to_be_gone(view: TrainingView, workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    shown(view, id)
    workspace.delete(id)
    view.look()
    assert (view.state["model"], view.state["gone"], view.state["problem"]) == (None, True, "")
    with pytest.raises(ModelNotFound):
        view.news(id)


def test_a_training_of_somebody_else_is_watched_and_not_stopped(tmp_path: Path, supervised: list[str]) -> None:
    here = Workspace(data_folder=tmp_path / "data")
    anna, ben = here.as_user("anna"), here.as_user("ben")
    id = ben.create("his", TEXT, start=True).id
    view = TrainingView(id, anna)
    view.look()
    assert view.state["model"]["status"] == "queued"
    with pytest.raises(NotAllowed):
        view.stop(id)
    assert ben.get(id).status == Status.QUEUED
    view.close()
    here.close()
