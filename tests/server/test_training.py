"""Training over HTTP: started, watched, stopped, continued, forked; asked for twice, and when it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.jobs.status import Status
from tests.jobs.trainings import TINY, wait_for
from tests.server.places import BY_HAND, new_model, server_in, workspace_of
from tests.server.running import Server, running
from tests.workspace.played import TEXT, Attempt, trained

Model = dict[str, Any]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that trains nothing by itself."""
    with running(tmp_path_factory.mktemp("by_hand"), BY_HAND) as server:
        yield server


@pytest.mark.parametrize("place", ["SQLite", "MariaDB under a prefix"])
def test_a_training_is_started_watched_stopped_continued_and_forked(
    place: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with server_in(place, request, tmp_path_factory) as server:
        options = {**TINY, "validation_fraction": 0.01}
        id = new_model(server, "write Python", sample="python", options=options)["id"]
        path = f"/models/{id}"

        started = asked(server, f"{path}/start", until_stopped=True)
        assert started["status"] in ("queued", "running")
        assert started["options"] == {**options, "until_stopped": True}
        running = until(server, id, lambda model: model["status"] == "running" and model["step"] > 0)
        assert (running["is_in_progress"], running["place_in_queue"]) == (True, None)
        assert asked(server, f"{path}/start")["status"] == "running"
        assert refused(server, f"{path}/continue", minutes=1) == "'write Python' is running: stop it first"

        asked(server, f"{path}/stop")
        stopped = until(server, id, lambda model: not model["is_in_progress"])
        assert (stopped["status"], stopped["can_write"]) == ("stopped", True)
        assert asked(server, f"{path}/stop") == stopped

        asked(server, f"{path}/continue", max_steps=30)
        complete = until(server, id, lambda model: not model["is_in_progress"])
        assert (complete["status"], complete["is_complete"]) == ("complete", True), complete["error"]
        assert complete["step"] == stopped["step"] + 30
        assert "continue it with a larger budget, or start it over" in refused(server, f"{path}/start")

        answer = server.post(f"{path}/fork", json={"name": "its child", "options": {"max_steps": 10}})
        child = answer.json()
        assert (answer.status_code, child["name"], child["parent_id"]) == (202, "its child", id)
        assert answer.headers["Location"].endswith(f"/models/{child['id']}")
        assert (child["status"], child["has_data"], child["options"]["max_steps"]) == ("ready", True, 10)

        lines = [line["text"] for line in server.get(f"{path}/log").json()["lines"]]
        assert any(f"going on at step {stopped['step']:,}" in line for line in lines), lines
        assert server.get(f"{path}/metrics").json()["metrics"][-1]["step"] == complete["step"]
        assert server.get(f"{path}/samples").json()["samples"]


def test_whoever_starts_or_stops_twice_gets_the_same_answer_twice(by_hand: Server) -> None:
    path = f"/models/{ready(by_hand)}"
    queued = asked(by_hand, f"{path}/start", max_steps=9)
    assert (queued["status"], queued["options"]) == ("queued", {"max_steps": 9})
    assert asked(by_hand, f"{path}/start", max_steps=9) == queued
    assert asked(by_hand, f"{path}/start") == queued
    assert "its options can change when it has stopped" in refused(by_hand, f"{path}/start", max_steps=8)
    rested = asked(by_hand, f"{path}/stop")
    assert (rested["status"], rested["place_in_queue"]) == ("ready", None)
    assert asked(by_hand, f"{path}/stop") == rested


def test_who_is_running_saves_at_the_first_stop_and_ends_at_the_second(by_hand: Server) -> None:
    id = ready(by_hand)
    asked(by_hand, f"/models/{id}/start")
    with workspace_of(by_hand) as workspace:
        attempt = Attempt(workspace)
        assert [asked(by_hand, f"/models/{id}/stop")["stop_requested"] for _ in range(3)] == [1, 2, 2]
        attempt.end(Status.STOPPED)


def test_what_cannot_be_done_says_why_and_what_would_be_right(by_hand: Server, model_file: Path) -> None:
    draft = f"/models/{new_model(by_hand, 'empty')['id']}"
    assert refused(by_hand, f"{draft}/start") == "'empty' has no text yet: give it one first"
    assert refused(by_hand, f"{draft}/start", over=True) == "'empty' has no text yet: give it one first"
    assert refused(by_hand, f"{draft}/continue", minutes=1) == "'empty' has no text yet: give it one first"
    nothing = "'empty' is draft and has learned nothing yet: train it first"
    assert refused(by_hand, f"{draft}/fork", reason="NothingLearned") == nothing

    young = f"/models/{ready(by_hand)}"
    assert refused(by_hand, f"{young}/continue", minutes=1) == "'verse' has not learned anything yet: start it"

    with workspace_of(by_hand) as workspace, model_file.open("rb") as file:
        imported = f"/models/{workspace.import_model(file, 'guest').id}"
    for name, body in (("start", {}), ("continue", {"minutes": 1})):
        assert "'guest' came without a text" in refused(by_hand, f"{imported}/{name}", **body)


def test_one_that_is_complete_can_begin_anew_with_other_options(by_hand: Server, model_file: Path) -> None:
    with workspace_of(by_hand) as workspace:
        id = trained(workspace, model_file, max_steps=100).id
    assert asked(by_hand, f"/models/{id}/continue", max_steps=5)["options"] == {"max_steps": 105}
    asked(by_hand, f"/models/{id}/stop")
    anew = asked(by_hand, f"/models/{id}/start", over=True, cell="gru", minutes=1)
    assert (anew["status"], anew["step"], anew["can_write"]) == ("queued", 0, False)
    assert anew["options"] == {"cell": "gru", "minutes": 1}
    asked(by_hand, f"/models/{id}/stop")


@pytest.mark.parametrize(
    ("path", "body", "fields"),
    [
        ("start", {"minuts": 3}, {"minuts": "there is no such option; did you mean minutes?"}),
        ("start", {"ovr": True}, {"ovr": "there is no such option; did you mean over?"}),
        ("start", {"over": "yes"}, {"over": 'must be true or false, not "yes"'}),
        ("start", {"minutes": -1}, {"minutes": "must be more than 0.0, not -1"}),
        ("stop", {"now": True}, {"now": "there is no such field"}),
        ("continue", {}, None),
        ("continue", {"minutes": "auto"}, None),
        ("continue", {"minutes": "3"}, {"minutes": 'must be a number, not "3"'}),
        ("continue", {"max_steps": 1.5}, {"max_steps": "must be a whole number, not 1.5"}),
        ("continue", {"max_steps": 2**53}, {"max_steps": f"must be at most {2**53:,}, not {2**53 + 100}"}),
        ("continue", {"cell": "gru"}, {"cell": "there is no such field; there is minutes, max_steps, max_epochs"}),
        ("fork", {"name": ""}, {"name": "a model needs one"}),
        ("fork", {"options": {"cell": "rnn"}}, {"cell": "is gru in the parent, whose network a fork keeps"}),
        ("fork", {"sample": "wikipedia"}, None),
    ],
)
def test_a_wrong_value_changes_nothing(
    by_hand: Server, model_file: Path, path: str, body: dict[str, Any], fields: dict[str, str] | None
) -> None:
    with workspace_of(by_hand) as workspace:
        before = trained(workspace, model_file)
    answer = by_hand.post(f"/models/{before.id}/{path}", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json().get("fields") == fields
    with workspace_of(by_hand) as workspace:
        assert workspace.get(before.id) == before
        assert workspace.list(limit=1).models == [before]


def ready(server: Server) -> str:
    """The id of a new model with a text."""
    with workspace_of(server) as workspace:
        return workspace.create("verse", TEXT).id


def asked(server: Server, path: str, **body: Any) -> Model:
    """The model with which a training is answered."""
    answer = server.post(path, json=body)
    assert answer.status_code == 202, answer.text
    model: Model = answer.json()
    return model


def refused(server: Server, path: str, *, reason: str = "InvalidTransition", **body: Any) -> str:
    """Why it cannot be done."""
    answer = server.post(path, json=body)
    assert (answer.status_code, answer.json()["reason"]) == (409, reason), answer.text
    message: str = answer.json()["message"]
    return message


def until(server: Server, id: str, condition: Callable[[Model], bool]) -> Model:
    """The model, once it is so."""

    def look() -> Model | None:
        model: Model = server.get(f"/models/{id}").json()
        return model if condition(model) else None

    model = wait_for(look, 180)
    assert model is not None
    return model
