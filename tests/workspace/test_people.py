"""Several people in one workspace: who sees, changes and uses what."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import Settings
from charrnn.errors import AmbiguousName, InvalidOptions, ModelNotFound, NotAllowed, QuotaExceeded
from charrnn.jobs import accounts
from charrnn.jobs.status import Status
from charrnn.policy import Policy
from charrnn.workspace import Workspace
from tests.workspace.played import OTHER, TEXT, Attempt, everywhere, stored, trained


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


def test_generations_a_minute_are_limited(
    settings: Settings, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "now", lambda connection: datetime(2030, 1, 1, 12, 0, 20, tzinfo=UTC))
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
        assert refused.value.seconds == 40
    assert workspace.generate(id, length=1)
    assert workspace.as_user("bob").generate(id, length=1)


def test_characters_of_one_request_are_limited(settings: Settings, model_file: Path) -> None:
    workspace = Workspace(settings=settings, policy=Policy(max_characters=10))
    ada, id = workspace.as_user("ada"), workspace.import_model(model_file).id
    assert ada.generate(id, length=10)
    for ask in (
        lambda: ada.generate(id, length=11),
        lambda: ada.generate(id, length=4, count=3),
        lambda: ada.stream(id, length=11),
        lambda: ada.score(id, "x" * 11),
        lambda: ada.predict(id, "x" * 11),
    ):
        with pytest.raises(QuotaExceeded, match="are too many: 10 may be asked for at a time here"):
            ask()
    assert workspace.generate(id, length=11)


def test_what_somebody_makes_is_charged_to_where_they_come_from(settings: Settings, model_file: Path) -> None:
    policy = Policy(max_models=2, max_text_bytes=len(TEXT), max_queued=1, visitors_per_address=1, visitors_together=9)
    workspace = Workspace(settings=settings, policy=policy)
    ada, bob = workspace.as_user("ada", origin="here"), workspace.as_user("bob", origin="here")
    first = ada.create("poems", TEXT)
    assert ada.start(first.id).active
    with pytest.raises(QuotaExceeded, match="room for 0 bytes"):
        bob.create("verse", TEXT)
    assert [model.id for model in bob.list().models] == [first.id], "what could not be made is gone"
    bob.import_model(model_file)
    for make in (
        lambda: ada.create("more"),
        lambda: bob.import_model(model_file),
        lambda: bob.fork(bob.list().models[0].id),
    ):
        with pytest.raises(QuotaExceeded, match="2 models from your address"):
            make()
    assert workspace.as_user("eve", origin="there").create("poems", TEXT).owner == "eve"
    ada.stop(first.id)
    ada.delete(first.id)
    assert bob.create("verse", TEXT).corpus_bytes == len(TEXT)


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


def test_a_visitor_starts_no_supervisor(tmp_path: Path) -> None:
    here = Workspace(data_folder=tmp_path)
    visitor = here.as_user("visitor", origin="192.0.2.1")
    visitor.create("poems", TEXT, start=True)
    assert not visitor.ensure_supervised()
    assert not (tmp_path / "logs").exists()
    here.close()
