"""What comes in bit by bit is counted and checked meanwhile, and is there only when it is there whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.errors import (
    FileNotInStorage,
    InvalidCorpus,
    InvalidModel,
    InvalidOptions,
    InvalidTransition,
    NotAllowed,
    NothingLearned,
    QuotaExceeded,
    TooLarge,
)
from charrnn.jobs.status import Status
from charrnn.policy import Policy
from charrnn.received import Incoming
from charrnn.workspace import LARGE_TEXT, Workspace
from tests.workspace.played import OTHER, TEXT, Attempt, everywhere, saved_model, stored, trained


def come(incoming: Incoming, content: bytes, size: int = 100) -> Incoming:
    for start in range(0, len(content), size):
        incoming.write(content[start : start + size])
    return incoming


@everywhere
def test_a_text_that_came_in_is_the_models_text(workspace: Workspace) -> None:
    incoming = workspace.receive_text()
    incoming.name = "boxers.txt"
    made = workspace.create("boxers", come(incoming, OTHER), cell="gru", start=True)
    assert (made.status, made.options) == (Status.QUEUED, {"cell": "gru"})
    assert made.corpus is not None
    assert (made.corpus.name, made.corpus.bytes) == ("boxers.txt", len(OTHER))
    id = workspace.create("poems").id
    attached = workspace.attach(id, come(workspace.receive_text(id), TEXT))
    assert attached.corpus is not None
    assert (attached.corpus.name, attached.corpus.characters) == ("text", len(TEXT))
    assert stored(workspace) == {
        key for record in (made, attached) if record.corpus for key in (record.corpus.text_key, record.corpus.ids_key)
    }


@everywhere
def test_what_was_not_handed_over_is_gone(workspace: Workspace) -> None:
    with come(workspace.receive_text(), TEXT) as incoming:
        folder = incoming.path.parent
        assert incoming.path.read_bytes() == TEXT
        assert incoming.size == len(TEXT)
    assert not folder.exists()
    assert stored(workspace) == set()


def test_a_text_is_moved_not_copied(here: Workspace) -> None:
    incoming = come(here.receive_text(), TEXT)
    inode = incoming.path.stat().st_ino
    corpus = here.create("poems", incoming).corpus
    assert corpus is not None
    assert (Path(here.settings.storage_url.removeprefix("file://")) / corpus.text_key).stat().st_ino == inode


def test_a_large_text_is_read_in_elsewhere_and_is_the_same(here: Workspace) -> None:
    large = OTHER * (LARGE_TEXT // len(OTHER) + 1)
    told: list[float] = []
    corpus = here.create("large", large, progress=told.append).corpus
    assert corpus is not None
    assert corpus.characters == len(large.decode())
    assert told[-1] == 1
    with pytest.raises(InvalidCorpus, match=f"^text is not UTF-8 at byte {len(large):,} "):
        here.create("large", large + b"\xff")
    assert here.list().total == 1


def test_it_is_refused_at_the_first_wrong_byte_under_its_name(here: Workspace) -> None:
    with here.receive_text() as incoming:
        incoming.name = "mine.txt"
        incoming.write(b"caf")
        with pytest.raises(InvalidCorpus, match=r"^mine.txt is not UTF-8 at byte 3 \(line 1\)"):
            incoming.write(b"\xe9 and more")
    with (
        come(here.receive_text(), "é".encode()[:1]) as incoming,
        pytest.raises(InvalidCorpus, match="ends in the middle"),
    ):
        here.create("poems", incoming)
    assert here.list().total == 0
    assert stored(here) == set()


def test_there_is_room_for_so_much_and_no_more(here: Workspace) -> None:
    policy = Policy(upload_limit=1000, max_text_bytes=1500, admins=frozenset({"boss"}))
    ann = here.as_user("ann", policy)
    for who in (ann, here.as_user("boss", policy), here.as_user(None, policy)):
        with who.receive_text() as incoming:
            come(incoming, b"x" * 1000)
            with pytest.raises(TooLarge, match="text is too large: there is room for 1,000 bytes"):
                incoming.write(b"x")
    id = ann.create("first", come(ann.receive_text(), TEXT[:900])).id
    assert ann.receive_text().limit == 600
    assert ann.receive_text(id).limit == 1000  # which takes the place of what is there
    late = come(ann.receive_text(), TEXT[:500])
    ann.create("second", come(ann.receive_text(), TEXT[:500]))
    with pytest.raises(QuotaExceeded):
        ann.create("third", late)
    assert not late.path.exists()


def test_what_cannot_be_taken_is_refused_before_it_comes(here: Workspace, model_file: Path) -> None:
    with pytest.raises(InvalidTransition, match="keeps its text"):
        here.receive_text(trained(here, model_file).id)
    id = here.as_user("ann").create("hers").id
    with pytest.raises(NotAllowed):
        here.as_user("bob").receive_text(id)


def test_a_model_that_cannot_be_started_is_not_made(here: Workspace) -> None:
    ann = here.as_user("ann", Policy(max_queued=1))
    ann.create("first", TEXT, start=True)
    with pytest.raises(QuotaExceeded):
        ann.create("second", TEXT, start=True)
    with pytest.raises(InvalidTransition, match="has no text yet"):
        ann.create("third", start=True)
    with pytest.raises(InvalidOptions):
        ann.create("\n", come(ann.receive_text(), TEXT))
    assert [model.name for model in ann.list().models] == ["first"]


@everywhere
def test_a_model_file_that_came_in_is_a_model_and_goes_out_as_it_came(workspace: Workspace, model_file: Path) -> None:
    incoming = workspace.receive_model()
    incoming.name = "verse.safetensors"
    made = workspace.import_model(come(incoming, model_file.read_bytes(), 5000))
    assert made.name == "verse"
    with workspace.model_file(made.id) as (record, file):
        assert record == made
        assert file.read() == model_file.read_bytes()
    with pytest.raises(InvalidModel, match=r"^model: "):
        workspace.import_model(come(workspace.receive_model(), b"no model"))
    with pytest.raises(NothingLearned), workspace.model_file(workspace.create("poems").id):
        pass
    assert stored(workspace) == {made.model_file}


def test_a_file_is_handed_out_whole_whatever_takes_its_place(here: Workspace, model_file: Path, tmp_path: Path) -> None:
    id = here.create("poems", TEXT, start=True).id
    attempt = Attempt(here)
    attempt.publish(model_file)
    with here.model_file(id) as (_, file):
        begun = file.read(100)
        attempt.publish(saved_model(tmp_path / "better.safetensors", seed=2))
        assert begun + file.read() == model_file.read_bytes()
    with here.model_file(id) as (_, file):
        assert file.read() == (tmp_path / "better.safetensors").read_bytes()


def test_a_file_that_is_lost_is_told(here: Workspace, model_file: Path) -> None:
    record = here.import_model(model_file)
    here._storage.delete(str(record.model_file))
    with pytest.raises(FileNotInStorage, match="the file of 'small' is not in the storage"), here.model_file(record.id):
        pass
