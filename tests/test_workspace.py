"""The workspace as every front end uses it: on SQLite and on MariaDB, with files in a folder and in S3."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.config import Settings
from charrnn.errors import (
    AmbiguousName,
    DatabaseOutdated,
    InvalidCorpus,
    InvalidModel,
    InvalidOptions,
    InvalidTransition,
    ModelNotFound,
    NotAllowed,
    QuotaExceeded,
    StorageUnavailable,
    WouldOverwrite,
)
from charrnn.jobs.database import Database
from charrnn.jobs.records import Claim, Delivery, Metric, ModelRecord
from charrnn.jobs.status import Status
from charrnn.network.model import Model
from charrnn.policy import Policy
from charrnn.storage import model_key
from charrnn.text.vocabulary import Vocabulary
from charrnn.workspace import Workspace
from tests.command_line import variables
from tests.mariadb import MariaDB
from tests.s3 import S3

TEXT = ("The kettle hums a low brown tune,\nthe cat has claimed the chair,\n" * 40).encode()
OTHER = ("Zwölf Boxkämpfer jagen Viktor quer über den Deich 🙂.\n" * 60).encode()
LETTERS = "\n etaoinshrdlucmfwygpbvkTKC,."


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with its tables, to be copied."""
    path = tmp_path_factory.mktemp("embedded") / "charrnn.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.upgrade()
    database.close()
    return path


@pytest.fixture(scope="session")
def served(mariadb_server: MariaDB) -> str:
    """The name of a database with its tables in a server, to be emptied: they take longer to make than to test."""
    mariadb_server.execute("CREATE DATABASE workspaces")
    Database(mariadb_server.url("workspaces")).upgrade()
    return "workspaces"


PLACES = ["SQLite and files", "MariaDB and files"]
everywhere = pytest.mark.parametrize("settings", [*PLACES, "SQLite and S3"], indirect=True)


@pytest.fixture(params=PLACES)
def settings(request: pytest.FixtureRequest, tmp_path: Path, embedded: Path) -> Settings:
    """A database without models, and an empty storage."""
    database, _, files = request.param.partition(" and ")
    places: dict[str, Any] = {}
    if database == "MariaDB":
        name, server = request.getfixturevalue("served"), request.getfixturevalue("mariadb_server")
        for table in ("model", "account", "supervisor"):
            server.execute(f"DELETE FROM {table}", name)
        places["database_url"] = server.url(name)
    else:
        shutil.copy(embedded, tmp_path / "charrnn.sqlite3")
    if files == "S3":
        places["storage_url"] = f"s3://{request.getfixturevalue('s3').bucket()}/charrnn"
    return Settings(data_folder=tmp_path, **places)


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    workspace = Workspace(settings=settings)
    yield workspace
    workspace.close()


@pytest.fixture
def here(tmp_path: Path, embedded: Path) -> Iterator[Workspace]:
    """A workspace in a folder, for what does not depend on the kind of database or storage."""
    shutil.copy(embedded, tmp_path / "charrnn.sqlite3")
    workspace = Workspace(data_folder=tmp_path)
    yield workspace
    workspace.close()


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model") / "small.safetensors")


def saved_model(path: Path, seed: int = 1) -> Path:
    model = Model.initial("gru", Vocabulary(LETTERS), rnn_size=12, embedding_size=4, seed=seed)
    model.record = {"step": 700, "finished": True, "seconds": 90.0, "epochs": 2.5, "best_validation_loss": 1.5}
    model.save(path)
    return path


def stored(workspace: Workspace) -> set[str]:
    """The keys of all files in the storage, what is being written included."""
    storage = workspace._storage
    if storage.local:
        root = Path(storage.url.removeprefix("file://"))
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    import fsspec

    root_key = storage.url.removeprefix("s3://")
    return {
        path.removeprefix(root_key + "/") for path in fsspec.filesystem("s3", skip_instance_cache=True).find(root_key)
    }


class Attempt:
    """Plays a worker, without its training: claims the oldest model in the queue, delivers and publishes."""

    def __init__(self, workspace: Workspace) -> None:
        self.store, self.storage = workspace._store, workspace._storage
        claim = self.store.claim("here", 60)
        assert claim is not None
        self.claim: Claim = claim
        self.store.begin(claim, "here", 1, 60)

    def publish(self, model: Path, **fields: Any) -> None:
        keys = {}
        for kind, field in (("checkpoint", "checkpoint"), ("model", "model_file")):
            keys[field] = model_key(self.claim.model_id, f"{kind}-{self.claim.attempt}.safetensors")
            self.storage.put(model, keys[field])
        self.deliver(fields={**keys, **fields})

    def deliver(self, **delivery: Any) -> None:
        self.store.deliver(self.claim, Delivery(**delivery), 60)

    def end(self, status: Status = Status.COMPLETE, **delivery: Any) -> None:
        self.store.finish(self.claim, status, Delivery(**delivery))


def trained(workspace: Workspace, model_file: Path, name: str = "poems", **options: Any) -> ModelRecord:
    """A model with a text, whose training has ended after 2 minutes, 100 steps and 4 epochs."""
    id = workspace.create(name, TEXT, **options).id
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.publish(model_file, step=100, seconds=120.0, epoch=4.0, progress=1.0)
    attempt.end(lines=[(0, "trained")])
    return workspace.get(id)


# -- models by name -----------------------------------------------------------------------------------------------


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


# -- texts --------------------------------------------------------------------------------------------------------


