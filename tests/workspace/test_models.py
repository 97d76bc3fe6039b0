"""Models by name, and their files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.errors import (
    AmbiguousName,
    DatabaseOutdated,
    InvalidModel,
    InvalidOptions,
    ModelNotFound,
    StorageUnavailable,
    WouldOverwrite,
)
from charrnn.jobs.database import Database
from charrnn.jobs.status import Status
from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary
from charrnn.workspace import Workspace
from tests.workspace.played import OTHER, TEXT, everywhere, stored, trained


def test_with_nothing_set_everything_lies_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    for name in ("CHARRNN_DATA_FOLDER", "CHARRNN_DATABASE_URL", "CHARRNN_STORAGE_URL", "MYSQL_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    workspace = charrnn.Workspace()
    assert list(tmp_path.iterdir()) == [], "nothing is opened before it is needed"
    workspace.create("poems", TEXT)
    assert (tmp_path / "charrnn" / "charrnn.sqlite3").is_file()
    assert (tmp_path / "charrnn" / "storage" / "models").is_dir()
    assert [model.name for model in charrnn.Workspace().list().models] == ["poems"]


def test_a_server_whose_tables_are_missing_is_told_of_at_first_use(mariadb: str, tmp_path: Path) -> None:
    workspace = Workspace(database_url=mariadb, data_folder=tmp_path)
    with pytest.raises(DatabaseOutdated, match="charrnn db upgrade"):
        workspace.list()
    Database(mariadb).upgrade()
    assert workspace.list().models == []


@pytest.mark.parametrize(
    "name", ["poems", "🙂🏳️‍🌈 emoji", "🫩", "界" * 200, "ﷺ" * 200, "50 % of %s \\ it's", "שלום עולם", "poems "]
)
def test_a_model_can_have_any_name_that_can_be_shown(workspace: Workspace, name: str) -> None:
    id = workspace.create(name).id
    assert workspace.get(id).name == name.strip()
    assert workspace.find(name).id == id
    assert [model.id for model in workspace.list(prefix=name.strip()[:5]).models] == [id]


@pytest.mark.parametrize(
    "name", ["", "  ", "x" * 201, "two\nlines", "nul\0", "\x1b[31mred", "\ud800", "\u202eback", "a\u2028b"]
)
def test_a_name_that_no_list_could_show_is_refused(here: Workspace, name: str) -> None:
    with pytest.raises(InvalidOptions, match="name: ") as refused:
        here.create(name)
    assert set(refused.value.fields) == {"name"}
    poems = here.create("poems")
    with pytest.raises(InvalidOptions, match="name: "):
        here.rename(poems.id, name)
    assert [model.name for model in here.list().models] == ["poems"]


def test_a_model_is_found_by_its_id_and_by_its_name_however_that_is_written(workspace: Workspace) -> None:
    id = workspace.create("Gedichte").id
    assert workspace.find(id).id == workspace.find("gedichte").id == workspace.find(" GEDICHTE ").id == id
    for unknown in ("Gedicht", "", "01" * 13, "\ud800", "%"):
        with pytest.raises(ModelNotFound, match="there is no model called"):
            workspace.find(unknown)
    for unknown in ("nothing", "01" * 13, "../x", ""):
        with pytest.raises(ModelNotFound):
            workspace.get(unknown)


def test_an_ambiguous_name_is_an_error_that_lists_the_candidates(workspace: Workspace) -> None:
    older, newer = workspace.create("poems"), workspace.create("POEMS", TEXT)
    with pytest.raises(AmbiguousName) as refused:
        workspace.find("poems")
    assert refused.value.candidates == [newer.id, older.id]
    assert "2 models are called 'poems'" in str(refused.value)
    assert f"{newer.id} (ready, made 20" in str(refused.value)
    assert f"{older.id} (draft, made 20" in str(refused.value)


def test_the_list_is_newest_first_page_by_page_without_gaps_or_doubles(workspace: Workspace) -> None:
    made = [workspace.create(f"{'even' if number % 2 == 0 else 'odd'} {number}").id for number in range(11)]
    seen, after = [], None
    while True:
        page = workspace.list(after=after, limit=4)
        assert (page.total, page.exact) == (11, True)
        seen += [model.id for model in page.models]
        if page.next is None:
            break
        after = page.next
        workspace.create("made in the meantime") if len(seen) == 4 else None
        workspace.delete(workspace.list(prefix="made").models[0].id) if len(seen) == 4 else None
    assert seen == made[::-1]


def test_the_list_can_be_of_one_status_and_of_names_that_begin_alike(workspace: Workspace) -> None:
    draft, ready = workspace.create("poems of spring"), workspace.create("Poems of autumn", TEXT)
    workspace.create("prose", TEXT)
    assert [model.id for model in workspace.list(prefix="poems").models] == [ready.id, draft.id]
    assert [model.id for model in workspace.list(prefix="poems", status="ready").models] == [ready.id]
    assert workspace.list(status=Status.RUNNING).models == []
    with pytest.raises(InvalidOptions, match=r"status: must be one of draft, ready, .* not 'done'"):
        workspace.list(status="done")


@pytest.mark.parametrize("wrong", [{"name": " "}, {"options": {"cell": "brain"}}, {"sampling": {"top_k": 0}}], ids=str)
def test_several_changes_at_once_are_made_all_or_none(here: Workspace, wrong: dict[str, Any]) -> None:
    right = {"name": "verse", "options": {"cell": "gru"}, "sampling": {"top_k": 5}}
    before = here.create("poems", minutes=2)
    with pytest.raises(InvalidOptions):
        here.change(before.id, **{**right, **wrong})
    assert here.get(before.id) == before
    after = here.change(before.id, **right)
    assert after == here.get(before.id)
    assert (after.name, after.options, after.sampling) == ("verse", {"cell": "gru", "minutes": 2}, {"top_k": 5})
    assert here.change(before.id) == after


@everywhere
def test_a_model_can_be_renamed_and_deleted_with_everything_that_was_its_own(
    workspace: Workspace, model_file: Path
) -> None:
    model = trained(workspace, model_file)
    assert workspace.rename(model.id, "verse").name == "verse"
    workspace.delete(model.id)
    assert stored(workspace) == set()
    for ask in (workspace.get, workspace.logs, workspace.model, workspace.delete):
        with pytest.raises(ModelNotFound):
            ask(model.id)


def test_files_that_cannot_be_deleted_are_told_of_or_left_for_later(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage goes away after what was asked for is done, and only tidying up is left."""
    id, place = here.create("poems", TEXT).id, here._storage._place

    def away(*_: object) -> None:
        raise OSError(5, "the storage is away")

    monkeypatch.setattr(place, "delete", away)
    monkeypatch.setattr(place, "delete_prefix", away)
    assert here.attach(id, OTHER).corpus_bytes == len(OTHER)
    with pytest.raises(StorageUnavailable, match=r"'poems' is deleted, but its files are still there: .* away"):
        here.delete(id)
    assert here.list().models == []


