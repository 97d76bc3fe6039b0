"""Texts and options: whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.errors import InvalidCorpus, InvalidOptions, InvalidTransition, StorageUnavailable
from charrnn.jobs.status import Status
from charrnn.workspace import Workspace
from tests.command_line import variables
from tests.workspace.played import OTHER, TEXT, Attempt, everywhere, stored, trained


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


# -- options -------------------------------------------------------------------------------------------------------


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