@everywhere
def test_a_text_comes_from_a_path_from_bytes_from_an_open_file_or_from_a_sample(
    workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "poems.txt").write_bytes(TEXT)
    for source in (tmp_path / "poems.txt", str(tmp_path / "poems.txt"), TEXT, io.BytesIO(TEXT)):
        model = workspace.attach(workspace.create("poems").id, source)
        assert model.status == Status.READY
        assert model.corpus is not None
        assert model.corpus.characters == len(TEXT)
        assert model.corpus.name == ("poems.txt" if isinstance(source, str | Path) else "text")
    with (tmp_path / "poems.txt").open("rb") as file:
        opened = workspace.attach(model.id, file)
        assert opened.corpus is not None
        assert opened.corpus.name == "poems.txt"
    sample = workspace.create("python", sample="python").corpus
    assert sample is not None
    assert sample.name == "python"
    assert sample.characters > 1_000_000


def test_the_report_on_a_text_says_what_the_text_itself_says(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(OTHER)
    id = workspace.create("poems", OTHER).id
    assert workspace.report(id) == charrnn.ingest(tmp_path / "text", tmp_path / "ids").report()
    with pytest.raises(InvalidCorpus, match="'empty' has no text"):
        workspace.report(workspace.create("empty").id)


@everywhere
def test_another_text_replaces_the_former_one(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    before = stored(workspace)
    model = workspace.attach(id, OTHER, name="boxers")
    assert model.corpus is not None
    assert model.corpus.name == "boxers"
    assert stored(workspace) == {model.corpus.text_key, model.corpus.ids_key}
    assert not stored(workspace) & before


class Breaks(io.RawIOBase):
    """An upload whose connection is lost."""

    def __init__(self) -> None:
        self.pieces = [TEXT]

    def read(self, size: int = -1) -> bytes:
        if not self.pieces:
            raise ConnectionResetError(104, "Connection reset by peer")
        return self.pieces.pop()


def gives_up(fraction: float) -> None:
    if fraction > 0.6:
        raise RuntimeError("I do not want to any more")


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (OTHER * 1500 + b"\xc3", {}, InvalidCorpus, r"text ends in the middle of a character at byte 5,\d+,\d+"),
        (b"abc\0def", {"name": "odd.txt"}, InvalidCorpus, "odd.txt has a NUL at byte 3"),
        (b"", {}, InvalidCorpus, "text is empty"),
        (io.StringIO("text"), {}, InvalidCorpus, "mode 'rb'"),
        (Breaks(), {}, InvalidCorpus, "could not be read to its end: .*Connection reset"),
        (OTHER, {"progress": gives_up}, RuntimeError, "any more"),
        (17, {}, InvalidCorpus, "a path, bytes or an open file is needed, not int"),
        (Path("nowhere.txt"), {}, InvalidCorpus, "there is no file at nowhere.txt"),
        (Path("/"), {}, InvalidCorpus, "is a folder"),
        (None, {}, InvalidCorpus, "either a text or the name of a sample"),
        (None, {"sample": "klingon"}, InvalidCorpus, "there is no sample 'klingon'"),
    ],
    ids=["invalid at its end", "NUL", "empty", "text mode", "broken off", "given up", "number", "missing", "folder",
         "nothing", "no such sample"],
)  # fmt: skip
def test_a_text_that_cannot_be_taken_leaves_the_former_one_as_it_was(
    here: Workspace, source: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = here.create("poems", TEXT)
    files = stored(here)
    with pytest.raises(error, match=message) as refused:
        here.attach(before.id, source, **options)
    assert str(here.settings.data_folder) not in str(refused.value)
    assert here.get(before.id) == before
    assert stored(here) == files


@everywhere
def test_a_new_model_whose_text_cannot_be_taken_does_not_stay(workspace: Workspace) -> None:
    with pytest.raises(InvalidCorpus):
        workspace.create("poems", b"\xff\xff")
    assert workspace.list().models == []
    assert stored(workspace) == set()


ATTACH_SLOWLY = """
import sys, time, charrnn
def slowly(fraction):
    if fraction > float(sys.argv[2]):
        print("there", flush=True)
        time.sleep(600)
charrnn.Workspace().attach(sys.argv[1], sys.argv[3], progress=slowly)
"""


@pytest.mark.parametrize("at", ["0.2", "0.8"])
def test_a_process_killed_while_it_takes_a_text_leaves_the_former_one_and_nothing_else(
    here: Workspace, tmp_path: Path, at: str
) -> None:
    (tmp_path / "other.txt").write_bytes(OTHER * 1500)
    before = here.create("poems", TEXT)
    files = stored(here)
    command = [sys.executable, "-c", ATTACH_SLOWLY, before.id, at, str(tmp_path / "other.txt")]
    environment = variables(**here.settings.environment())
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    assert here.get(before.id) == before
    assert stored(here) > files, "a killed process cannot tidy up"
    model = here.attach(before.id, TEXT + b"more")
    assert model.corpus is not None
    assert stored(here) == {model.corpus.text_key, model.corpus.ids_key}


@everywhere
def test_two_texts_at_a_time_leave_one_of_them_whole(workspace: Workspace) -> None:
    id = workspace.create("poems").id
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: workspace.attach(id, TEXT * (number + 1)), range(4)))
    corpus = workspace.get(id).corpus
    assert corpus is not None
    assert {corpus.text_key, corpus.ids_key} <= stored(workspace)
    with workspace._local(corpus.text_key) as text:
        assert text.stat().st_size == corpus.bytes


