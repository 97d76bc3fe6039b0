"""A new model, as its page asks for it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn import Workspace
from charrnn.errors import InvalidCorpus, InvalidOptions, ModelNotFound, NotAllowed, QuotaExceeded, TooLarge
from charrnn.network.options import TrainingOptions
from charrnn.text import samples
from charrnn.widgets import new_model as module
from charrnn.widgets.new_model import Cancelled, NewModelView
from tests.text.served import PLAY, offer, serving
from tests.workspace.played import OTHER, TEXT


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(Workspace, "ensure_supervised", lambda self: True)
    workspace = Workspace(data_folder=tmp_path / "data")
    yield workspace
    workspace.close()


@pytest.fixture
def view(workspace: Workspace) -> Iterator[NewModelView]:
    view = NewModelView(workspace)
    view.attend(False)
    view.look()
    yield view
    view.close()


def send(view: NewModelView, text: bytes, file: str = "poems.txt", name: str = "", id: str | None = None) -> None:
    """What the page does with a text where no server of ours serves it."""
    view.begin_text(file, len(text), id)
    for start in range(0, len(text), 1000):
        view.take_text(base64.b64encode(text[start : start + 1000]).decode())
    view.end_text(name, id)


def left_behind(workspace: Workspace) -> list[Path]:
    """Files that are in the storage."""
    folder = Path(workspace.settings.storage_url.removeprefix("file://"))
    return [path for path in folder.rglob("*") if path.is_file()]


def fields(view: NewModelView) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for group in view.state["groups"] for field in group["fields"]}


def test_the_form_has_every_option_of_the_schema_once(view: NewModelView) -> None:
    names = [field["name"] for group in view.state["groups"] for field in group["fields"]]
    assert sorted([*names, "minutes", "until_stopped"]) == sorted(TrainingOptions.model_fields)
    assert all(group["fields"] for group in view.state["groups"])
    shown = fields(view)
    assert (shown["cell"]["words"], shown["cell"]["usual"]) == (["lstm", "gru", "rnn"], "lstm")
    assert (shown["rnn_size"]["kind"], shown["rnn_size"]["usual"]) == ("integer", "auto")
    assert (shown["max_vocab"]["usual"], shown["whitelist"]["usual"]) == ("3500", "all")
    assert all(each["about"] and each["label"] for each in shown.values())


def test_samples_say_which_are_downloaded_and_those_that_are_not_come_first(view: NewModelView) -> None:
    assert [(each["name"], each["fetched"]) for each in view.state["samples"]] == [
        ("python", False), ("tiny-shakespeare", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "choices"),
    [(None, [1, 3, 10, 30, "until_stopped"]), (0.5, [0.5]), (3, [1, 3]), (5, [1, 3, 5]), (60, [1, 3, 10, 30])],
)
def test_only_what_is_allowed_can_be_chosen(tmp_path: Path, limit: float | None, choices: list[Any]) -> None:
    anna = Workspace(data_folder=tmp_path, max_minutes=limit, admins={"teacher"}).as_user("anna")
    view, desk = NewModelView(anna), NewModelView(anna.as_user("teacher"))
    view.look()
    desk.look()
    assert view.state["budgets"] == choices
    assert desk.state["budgets"] == [1, 3, 10, 30, "until_stopped"]
    view.close()
    desk.close()
    anna.close()


def test_a_text_that_comes_in_pieces_becomes_a_model_with_a_report(view: NewModelView, workspace: Workspace) -> None:
    send(view, OTHER, file="Deich.txt")
    chosen = view.state["chosen"]
    assert (chosen["name"], chosen["status"]) == ("Deich", "ready")
    report, text = chosen["report"], OTHER.decode()
    assert (report["name"], report["bytes"], report["characters"]) == ("Deich.txt", len(OTHER), len(text))
    assert report["distinct"] == len(set(text))
    assert report["commonest"][0][0] == " "
    assert text.startswith(report["preview"])
    assert any("Short" in warning for warning in report["warnings"])
    assert workspace.get(chosen["id"]).name == "Deich"


def test_a_given_name_goes_before_that_of_the_file(view: NewModelView) -> None:
    send(view, TEXT, name="  Songs ")
    assert view.state["chosen"]["name"] == "Songs"


def test_what_to_expect_is_told_for_each_budget_and_grows_with_it(view: NewModelView) -> None:
    send(view, TEXT)
    *reads, endless = view.state["chosen"]["reads"]
    assert endless is None
    assert reads == sorted(reads)
    assert reads[0] > 100  # a page of text, for a minute


def test_what_is_no_text_is_refused_with_the_place_and_nothing_is_left(
    view: NewModelView, workspace: Workspace
) -> None:
    wrong = "Ein schöner Tag\n".encode("cp1252") * 10
    with pytest.raises(InvalidCorpus, match=r"byte 7 .* looks like Windows-1252; .* iconv -f WINDOWS-1252"):
        send(view, wrong)
    with pytest.raises(InvalidCorpus, match="no text is on its way"):
        view.end_text("")
    with pytest.raises(InvalidCorpus, match="a NUL at byte 3"):
        send(view, b"abc\0def")
    view.begin_text("a", 3)
    with pytest.raises(InvalidCorpus, match="did not arrive"):
        view.take_text("#")
    assert workspace.list().models == []
    assert left_behind(workspace) == []


def test_a_text_that_is_called_off_or_never_ends_leaves_nothing(view: NewModelView, workspace: Workspace) -> None:
    view.begin_text("a", len(TEXT))
    view.take_text(base64.b64encode(TEXT).decode())
    assert left_behind(workspace)
    view.cancel_text()
    assert not left_behind(workspace)
    view.begin_text("a", len(TEXT))
    view.begin_text("b", len(TEXT))  # instead of the first
    assert len(left_behind(workspace)) == 1
    view.close()
    assert not left_behind(workspace)
    assert workspace.list().models == []


def test_through_a_kernel_only_small_texts_come_whatever_the_page_says(
    view: NewModelView, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TooLarge, match=r"10,000,000 bytes; this one has 10,000,001"):
        view.begin_text("a", 10_000_001)
    monkeypatch.setattr(module, "MOST_BY_KERNEL", 1500)
    view.begin_text("a", 1000)
    piece = base64.b64encode(TEXT[:1000]).decode()
    view.take_text(piece)
    with pytest.raises(TooLarge, match="1,500 bytes"):
        view.take_text(piece)
    assert left_behind(workspace) == []


def test_a_draft_is_given_a_text_and_a_text_another(view: NewModelView, workspace: Workspace) -> None:
    id = workspace.create("a draft").id
    view.choose(id)
    assert view.state["chosen"]["report"] is None
    send(view, TEXT, file="first.txt", id=id)
    assert view.state["chosen"]["report"]["name"] == "first.txt"
    send(view, OTHER, file="second.txt", id=id)
    assert view.state["chosen"]["report"]["name"] == "second.txt"
    view.sample("python", "", id)
    assert view.state["chosen"]["report"]["name"] == "python"
    assert [(each.id, each.name) for each in workspace.list().models] == [(id, "a draft")]


def test_a_sample_becomes_a_model(view: NewModelView) -> None:
    view.sample("python", "")
    assert (view.state["chosen"]["name"], view.state["chosen"]["status"]) == ("python", "ready")
    with pytest.raises(InvalidCorpus, match="no sample"):
        view.sample("the-moon", "")


def test_a_sample_is_downloaded_with_its_progress_and_refused_if_it_is_another_text(
    view: NewModelView, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[float | None] = []
    view.observe(lambda change: there.append(change["new"].get("there")), "state")
    with serving(tmp_path / "served") as server:
        play = offer(server, monkeypatch)
        view.sample("play", "")
        assert view.state["chosen"]["report"]["characters"] == len(PLAY)
        told = [each for each in there if each is not None]
        assert (told == sorted(told), min(told) < 0.5, max(told)) == (True, True, 1.0)
        assert view.state["there"] is None
        monkeypatch.setitem(samples.SAMPLES, "play", dataclasses.replace(play, sha256="0" * 64))
        with pytest.raises(InvalidCorpus, match="SHA-256"):
            view.sample("play", "")
    assert [each.name for each in workspace.list().models] == ["play"]


def test_a_download_is_cancelled_and_leaves_nothing(
    view: NewModelView, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view.observe(lambda change: view.cancel_sample() if change["new"].get("there") else None, "state")
    with serving(tmp_path / "served") as server:
        offer(server, monkeypatch)
        with pytest.raises(Cancelled, match="nothing of it was kept"):
            view.sample("play", "")
    assert (workspace.list().models, left_behind(workspace)) == ([], [])


def test_it_is_started_with_the_options_of_the_form_and_its_training_shown(
    view: NewModelView, workspace: Workspace
) -> None:
    places: list[tuple[str, str | None]] = []
    view._go = lambda place, id: places.append((place, id))
    send(view, TEXT)
    id = view.state["chosen"]["id"]
    view.start(id, "Kettle", "10", {"rnn_size": "32", "cell": "gru", "dropout": " ", "seed": ""})
    record = workspace.get(id)
    assert (record.name, record.status) == ("Kettle", "queued")
    assert record.options == {"minutes": 10.0, "rnn_size": 32, "cell": "gru"}
    assert places == [("training", id)]
    assert view.state["chosen"] is None


def test_until_it_is_stopped_is_a_budget_too(view: NewModelView, workspace: Workspace) -> None:
    send(view, TEXT)
    id = view.state["chosen"]["id"]
    view.start(id, "", "until_stopped", {})
    assert workspace.get(id).options == {"until_stopped": True}
    assert view.state["chosen"]["status"] == "queued"  # alone, the view says what became of it


def test_wrong_options_are_told_by_field_and_nothing_is_changed(view: NewModelView, workspace: Workspace) -> None:
    send(view, TEXT, name="Kettle")
    id = view.state["chosen"]["id"]
    for name, options, wrong in (
        ("Kettle", {"rnn_size": "many", "dropout": "2"}, {"rnn_size", "dropout"}),
        ("Kettle", {"moon": "1"}, {"moon"}),
        ("two\nlines", {}, {"name"}),
        ("Kettle", {"max_steps": "0"}, {"max_steps"}),
    ):
        with pytest.raises(InvalidOptions) as error:
            view.start(id, name, "3", options)
        assert set(error.value.fields) == wrong
    with pytest.raises(InvalidOptions):
        view.start(id, "Kettle", "soon", {})
    record = workspace.get(id)
    assert (record.name, record.status, record.options) == ("Kettle", "ready", {})


def test_what_stands_in_the_form_takes_the_place_of_what_was_set(view: NewModelView, workspace: Workspace) -> None:
    id = workspace.create("Kettle", TEXT, rnn_size=32, seed=5, minutes=1).id
    view.choose(id)
    assert view.state["chosen"]["options"] == {"rnn_size": "32", "seed": "5"}
    view.start(id, "Kettle", "3", {"rnn_size": "", "seed": "6"})
    assert workspace.get(id).options == {"seed": 6, "minutes": 3.0}


def test_left_for_later_it_is_ready_in_the_list_under_its_new_name(view: NewModelView, workspace: Workspace) -> None:
    places: list[tuple[str, str | None]] = []
    view._go = lambda place, id: places.append((place, id))
    send(view, TEXT)
    assert places == []  # who has gone elsewhere meanwhile stays there
    view.attended = True
    send(view, TEXT)
    id = view.state["chosen"]["id"]
    assert places.pop() == ("new", id)
    view.leave(id, "Later")
    assert (workspace.get(id).name, workspace.get(id).status) == ("Later", "ready")
    assert view.state["chosen"] is None
    assert places == [("models", None)]
    view.leave()
    view.choose(id)
    assert view.state["chosen"]["name"] == "Later"


def test_a_model_that_is_deleted_elsewhere_is_not_chosen_any_more(view: NewModelView, workspace: Workspace) -> None:
    send(view, TEXT)
    workspace.delete(view.state["chosen"]["id"])
    view.look()
    assert view.state["chosen"] is None
    assert view.state["problem"] == ""


def test_nobody_gives_a_text_to_anothers_model_or_starts_it(tmp_path: Path) -> None:
    here = Workspace(data_folder=tmp_path, max_text_bytes=5000, privacy="own")
    hers = here.as_user("anna").create("hers", TEXT).id
    view = NewModelView(here.as_user("ben"))
    for refused in (
        lambda: view.choose(hers), lambda: view.begin_text("a", 10, hers), lambda: view.start(hers, "", "3", {}),
        lambda: view.leave(hers, "his"), lambda: view.sample("python", "", hers),
    ):  # fmt: skip
        with pytest.raises(ModelNotFound):
            refused()
    with pytest.raises(QuotaExceeded):
        send(view, TEXT * 2)
    everybody = Workspace(data_folder=tmp_path)
    other = NewModelView(everybody.as_user("ben"))
    other.choose(hers)
    with pytest.raises(NotAllowed):
        other.start(hers, "", "3", {})
    assert here.get(hers).name == "hers"
    for each in (view, other, here, everybody):
        each.close()
