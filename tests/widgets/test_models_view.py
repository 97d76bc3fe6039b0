"""The list of models, as its page gets it and asks about it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.errors import CharRNNError, InvalidOptions, InvalidTransition, NotAllowed
from charrnn.jobs.records import Delivery
from charrnn.jobs.status import Status
from charrnn.widgets import models as module
from charrnn.widgets.models import ModelsView
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
def view(workspace: Workspace) -> Iterator[ModelsView]:
    view = ModelsView(workspace)
    view.attend(False)  # it looks when the test says so
    view.look()
    yield view
    view.close()


def rows(view: ModelsView) -> list[dict[str, Any]]:
    view.look()
    assert view.state["problem"] == ""
    return list(view.state["models"])


def row(view: ModelsView, id: str) -> dict[str, Any]:
    return next(each for each in rows(view) if each["id"] == id)


def trained(workspace: Workspace, tmp_path: Path, name: str = "trained", status: Status = Status.COMPLETE) -> str:
    id = workspace.create(name, TEXT, start=True).id
    attempt = Attempt(workspace)
    attempt.publish(saved_model(tmp_path / f"{id}.safetensors"), best_validation_loss=1.5, progress=1.0, seconds=60.0)
    workspace._store.finish(attempt.claim, status, Delivery())
    return id


def test_without_models_there_is_an_empty_list_and_not_nothing(view: ModelsView) -> None:
    assert rows(view) == []
    assert (view.state["total"], view.state["more"], view.state["people"]) == (0, False, False)


def test_a_row_says_what_a_person_wants_to_know(view: ModelsView, workspace: Workspace, tmp_path: Path) -> None:
    id = trained(workspace, tmp_path, "Faust")
    shown = row(view, id)
    assert (shown["name"], shown["status"], shown["loss"]) == ("Faust", "complete", 1.5)
    assert (shown["writes"], shown["goes_on"], shown["mine"]) == (True, True, True)
    assert (shown["text"], shown["characters"]) == ("text", len(TEXT))


def test_what_waits_has_a_place_and_a_time_and_says_when_nobody_trains(view: ModelsView, workspace: Workspace) -> None:
    first = workspace.create("first", TEXT, start=True, minutes=1).id
    second = workspace.create("second", TEXT, start=True).id
    assert [(each["place"], each["starts_in"]) for each in rows(view)] == [(2, 60.0), (1, 0.0)]
    assert view.state["nobody"] is True
    attempt = Attempt(workspace)
    attempt.publish(saved_model(workspace.settings.data_folder / "m.safetensors"), progress=0.5, seconds_left=20.0)
    workspace._store.supervisor_alive("one", "elsewhere", 1, 1)
    assert (row(view, first)["status"], row(view, first)["left"]) == ("running", 20.0)
    assert row(view, second)["starts_in"] == 20.0


def test_the_newest_come_first_and_more_on_request(
    view: ModelsView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    monkeypatch.setattr(module, "MOST", 5)
    view.search("", "")
    ids = [workspace.create(f"model {number}").id for number in range(6)][::-1]
    assert [each["id"] for each in rows(view)] == ids[:2]
    assert (view.state["more"], view.state["total"]) == (True, 6)
    view.more()
    assert [each["id"] for each in view.state["models"]] == ids[:4]
    view.more()
    view.more()
    assert [each["id"] for each in view.state["models"]] == ids[:5]
    assert not view.state["more"]


def test_a_page_larger_than_the_workspace_gives_at_once_is_put_together(
    view: ModelsView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charrnn.workspace.PAGE_LIMIT", 2)
    ids = [workspace.create(f"model {number}").id for number in range(5)][::-1]
    assert [each["id"] for each in rows(view)] == ids


def test_names_are_searched_by_how_they_begin_and_models_by_status(view: ModelsView, workspace: Workspace) -> None:
    faust, _ = workspace.create("Faust").id, workspace.create("Mephisto").id
    ready = workspace.create("fables", TEXT).id
    view.search(" fa", "")
    assert [each["id"] for each in view.state["models"]] == [ready, faust]
    view.search("fa", "ready")
    assert [each["id"] for each in view.state["models"]] == [ready]
    assert (view.state["prefix"], view.state["status"]) == ("fa", "ready")
    with pytest.raises(InvalidOptions, match="status"):
        view.search("", "asleep")
    view.search("", "")
    assert len(view.state["models"]) == 3


def test_a_model_is_renamed_and_deleted_and_the_list_shows_it_at_once(view: ModelsView, workspace: Workspace) -> None:
    id = workspace.create("a draft").id
    view.rename(id, "  another name ")
    assert [each["name"] for each in view.state["models"]] == ["another name"]
    with pytest.raises(InvalidOptions, match="name"):
        view.rename(id, " ")
    view.delete(id)
    assert view.state["models"] == []


def test_what_waits_or_runs_is_stopped_and_not_deleted(view: ModelsView, workspace: Workspace) -> None:
    id = workspace.create("a model", TEXT, start=True).id
    with pytest.raises(InvalidTransition, match="stop it first"):
        view.delete(id)
    view.stop(id)
    assert row(view, id)["status"] == "ready"


def test_a_stopped_model_goes_on_and_a_complete_one_for_some_more_minutes(
    view: ModelsView, workspace: Workspace, tmp_path: Path, supervised: list[str]
) -> None:
    stopped = trained(workspace, tmp_path, "stopped", Status.STOPPED)
    view.train_on(stopped)
    assert row(view, stopped)["status"] == "queued"
    view.stop(stopped)
    complete = trained(workspace, tmp_path, "complete")
    with pytest.raises(InvalidTransition, match="complete"):
        view.train_on(complete)
    view.train_on(complete, 3.0)
    assert row(view, complete)["status"] == "queued"
    assert workspace.get(complete).options["minutes"] == 4.0
    assert len(supervised) == 2


def test_python_is_learned_with_one_click_and_its_training_shown(
    view: ModelsView, workspace: Workspace, supervised: list[str]
) -> None:
    places: list[tuple[str, str | None]] = []
    view._go = lambda place, id: places.append((place, id))
    view.python()
    (made,) = view.state["models"]
    assert (made["name"], made["status"]) == ("Python's own source", "queued")
    assert workspace.get(made["id"]).options["minutes"] == 1.0
    assert places == [("training", made["id"])]
    assert supervised == ["called"]


def test_where_less_than_a_minute_is_allowed_python_is_learned_for_that(tmp_path: Path, supervised: list[str]) -> None:
    anna = Workspace(data_folder=tmp_path, max_minutes=0.5).as_user("anna")
    view = ModelsView(anna)
    view.python()
    assert anna.list().models[0].options["minutes"] == 0.5
    view.close()
    anna.close()


def test_the_model_that_ships_writes_at_once(view: ModelsView, workspace: Workspace) -> None:
    places: list[tuple[str, str | None]] = []
    view._go = lambda place, id: places.append((place, id))
    view.shipped()
    (made,) = view.state["models"]
    assert made["writes"]
    assert not made["goes_on"]
    assert places == [("writing", made["id"])]
    assert len(workspace.generate(made["id"], "def ", length=20)) == 20


def test_people_see_whose_a_model_is_and_change_only_their_own(tmp_path: Path, supervised: list[str]) -> None:
    here = Workspace(data_folder=tmp_path, admins={"teacher"})
    anna, ben, teacher = (here.as_user(name) for name in ("anna", "ben", "teacher"))
    hers, his = anna.create("hers").id, ben.create("his", TEXT, start=True).id
    view, desk = ModelsView(anna), ModelsView(teacher)
    assert [(each["owner"], each["mine"]) for each in rows(view)] == [("ben", False), ("anna", True)]
    assert view.state["people"] is True
    for refused in (lambda: view.rename(his, "mine"), lambda: view.delete(his), lambda: view.stop(his)):
        with pytest.raises(NotAllowed):
            refused()
    assert all(each["mine"] for each in rows(desk))
    desk.stop(his)
    desk.delete(his)
    desk.delete(hers)
    assert rows(view) == []
    view.close()
    desk.close()
    here.close()


def test_who_looks_after_visitors_can_tell_them_apart(tmp_path: Path) -> None:
    here = Workspace(data_folder=tmp_path, privacy="own", admins="admin")
    here.as_user(f"visitor-{'5e' * 16}").create("hers")
    views = [ModelsView(here.as_user(name)) for name in (f"visitor-{'5e' * 16}", "admin")]
    assert [[row["owner"] for row in rows(view)] for view in views] == [["visitor 5e5e5e"], ["visitor 5e5e5e"]]
    assert [view.state["people"] for view in views] == [False, True]
    for view in views:
        view.close()
    here.close()


def test_a_list_that_cannot_be_had_says_why_and_keeps_what_it_shows(
    view: ModelsView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.create("a model")
    assert len(rows(view)) == 1

    def away(**_: Any) -> None:
        raise CharRNNError("the database is away")

    monkeypatch.setattr(workspace, "list", away)
    view.look()
    assert view.state["problem"] == "the database is away"
    assert len(view.state["models"]) == 1


def test_a_damaged_installation_says_that_the_model_is_missing(
    view: ModelsView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.resources.files", lambda name: tmp_path)
    with pytest.raises(CharRNNError, match="holds none"):
        view.shipped()