def test_a_full_disk_is_said_to_be_full(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing is in the tests of the storage; here a write fails as it does then."""
    from charrnn import received

    def full(*_: object) -> Iterator[bytes]:
        raise OSError(28, "No space left on device")

    id = here.create("poems").id
    monkeypatch.setattr(received, "_pieces", full)
    with pytest.raises(StorageUnavailable, match="No space left on device"):
        here.attach(id, TEXT)


# -- options ------------------------------------------------------------------------------------------------------


def test_options_are_kept_as_they_were_given_under_their_own_names(workspace: Workspace) -> None:
    id = workspace.create("poems", lstm_size=64, train_keep_prob=0.8, minutes=2).id
    assert workspace.get(id).options == {"rnn_size": 64, "dropout": 0.2, "minutes": 2.0}
    assert workspace.set_options(id, rnn_size=None, num_seqs=8).options == {
        "dropout": 0.2, "minutes": 2.0, "batch_size": 8,
    }  # fmt: skip
    assert workspace.set_options(id, max_steps=50).options == {"dropout": 0.2, "batch_size": 8, "max_steps": 50}
    assert workspace.set_options(id, until_stopped=True).options["until_stopped"] is True
    with pytest.raises(InvalidOptions) as refused:
        workspace.set_options(id, rnn_size=0, colour="red")
    assert set(refused.value.fields) == {"rnn_size", "colour"}
    with pytest.raises(InvalidOptions, match="rnn_siez: there is no such option; did you mean rnn_size"):
        workspace.create("other", rnn_siez=5)
    assert len(workspace.list().models) == 1


@everywhere
def test_other_characters_to_tell_apart_give_the_text_other_ids(workspace: Workspace) -> None:
    before = workspace.create("poems", TEXT)
    after = workspace.set_options(before.id, whitelist="the cat")
    assert before.corpus is not None
    assert after.corpus is not None
    assert (before.corpus.unknown, after.corpus.vocabulary_size) == (0, len(set("the cat")) + 1)
    assert after.corpus.unknown > 0
    assert after.corpus.text_key == before.corpus.text_key
    assert stored(workspace) == {after.corpus.text_key, after.corpus.ids_key}
    assert after.corpus_bytes == before.corpus_bytes
    with pytest.raises(InvalidOptions, match="whitelist: none of its characters is in text"):
        workspace.set_options(before.id, whitelist="漢字")
    assert workspace.get(before.id) == after
    assert stored(workspace) == {after.corpus.text_key, after.corpus.ids_key}


def test_options_do_not_bring_back_a_text_that_was_replaced_meanwhile(
    here: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = here.create("poems", TEXT).id
    ingest = here._ingest

    def slowly(*arguments: Any) -> Any:
        monkeypatch.undo()
        facts = ingest(*arguments)
        here.attach(id, OTHER)
        return facts

    monkeypatch.setattr(here, "_ingest", slowly)
    with pytest.raises(InvalidTransition, match="given another text meanwhile; try again"):
        here.set_options(id, whitelist="the cat")
    model = here.get(id)
    assert model.corpus is not None
    assert (model.corpus_bytes, model.options) == (len(OTHER), {})
    assert stored(here) == {model.corpus.text_key, model.corpus.ids_key}


def test_once_training_has_begun_only_the_budget_may_change(workspace: Workspace, model_file: Path) -> None:
    model = trained(workspace, model_file, minutes=2)
    assert workspace.set_options(model.id, minutes=9).options == {"minutes": 9.0}
    with pytest.raises(InvalidOptions, match=r"rnn_size, seed cannot change .* start it over, or fork it") as refused:
        workspace.set_options(model.id, rnn_size=64, seed=2, minutes=10)
    assert set(refused.value.fields) == {"rnn_size", "seed"}
    with pytest.raises(InvalidTransition, match="keeps its text; a fork"):
        workspace.attach(model.id, OTHER)


def test_a_model_that_failed_before_it_learned_anything_can_have_other_options_and_another_text(
    workspace: Workspace,
) -> None:
    id = workspace.create("poems", TEXT, batch_size=5000).id
    workspace.start(id)
    Attempt(workspace).end(Status.FAILED)
    assert workspace.set_options(id, batch_size=4, whitelist="the cat").status == Status.READY
    assert workspace.attach(id, OTHER).status == Status.READY
    assert workspace.start(id).status == Status.QUEUED


# -- training -----------------------------------------------------------------------------------------------------


def test_a_model_needs_a_text_before_it_is_trained(workspace: Workspace) -> None:
    id = workspace.create("poems").id
    for ask in (workspace.start, workspace.start_over, lambda id: workspace.continue_(id, minutes=1)):
        with pytest.raises(InvalidTransition, match="'poems' has no text yet: give it one first"):
            ask(id)
    assert workspace.get(id).status == Status.DRAFT


def test_models_wait_in_the_order_in_which_they_were_started(workspace: Workspace) -> None:
    first, second, third = (workspace.create(f"poems {number}", TEXT).id for number in range(3))
    assert workspace.place_in_queue(first) is None
    for id in (second, first, third):
        assert workspace.start(id).status == Status.QUEUED
    assert [workspace.place_in_queue(id) for id in (first, second, third)] == [2, 1, 3]
    assert workspace.start(second) == workspace.get(second), "to ask again changes nothing"
    assert workspace.stop(second).status == Status.READY
    assert [workspace.place_in_queue(id) for id in (first, second, third)] == [1, None, 2]


def test_what_is_queued_or_running_cannot_be_changed_or_deleted(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    workspace.start(id)
    changes: list[Callable[[], Any]] = [
        lambda: workspace.set_options(id, minutes=1),
        lambda: workspace.start(id, minutes=1),
        lambda: workspace.continue_(id, minutes=1),
        lambda: workspace.start_over(id),
        lambda: workspace.attach(id, OTHER),
        lambda: workspace.delete(id),
    ]
    for status in (Status.QUEUED, Status.RUNNING):
        if status == Status.RUNNING:
            Attempt(workspace)
        for change in changes:
            with pytest.raises(InvalidTransition, match=f"'poems' is {status}"):
                change()
    assert workspace.get(id).options == {}


def test_stop_asks_a_running_training_to_save_and_a_second_time_to_end_at_once(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    workspace.start(id)
    Attempt(workspace)
    assert [workspace.stop(id).stop_requested for _ in range(3)] == [1, 2, 2]


def test_continue_adds_to_what_was_done(workspace: Workspace, model_file: Path) -> None:
    id = trained(workspace, model_file, max_steps=100, rnn_size=12).id
    with pytest.raises(InvalidTransition, match="'poems' is complete: continue it with a larger budget, or start"):
        workspace.start(id)
    assert workspace.continue_(id, minutes=3).options == {"rnn_size": 12, "minutes": 5.0}
    workspace.stop(id)
    assert workspace.continue_(id, max_steps=50, max_epochs=0.5).options == {
        "rnn_size": 12, "max_steps": 150, "max_epochs": 4.5,
    }  # fmt: skip
    workspace.stop(id)
    for wrong, message in (({}, "how much more"), ({"minutes": -1}, "minutes: must be more than 0")):
        with pytest.raises(InvalidOptions, match=message):
            workspace.continue_(id, **wrong)
    assert workspace.start(id).options == {"rnn_size": 12, "max_steps": 150, "max_epochs": 4.5}


def test_only_what_was_trained_can_be_continued(workspace: Workspace, model_file: Path) -> None:
    ready = workspace.create("poems", TEXT)
    with pytest.raises(InvalidTransition, match="'poems' has not learned anything yet: start it"):
        workspace.continue_(ready.id, minutes=1)
    imported = workspace.import_model(model_file, "imported")
    for ask in (workspace.start, workspace.start_over, lambda id: workspace.continue_(id, minutes=1)):
        with pytest.raises(InvalidTransition, match=r"'imported' came without a text .* fork it with one"):
            ask(imported.id)


@everywhere
def test_to_start_over_forgets_what_was_learned_but_not_the_log(workspace: Workspace, model_file: Path) -> None:
    before = trained(workspace, model_file, max_steps=100)
    model = workspace.start_over(before.id, rnn_size=64, whitelist="the cat")
    assert model.status == Status.QUEUED
    assert model.options == {"max_steps": 100, "rnn_size": 64, "whitelist": "the cat"}
    assert (model.step, model.seconds, model.model_file, model.checkpoint) == (0, 0, None, None)
    assert [line.text for line in workspace.logs(model.id)] == ["trained", "started over"]
    assert model.corpus is not None
    assert model.corpus.unknown > 0
    assert stored(workspace) == {model.corpus.text_key, model.corpus.ids_key}


@everywhere
def test_a_fork_begins_with_what_its_parent_has_learned(workspace: Workspace, model_file: Path) -> None:
    parent = trained(workspace, model_file, seed=3, max_steps=100)
    workspace.set_sampling(parent.id, temperature=0.5)
    child = workspace.fork(parent.id)
    assert (child.name, child.status, child.parent_id) == ("poems (fork)", Status.READY, parent.id)
    assert (child.options, child.sampling) == ({"seed": 3}, {"temperature": 0.5})
    assert child.corpus is not None
    assert parent.corpus is not None
    assert child.corpus.sha256 == parent.corpus.sha256
    other = workspace.fork(parent.id, "boxers", OTHER, max_steps=5)
    workspace.delete(parent.id)
    assert other.corpus is not None
    known = set(LETTERS)
    assert other.corpus.vocabulary_size == 1 + len(known | set(OTHER.decode()))
    with workspace._local(other.corpus.ids_key) as ids:
        assert charrnn.Corpus.open(ids).vocabulary.characters.startswith(LETTERS)
    with workspace._local(model_key(child.id, "parent.safetensors")) as copy:
        assert copy.read_bytes() == model_file.read_bytes()
    assert workspace.attach(other.id, TEXT).corpus is not None


@everywhere
def test_an_imported_model_can_be_forked_with_a_text(workspace: Workspace, model_file: Path) -> None:
    imported = workspace.import_model(model_file)
    empty = workspace.fork(imported.id, "without a text")
    assert empty.status == Status.DRAFT
    assert workspace.attach(empty.id, TEXT).status == Status.READY
    assert workspace.start(workspace.fork(imported.id, source=TEXT).id).status == Status.QUEUED


@everywhere
def test_a_fork_that_cannot_be_leaves_nothing_behind(workspace: Workspace, model_file: Path) -> None:
    parent = trained(workspace, model_file)
    young = workspace.create("young", TEXT)
    models, files = workspace.list().models, stored(workspace)
    with pytest.raises(InvalidModel, match="'young' is ready and has learned nothing yet: train it first"):
        workspace.fork(young.id)
    with pytest.raises(InvalidOptions, match="rnn_size is 12 in the parent, whose network a fork keeps"):
        workspace.fork(parent.id, rnn_size=64)
    with pytest.raises(InvalidCorpus, match="NUL"):
        workspace.fork(parent.id, source=b"a\0b")
    with pytest.raises(InvalidOptions, match="name: "):
        workspace.fork(parent.id, "\n")
    assert workspace.list().models == models
    assert stored(workspace) == files


def test_logs_metrics_and_samples_can_be_had_from_any_point_on(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    assert (workspace.logs(id), workspace.metrics(id), workspace.samples(id)) == ([], [], [])
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.deliver(
        lines=[(position, f"line {position} 🙂") for position in range(30)],
        metrics=[Metric(step, train_loss=1 / step) for step in (1, 2, 3)],
        samples=[(0, "aaa"), (10, "the\ncat 🙂")],
    )
    assert [line.text for line in workspace.logs(id, after=26)] == ["line 27 🙂", "line 28 🙂", "line 29 🙂"]
    assert [line.position for line in workspace.logs(id, limit=2)] == [0, 1]
    assert [line.position for line in workspace.log_lines(id, last=2)] == [28, 29]
    assert [(metric.step, metric.train_loss) for metric in workspace.metrics(id, after=1)] == [(2, 1 / 2), (3, 1 / 3)]
    assert [sample.text for sample in workspace.samples(id, after=0)] == ["the\ncat 🙂"]


def test_a_log_that_is_followed_ends_with_the_training_and_misses_no_line(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    workspace.start(id)
    seen: list[int] = []

    def follow() -> None:
        for line in workspace.log_lines(id, follow=True):
            seen.append(line.position)

    reader = threading.Thread(target=follow)
    reader.start()
    attempt = Attempt(workspace)
    for position in range(5):
        attempt.deliver(lines=[(position, "line")])
    until(lambda: len(seen) == 5)
    assert reader.is_alive()
    attempt.end(lines=[(5, "the last")])
    reader.join(20)
    assert not reader.is_alive()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [line.position for line in workspace.log_lines(id, after=3, follow=True)] == [4, 5]


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not in {seconds} s: {condition}"
        time.sleep(0.02)


def test_models_are_supervised_as_long_as_a_supervisor_lives(workspace: Workspace) -> None:
    assert not workspace.supervised()
    store = workspace._store
    store.supervisor_alive("one", "somewhere", os.getpid(), 1)
    assert workspace.supervised()
    store.supervisor_gone("one")
    assert not workspace.supervised()


def test_a_supervisor_of_this_machine_that_was_killed_is_not_waited_for(here: Workspace) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    here._store.supervisor_alive("one", "this machine", killed.pid, 1)
    assert not here.supervised()


# -- writing ------------------------------------------------------------------------------------------------------


@everywhere
def test_a_model_writes_predicts_and_scores_as_its_file_does(
    workspace: Workspace, model_file: Path, tmp_path: Path
) -> None:
    id, file = workspace.import_model(model_file).id, charrnn.load(model_file)
    sampling: dict[str, Any] = {"length": 50, "seed": 4, "temperature": 0.7}
    assert workspace.generate(id, "The ", **sampling) == file.generate("The ", **sampling)
    assert workspace.generate(id, start_string="The ", max_length=50, seed=4) == file.generate(
        "The ", length=50, seed=4
    )
    assert workspace.generate(id, "The ", count=3, **sampling) == file.generate("The ", count=3, **sampling)
    assert "".join(workspace.stream(id, "The ", **sampling)) == file.generate("The ", **sampling)
    assert workspace.predict(id, "The ", top=3) == file.predict("The ", top=3)
    assert np.array_equal(workspace.score(id, "The cat"), file.score("The cat"), equal_nan=True)
    (tmp_path / "held-out").write_bytes(TEXT)
    assert (
        workspace.evaluate(id, TEXT)
        == workspace.evaluate(id, tmp_path / "held-out")
        == file.evaluate(tmp_path / "held-out")
    )
    with pytest.raises(InvalidCorpus, match="the text has a NUL at byte 1") as refused:
        workspace.evaluate(id, b"a\0b")
    assert "/" not in str(refused.value)
    for wrong in ({"temperature": -1}, {"colour": "red"}):
        with pytest.raises(InvalidOptions):
            workspace.generate(id, **wrong)
        with pytest.raises(InvalidOptions):
            workspace.stream(id, **wrong)  # at once, not when the first piece is asked for
    with pytest.raises(InvalidOptions, match="count: a stream is one text"):
        workspace.stream(id, count=2)


def test_a_model_writes_as_was_set_for_it_where_nothing_else_is_asked_for(
    workspace: Workspace, model_file: Path
) -> None:
    id, file = workspace.import_model(model_file).id, charrnn.load(model_file)
    workspace.set_sampling(id, start_string="The ", length=20, seed=3, stop=["x"], top_k=5)
    model = workspace.set_sampling(id, top_k=None, temperature=0.5)
    assert model.sampling == {"prompt": "The ", "length": 20, "seed": 3, "stop": ["x"], "temperature": 0.5}
    expected: dict[str, Any] = {"length": 20, "seed": 3, "stop": ["x"], "temperature": 0.5}
    assert workspace.generate(id) == file.generate("The ", **expected)
    assert workspace.generate(id, "C", seed=5) == file.generate("C", **{**expected, "seed": 5})
    with pytest.raises(InvalidOptions, match="temperature"):
        workspace.set_sampling(id, temperature="hot")
    assert workspace.get(id).sampling == model.sampling


def test_a_model_that_has_learned_nothing_yet_says_when_it_will_write(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT).id
    with pytest.raises(InvalidModel, match="'poems' is ready and has learned nothing yet: train it first"):
        workspace.generate(id)
    workspace.start(id)
    with pytest.raises(InvalidModel, match=r"'poems' is queued .* writes from its first validation on"):
        workspace.export(id, io.BytesIO())


@everywhere
def test_threads_share_one_model_and_write_what_one_thread_alone_writes(
    workspace: Workspace, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = workspace.import_model(model_file).id
    loads = []
    load = workspace._load
    monkeypatch.setattr(workspace, "_load", lambda key: loads.append(key) or load(key))  # counts, and then loads
    alone = [charrnn.load(model_file).generate("The ", length=300, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda seed: workspace.generate(id, "The ", length=300, seed=seed), range(8)))
    assert texts == alone
    assert len(loads) == 1


@everywhere
def test_what_is_written_follows_the_training_without_a_moment_in_which_there_is_no_model(
    workspace: Workspace, tmp_path: Path
) -> None:
    """While attempts publish, are replaced and their files are deleted, every reader gets one of the models, whole."""
    id = workspace.create("poems", TEXT).id
    files = [saved_model(tmp_path / f"{seed}.safetensors", seed) for seed in range(6)]
    expected = [charrnn.load(file).generate("The ", length=30, seed=1) for file in files]
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.publish(files[0])
    seen: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(workspace.generate(id, "The ", length=30, seed=1))

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read) for _ in range(3)]
        try:
            for number, file in enumerate(files[1:], 1):
                count = len(seen)
                if number % 2:
                    attempt.publish(file)  # under the same name
                else:
                    stale = workspace.get(id).model_file
                    attempt.store.release(attempt.claim, Delivery())
                    attempt = Attempt(workspace)
                    attempt.publish(file)  # under another one, and the former goes
                    attempt.storage.delete(str(stale))
                until(lambda count=count: len(seen) > count + 5)  # type: ignore[misc]
                assert workspace.generate(id, "The ", length=30, seed=1) == expected[number]
        finally:
            done.set()
        for reader in readers:
            reader.result()
    assert set(seen) <= set(expected)


def test_only_so_many_models_stay_in_memory(settings: Settings, model_file: Path) -> None:
    workspace = Workspace(settings=settings.model_copy(update={"model_cache": 2}))
    first, second, third = (workspace.import_model(model_file, f"model {number}").id for number in range(3))
    kept = {id: workspace.model(id) for id in (first, second, third)}
    assert workspace.model(third) is kept[third]
    assert workspace.model(second) is kept[second]
    assert workspace.model(first) is not kept[first]


def test_a_shared_workspace_trains_continues_and_forks_and_then_writes(mariadb: str, s3: S3, tmp_path: Path) -> None:
    """The whole way, with real trainings: a server's database, files in S3, a supervisor of its own."""
    workspace = Workspace(database_url=mariadb, storage_url=f"s3://{s3.bucket()}", data_folder=tmp_path)
    environment = variables(**workspace.settings.environment())

    def train_all() -> None:
        command = [sys.executable, "-m", "charrnn", "supervise", "--until-idle"]
        subprocess.run(command, env=environment, check=True, timeout=300, capture_output=True)

    subprocess.run([sys.executable, "-m", "charrnn", "db", "upgrade"], env=environment, check=True, capture_output=True)
    tiny: dict[str, Any] = {"rnn_size": 8, "batch_size": 2, "seq_length": 16, "max_steps": 6}
    ada, bob = workspace.as_user("ada"), workspace.as_user("bob")
    parent = ada.create("poems", TEXT, **tiny)
    ada.start(parent.id)
    train_all()
    assert ada.get(parent.id).error is None
    ada.continue_(parent.id, max_steps=4)
    child = bob.fork(parent.id, "boxers", OTHER, max_steps=5)
    bob.start(child.id)
    train_all()
    assert [(model.name, model.status, model.step) for model in workspace.list().models] == [
        ("boxers", Status.COMPLETE, 5), ("poems", Status.COMPLETE, 10),
    ]  # fmt: skip
    known = workspace.model(parent.id).vocabulary.characters
    learned = workspace.model(child.id).vocabulary.characters
    assert learned.startswith(known)
    assert set(learned) == set(TEXT.decode()) | set(OTHER.decode())
    assert len(bob.generate(child.id, "Zwölf", length=20)) == 20
    assert any("resumed at step 6" in line.text for line in workspace.logs(parent.id))
    assert [sample.step for sample in workspace.samples(parent.id)][-1] == 10
    assert [metric.step for metric in workspace.metrics(parent.id)][-1] == 10
    for model in (parent, child):
        workspace.delete(model.id)
    assert stored(workspace) == set()
    workspace.close()


# -- model files --------------------------------------------------------------------------------------------------


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


# -- people -------------------------------------------------------------------------------------------------------


def test_everybody_may_look_at_and_fork_what_belongs_to_others_but_not_change_it(
    workspace: Workspace, model_file: Path
) -> None:
    ada, bob = workspace.as_user("ada"), workspace.as_user("bob")
    id = trained(ada, model_file).id
    assert [model.owner for model in bob.list().models] == ["ada"]
    assert bob.find("poems").id == id
    assert bob.generate(id, length=3)
    assert [line.text for line in bob.logs(id)] == ["trained"]
    assert bob.report(id).characters == len(TEXT)
    assert bob.fork(id).owner == "bob"
    changes: list[Callable[[], Any]] = [
        lambda: bob.rename(id, "mine"),
        lambda: bob.delete(id),
        lambda: bob.attach(id, OTHER),
        lambda: bob.set_options(id, minutes=1),
        lambda: bob.set_sampling(id, length=1),
        lambda: bob.start(id),
        lambda: bob.stop(id),
        lambda: bob.continue_(id, minutes=1),
        lambda: bob.start_over(id),
    ]
    for change in changes:
        with pytest.raises(NotAllowed, match="'poems' belongs to 'ada'"):
            change()
    assert ada.rename(id, "verse").name == "verse"


def test_one_finds_ones_own_model_before_anothers_of_the_same_name(workspace: Workspace) -> None:
    ada, bob = workspace.as_user("ada"), workspace.as_user("bob")
    hers, his = ada.create("poems"), bob.create("poems")
    assert (ada.find("poems").id, bob.find("poems").id) == (hers.id, his.id)
    with pytest.raises(AmbiguousName):
        workspace.as_user("eve").find("poems")


def test_where_people_see_only_their_own_models_others_are_not_there(settings: Settings, model_file: Path) -> None:
    workspace = Workspace(settings=settings, policy=Policy(privacy="own", admins=frozenset({"root"})))
    ada, bob = workspace.as_user("ada"), workspace.as_user("bob")
    id = trained(ada, model_file).id
    asks: list[Callable[[str], Any]] = [
        bob.get, bob.find, bob.delete, bob.start, bob.stop, bob.report, bob.fork, bob.logs, bob.metrics, bob.samples,
        bob.place_in_queue, bob.model, bob.generate, bob.stream, bob.predict, bob.start_over,
        lambda id: bob.score(id, "x"), lambda id: bob.export(id, io.BytesIO()), lambda id: list(bob.log_lines(id)),
        lambda id: bob.evaluate(id, TEXT), lambda id: bob.attach(id, TEXT), lambda id: bob.rename(id, "mine"),
    ]  # fmt: skip
    for ask in asks:
        with pytest.raises(ModelNotFound):
            ask(id)
    with pytest.raises(ModelNotFound):
        bob.find("poems")
    assert bob.list().models == []
    for somebody in (ada, workspace, workspace.as_user("root")):
        assert [model.id for model in somebody.list().models] == [id]
        assert somebody.find("poems").id == id
    assert workspace.as_user("root").delete(id).owner == "ada"


def test_names_of_people_that_look_alike_are_those_of_different_people(settings: Settings) -> None:
    workspace = Workspace(settings=settings, policy=Policy(privacy="own", max_text_bytes=len(TEXT)))
    people = ["ada", "Ada", "ada ", "àda", "ａda", "ada\0"]
    for person in people:
        workspace.as_user(person).create("poems", TEXT)
    for person in people:
        assert [model.owner for model in workspace.as_user(person).list().models] == [person]
        assert workspace.as_user(person).find("poems").owner == person
        with pytest.raises(QuotaExceeded):
            workspace.as_user(person).create("more", b"abc")


def test_a_user_does_not_name_files_of_the_server(here: Workspace, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(TEXT)
    ada = here.as_user("ada")
    model, secret = ada.import_model(model_file.read_bytes(), "poems"), str(tmp_path / "secret.txt")
    asks: list[Callable[[], Any]] = [
        lambda: ada.create("secret", secret),
        lambda: ada.fork(model.id, "secret", secret),
        lambda: ada.evaluate(model.id, secret),
        lambda: ada.import_model(str(model_file), "secret"),
        lambda: ada.export(model.id, str(tmp_path / "out.safetensors")),
    ]
    for ask in asks:
        with pytest.raises(NotAllowed, match="a file on this machine cannot be named here"):
            ask()
    assert [found.name for found in here.list().models] == ["poems"]
    assert ada.create("uploaded", tmp_path / "secret.txt").status == Status.READY, "a program may name a path"


@everywhere
def test_the_bytes_of_ones_texts_are_limited_together(settings: Settings) -> None:
    workspace = Workspace(settings=settings, policy=Policy(max_text_bytes=2 * len(TEXT), admins=frozenset({"root"})))
    ada = workspace.as_user("ada")
    first, second = ada.create("one", TEXT), ada.create("two", io.BytesIO(TEXT))
    files = stored(workspace)
    with pytest.raises(QuotaExceeded, match="too large: there is room for 0 bytes"):
        ada.create("three", io.BytesIO(TEXT))
    with pytest.raises(QuotaExceeded, match="too large"):
        ada.attach(second.id, TEXT + b"!")
    assert stored(workspace) == files
    assert ada.get(second.id) == second
    assert ada.attach(second.id, TEXT[:1000]).corpus_bytes == 1000, "what it replaces is given back"
    ada.delete(first.id)
    assert ada.create("three", TEXT).status == Status.READY
    for somebody in (workspace.as_user("bob"), workspace.as_user("root"), workspace):
        assert somebody.create("large", TEXT * 2).status == Status.READY
    assert workspace.as_user("root").create("larger", TEXT * 3).status == Status.READY


def test_a_text_that_came_in_while_another_was_counted_is_refused_in_the_end(settings: Settings) -> None:
    ada = Workspace(settings=settings, user="ada", policy=Policy(max_text_bytes=len(TEXT) + 100))
    ids = [ada.create(f"poems {number}").id for number in range(4)]

    def attach(id: str) -> str:
        try:
            return str(ada.attach(id, TEXT).status)
        except QuotaExceeded:
            return "refused"

    with ThreadPoolExecutor(4) as threads:
        outcomes = list(threads.map(attach, ids))
    assert sorted(outcomes) == ["ready", "refused", "refused", "refused"]
    assert len(stored(ada)) == 2


def test_an_upload_is_cut_off_where_it_becomes_too_large(settings: Settings, model_file: Path) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"a" * size

    ada = Workspace(settings=settings, user="ada", policy=Policy(upload_limit=5_000_000))
    for take in (lambda source: ada.create("poems", source), ada.import_model):
        source = Endless()
        with pytest.raises(QuotaExceeded, match="room for 5,000,000 bytes"):
            take(source)
        assert source.given < 8_000_000
    assert stored(ada) == set()
    assert ada.list().models == []


def test_only_so_many_trainings_of_one_person_wait_or_run(settings: Settings) -> None:
    workspace = Workspace(settings=settings, policy=Policy(max_queued=2))
    ada = workspace.as_user("ada")
    ids = [ada.create(f"poems {number}", TEXT).id for number in range(3)]
    ada.start(ids[0])
    ada.start(ids[1])
    with pytest.raises(QuotaExceeded, match="2 trainings may be queued or running"):
        ada.start(ids[2])
    assert ada.get(ids[2]).status == Status.READY
    assert workspace.as_user("bob").start(workspace.as_user("bob").create("poems", TEXT).id).status == Status.QUEUED
    ada.stop(ids[0])
    assert ada.start(ids[2]).status == Status.QUEUED


def test_minutes_of_training_are_limited_and_set_where_none_are_given(settings: Settings, model_file: Path) -> None:
    workspace = Workspace(settings=settings, policy=Policy(max_minutes=2.5))
    ada = workspace.as_user("ada")
    with pytest.raises(QuotaExceeded, match=r"minutes: 3 is too much; a training may take 2\.5 minutes here"):
        ada.create("poems", minutes=3)
    with pytest.raises(QuotaExceeded, match="max_steps alone could take any time"):
        ada.create("poems", max_steps=3)
    assert workspace.list().models == []
    model = ada.create("poems", TEXT)
    assert ada.start(model.id).options == {"minutes": 2.5}
    attempt = Attempt(workspace)
    attempt.publish(model_file, step=10, seconds=150.0)
    attempt.end()
    with pytest.raises(QuotaExceeded, match=r"minutes: 2\.6 is too much"):
        ada.continue_(model.id, minutes=2.6)
    assert ada.continue_(model.id, minutes=2.5).options == {"minutes": 5.0}
    assert workspace.as_user(None).create("mine", minutes=300).options == {"minutes": 300.0}


def test_generations_a_minute_are_limited(settings: Settings, model_file: Path) -> None:
    workspace = Workspace(settings=settings, policy=Policy(max_generations_per_minute=3))
    ada = workspace.as_user("ada")
    id = workspace.import_model(model_file).id
    ada.generate(id, length=1)
    next(ada.stream(id, length=1))
    with pytest.raises(InvalidOptions):
        ada.generate(id, temperature=-1)  # nothing was written, so it does not count
    ada.predict(id)
    for ask in (
        ada.generate,
        ada.stream,
        ada.predict,
        lambda id: ada.score(id, "x"),
        lambda id: ada.evaluate(id, TEXT),
    ):
        with pytest.raises(QuotaExceeded, match="3 texts may be written in a minute; more in") as refused:
            ask(id)
        assert refused.value.seconds is not None
        assert 0 < refused.value.seconds <= 60
    assert workspace.generate(id, length=1)
    assert workspace.as_user("bob").generate(id, length=1)


def test_the_policy_is_the_configured_one_unless_another_is_given(here: Workspace) -> None:
    settings = here.settings.model_copy(update={"privacy": "own", "max_queued": 4, "admins": frozenset({"root"})})
    assert Workspace(settings=settings).policy == Policy.from_settings(settings)
    assert Workspace(settings=settings).policy.max_queued == 4
    assert Workspace(settings=settings, policy=Policy()).policy.max_queued is None
    with pytest.raises(TypeError, match="not both"):
        Workspace(settings=settings, max_running=3)
    for nobody in ("", "x" * 201):
        with pytest.raises(NotAllowed, match="a user needs a name"):
            Workspace(settings=settings, user=nobody)


def test_a_file_on_the_server_is_not_read_for_a_user(here: Workspace, tmp_path: Path) -> None:
    (tmp_path / "whitelist.txt").write_text("abc")
    assert here.create("mine", whitelist_file=tmp_path / "whitelist.txt").options == {"whitelist": "abc"}
    with pytest.raises(InvalidOptions, match="whitelist_file: a file cannot be named here"):
        here.as_user("ada").create("hers", whitelist_file=tmp_path / "whitelist.txt")


def test_neither_the_workspace_nor_its_errors_tell_the_password(tmp_path: Path) -> None:
    workspace = Workspace(database_url="mysql://charrnn:s3cret@127.0.0.1:1/charrnn", data_folder=tmp_path, user="ada")
    with pytest.raises(charrnn.DatabaseUnavailable) as refused:
        workspace.list()
    assert repr(workspace) == "<charrnn.Workspace of 'ada'>"
    assert "s3cret" not in f"{refused.value!r} {workspace!r} {workspace.settings!r} {workspace.__dict__}"


def test_records_are_json(workspace: Workspace, model_file: Path) -> None:
    data = json.loads(json.dumps(trained(workspace, model_file).to_json()))
    assert (data["name"], data["status"], data["corpus"]["characters"]) == ("poems", "complete", len(TEXT))
