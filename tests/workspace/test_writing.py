"""Writing with models, also while they are trained."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.config import Settings
from charrnn.errors import InvalidCorpus, InvalidModel, InvalidOptions, NoText
from charrnn.jobs.records import Delivery
from charrnn.jobs.status import Status
from charrnn.workspace import Workspace
from tests.command_line import variables
from tests.s3 import S3
from tests.workspace.played import OTHER, TEXT, Attempt, everywhere, saved_model, stored, until


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


@everywhere
def test_what_a_text_has_copied_from_the_training_text_is_found(workspace: Workspace, model_file: Path) -> None:
    id = workspace.create("poems", b"once\n" + TEXT + OTHER).id
    told: list[float] = []
    found = workspace.copied(id, "And then: Zwölf Boxkämpfer jagen Victor!", told.append)
    assert found is not None
    assert (found.start, found.length, found.line) == (10, 25, 1 + 80 + 1)
    assert (b"once\n" + TEXT + OTHER).decode()[found.offset :].startswith("Zwölf Boxkämpfer jagen Vik")
    assert told[0] == 0
    assert told[-1] == 1
    assert workspace.copied(id, "§§§") is None
    with pytest.raises(NoText, match="came as a file"):
        workspace.copied(workspace.import_model(model_file).id, "The cat")


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