# -- model files ---------------------------------------------------------------------------------------------------


@everywhere
def test_an_exported_model_is_the_file_that_was_imported(
    workspace: Workspace, model_file: Path, tmp_path: Path
) -> None:
    imported = workspace.import_model(model_file)
    assert (imported.name, imported.status, imported.corpus) == ("small", Status.COMPLETE, None)
    assert (imported.step, imported.seconds, imported.epoch, imported.best_validation_loss) == (700, 90.0, 2.5, 1.5)
    workspace.export(imported.id, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == model_file.read_bytes()
    stream = io.BytesIO()
    workspace.export(imported.id, stream)
    assert stream.getvalue() == model_file.read_bytes()
    with pytest.raises(WouldOverwrite, match=r"out\.safetensors exists; force replaces it"):
        workspace.export(imported.id, str(tmp_path / "out.safetensors"))
    workspace.export(imported.id, str(tmp_path / "out.safetensors"), force=True)
    assert workspace.import_model(model_file.read_bytes(), "from bytes").name == "from bytes"
    with model_file.open("rb") as file:
        assert workspace.import_model(file).name == "small"


def test_what_is_no_model_is_not_imported(here: Workspace, model_file: Path, tmp_path: Path) -> None:
    whole = model_file.read_bytes()
    liar = Model.initial("gru", Vocabulary("ab"), rnn_size=2)
    liar.record = {"step": "many", "seconds": -1, "epochs": True, "best_validation_loss": [1], "finished": "yes"}
    liar.save(tmp_path / "liar.safetensors")
    for source in (b"", whole[:-10], whole + b"x", b"\x80\x04pickle", TEXT, tmp_path / "none.safetensors"):
        with pytest.raises(InvalidModel) as refused:
            here.import_model(source, "stranger")
        assert str(here.settings.data_folder / "storage") not in str(refused.value)
    assert here.list().models == []
    assert stored(here) == set()
    record = here.import_model(tmp_path / "liar.safetensors")
    assert (record.step, record.seconds, record.epoch, record.best_validation_loss) == (0, 0, None, None)
