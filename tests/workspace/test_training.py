"""Training in the background, as whoever asks for it sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.errors import InvalidCorpus, InvalidModel, InvalidOptions, InvalidTransition
from charrnn.jobs.records import Metric
from charrnn.jobs.status import Status
from charrnn.storage import model_key
from charrnn.workspace import Workspace
from tests.workspace.played import LETTERS, OTHER, TEXT, Attempt, everywhere, stored, trained, until


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


def test_whoever_did_not_hear_that_a_training_started_may_start_it_again(workspace: Workspace) -> None:
    id = workspace.create("poems", TEXT, minutes=2).id
    started = workspace.start(id, max_steps=10)
    assert (started.status, started.options) == (Status.QUEUED, {"max_steps": 10})
    assert workspace.start(id, max_steps=10) == started
    assert workspace.start(id) == started
    with pytest.raises(InvalidTransition, match="'poems' is queued: its options can change when it has stopped"):
        workspace.start(id, max_steps=11)


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
    assert workspace.get(id).progress == 1
    continued = workspace.continue_(id, minutes=3)
    assert continued.options == {"rnn_size": 12, "minutes": 5.0}
    assert continued.progress == 0  # of what it has to do now
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
    reader.join(120)
    assert not reader.is_alive()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [line.position for line in workspace.log_lines(id, after=3, follow=True)] == [4, 5]


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
