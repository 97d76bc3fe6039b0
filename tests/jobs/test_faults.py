"""What trainings in the background survive: real processes, a real MariaDB, and everything killed, paused or full."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from charrnn.config import Settings
from charrnn.errors import DatabaseUnavailable
from charrnn.jobs.records import LogLine
from charrnn.jobs.status import Status
from charrnn.network.model import load
from charrnn.training.checkpoint import Checkpoint
from tests.jobs.trainings import (
    Place,
    children_of,
    is_running,
    supervisor,
    supervisor_on_small_disk,
    wait_for,
    workers_of,
)
from tests.jobs.wire import Wire
from tests.mariadb import MariaDB

pytestmark = pytest.mark.alone
LEASE = 10.0  # seconds: shorter than people's, for the tests' sake
STEPS = 8000  # more than are done until the last of all kills
SLOW = {"rnn_size": 64, "num_layers": 2, "batch_size": 16, "seq_length": 32}  # some hundred steps a second
ENDLESS = {
    **SLOW, "minutes": 60, "log_every": 1, "save_every": 50, "validate_every": 500,
    "learning_rate": 1e-6,  # so that it never knows the text by heart
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, mariadb: str) -> Iterator[Place]:
    """A database on MariaDB; in the end no process is left that worked on any of its models."""
    place = Place.in_folder(tmp_path, database_url=mariadb, lease_seconds=LEASE, max_running=1)
    yield place
    for model in place.store.page().models:
        wait_for(lambda id=model.id: not workers_of(id))


def worker_of(place: Place, id: str, attempt: int = 1) -> int:
    """The process that works on a model, in its so-and-so-many-eth attempt."""

    def begun() -> int | None:
        record = place.store.get(id)
        assert record.attempt <= attempt, "it was claimed once more"
        assert record.active, f"{record.status}: {record.error}"
        return record.worker_pid if record.attempt == attempt else None

    return wait_for(begun)


def trains(place: Place, id: str, attempt: int = 1) -> int:
    """The same, once it has told of a step."""
    pid = worker_of(place, id, attempt)
    position = place.store.last_position(id)
    wait_for(lambda: any("speed" in line.text for line in place.store.log(id, after=position)))
    return pid


def has_saved(place: Place, id: str, attempt: int) -> bool:
    return place.store.get(id).checkpoint == f"models/{id}/checkpoint-{attempt}.safetensors"


def saved_step(path: Path) -> int:
    step: int = Checkpoint.read(path).metadata["position"]["step"]
    return step


def steps_told(log: list[LogLine]) -> list[int]:
    """The steps that lines of progress are of."""
    found = (re.search(r"step ([\d,]+)  loss", line.text) for line in log)
    return [int(match[1].replace(",", "")) for match in found if match]


def assert_gapless(log: list[LogLine]) -> None:
    assert [line.position for line in log] == list(range(len(log)))


def assert_nothing_lost_or_doubled(place: Place, id: str) -> None:
    """Of a training in one attempt that tells of every step."""
    log, step = place.log(id), place.store.get(id).step
    assert_gapless(log)
    assert steps_told(log) == list(range(1, step + 1))
    points = []
    while more := place.store.metrics(id, after_step=points[-1] if points else -1):
        points += [point.step for point in more]
    assert points == list(range(1, step + 1))


# --- workers ---------------------------------------------------------------------------------------------------------


def test_a_worker_killed_twenty_times_ends_with_the_weights_of_an_undisturbed_one(place: Place) -> None:
    options = {
        **SLOW, "max_steps": STEPS, "log_every": 1, "save_every": 60, "validate_every": 400, "dropout": 0.2,
        "weight_decay": 0.01, "keep": "best",
    }  # fmt: skip
    chance = random.Random(20)
    wild, calm = place.new_model(**options), place.new_model(**options)
    settings = place.settings.model_copy(update={"max_running": 2})
    early = False
    with supervisor(settings) as process:
        for attempt in range(1, 21):
            early = not early and chance.random() < 0.7  # never often in a row: without any progress that is a failure
            pid = worker_of(place, wild, attempt) if early else trains(place, wild, attempt)
            if attempt == 2:
                wait_for(lambda: has_saved(place, wild, 2))  # from here on there is something to resume from
            time.sleep(chance.uniform(0, 3 if early else 1))
            os.kill(pid, signal.SIGKILL)
        place.wait_for_status(wild, Status.COMPLETE)
        place.wait_for_status(calm, Status.COMPLETE)
        wait_for(lambda: children_of(process.pid) == [])

    log = place.log(wild)
    assert_gapless(log)
    assert sum("killed by signal 9" in line.text for line in log) == 20
    resumed = [line.text for line in log if "resumed at step" in line.text]
    assert len(resumed) >= 8
    assert place.store.get(wild).attempt == 21
    assert place.store.get(calm).attempt == 1
    assert_nothing_lost_or_doubled(place, calm)
    assert set(steps_told(log)) == set(range(1, STEPS + 1)), "what was told before a checkpoint is never lost"
    curve = place.store.metrics(wild, limit=STEPS)
    assert [point.step for point in curve] == list(range(1, STEPS + 1))
    assert [point.train_loss for point in curve] == [
        point.train_loss for point in place.store.metrics(calm, limit=STEPS)
    ]
    one, other = place.model(wild), place.model(calm)
    for name, array in other.weights.items():
        assert one.weights[name].tobytes() == array.tobytes(), name
    assert not any("no longer" in note for note in one.record["notes"])
    one_checkpoint, other_checkpoint = (Checkpoint.read(place.file(id, "checkpoint")) for id in (wild, calm))
    for group, arrays in other_checkpoint.groups.items():
        for name, array in arrays.items():
            assert one_checkpoint.groups[group][name].tobytes() == array.tobytes(), f"{group} {name}"
    assert place.files(wild) == {
        "corpus.txt", "corpus.ids", "checkpoint-21.safetensors", "model-21.safetensors",
    }  # fmt: skip


def test_a_worker_that_was_paused_past_its_lease_writes_nothing_and_ends(place: Place, mariadb_server: MariaDB) -> None:
    """Paused at the worst moment: before the commit of what it delivers, so that the model's row is locked."""
    id = place.new_model(**ENDLESS)
    with Wire(mariadb_server.port) as wire, supervisor(by_wire(place, wire), "here") as here:
        first = trains(place, id)
        wait_for(lambda: has_saved(place, id, 1))
        wire.at_next_commit_of(b"model_log", lambda: os.kill(first, signal.SIGSTOP), "hold")
        with supervisor(place.settings, "elsewhere"):
            second = trains(place, id, 2)
            wait_for(lambda: has_saved(place, id, 2))
            (training,) = children_of(second)
            os.kill(training, signal.SIGSTOP)  # the second has nothing to say now, but that it is there
            wait_for(lambda: settled(place, id))
            while not has_only_current_files(place, id):  # the first would clear away what of its own is outdated
                os.kill(training, signal.SIGCONT)
                wait_for(lambda: has_only_current_files(place, id))
                os.kill(training, signal.SIGSTOP)
                wait_for(lambda: settled(place, id))
            before = everything(place, id)
            os.kill(first, signal.SIGCONT)
            wait_for(lambda: not is_running(first) and not children_of(here.pid))
            assert everything(place, id) == before
            os.kill(training, signal.SIGCONT)
            place.store.request_stop(id)
            record = place.wait_for_status(id, Status.STOPPED)
    assert record.attempt == 2
    assert_gapless(place.log(id))
    assert place.files(id) == {"corpus.txt", "corpus.ids", "checkpoint-2.safetensors", "model-2.safetensors"}


def by_wire(place: Place, wire: Wire) -> Settings:
    """Settings with which the database is reached through a wire."""
    url = re.sub(r":\d+/", f":{wire.port}/", place.settings.database_url.get_secret_value())
    return place.settings.model_copy(update={"database_url": SecretStr(url)})


def everything(place: Place, id: str) -> tuple[Any, ...]:
    """What the database has of a model, but for its lease, and which files it has."""
    return (
        replace(place.store.get(id), lease_until=None, updated_at=datetime.min), place.store.last_position(id),
        place.store.metrics(id, limit=100_000), place.store.samples(id),
        {path: path.stat().st_mtime_ns for path in place.folder(id).glob("[!.]*")},
    )  # fmt: skip


def has_only_current_files(place: Place, id: str) -> bool:
    """Whether the storage has nothing of a model that its row does not point to."""
    record = place.store.get(id)
    assert record.corpus
    current = {record.corpus.text_key, record.corpus.ids_key, record.checkpoint, record.model_file} - {None}
    return {f"models/{id}/{path.name}" for path in place.folder(id).glob("[!.]*")} == current


def settled(place: Place, id: str) -> bool:
    """Whether nothing changes any more: what was under way when somebody was paused has arrived."""
    before = everything(place, id)
    for _ in range(3):  # deliveries, with which a worker renews its lease
        lease = place.store.get(id).lease_until
        wait_for(lambda lease=lease: place.store.get(id).lease_until != lease)
    return everything(place, id) == before


# --- supervisors -----------------------------------------------------------------------------------------------------


def test_workers_go_on_without_their_supervisor_and_the_next_one_adopts_them(place: Place) -> None:
    id, waiting = place.new_model(**ENDLESS), place.new_model("waits", **ENDLESS)
    with supervisor(place.settings) as first:
        pid = trains(place, id)
        first.kill()
        first.wait()
    step = place.store.get(id).step
    wait_for(lambda: place.store.get(id).step > step)
    with supervisor(place.settings) as second:
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * LEASE:  # long enough for a lease to end that nobody renewed
            record = place.store.get(id)
            assert (record.worker_pid, record.attempt, record.status) == (pid, 1, Status.RUNNING)
            assert place.store.get(waiting).status is Status.QUEUED, "only one may run on this host"
            time.sleep(0.2)
        ended_in_order(place, second)
    assert not is_running(pid)
    record = place.store.get(id)
    assert (record.status, record.attempt) == (Status.QUEUED, 1)
    assert_nothing_lost_or_doubled(place, id)


def test_sigterm_to_the_supervisor_saves_and_gives_models_back_and_the_next_start_goes_on(place: Place) -> None:
    trained = place.new_model(**ENDLESS)
    queued_at = place.store.get(trained).queued_at
    with supervisor(place.settings.model_copy(update={"max_running": 2})) as process:
        trains(place, trained)
        starting = place.new_model("starting", **ENDLESS)
        worker_of(place, starting)  # which has nothing to save yet
        ended_in_order(place, process)
    for id in (trained, starting):
        record = place.store.get(id)
        assert (record.status, record.error, record.worker_pid) == (Status.QUEUED, None, None)
    record = place.store.get(trained)
    assert record.queued_at == queued_at
    assert record.deaths == 0
    assert saved_step(place.file(trained, "checkpoint")) == record.step > 0
    assert place.log(trained)[-1].text.startswith("given back to the queue")

    with supervisor(place.settings):
        trains(place, trained, 2)
        place.store.request_stop(trained)
        place.wait_for_status(trained, Status.STOPPED)
    log = place.log(trained)
    assert_gapless(log)
    assert f"note: resumed at step {record.step:,}" in [line.text for line in log]


def ended_in_order(place: Place, process: subprocess.Popen[bytes]) -> None:
    """SIGTERM ends the supervisor, and everything that it started, within ten seconds."""
    began = time.monotonic()
    process.terminate()
    assert process.wait(timeout=90) == 0
    assert time.monotonic() - began < 10
    assert process.pid not in [each.pid for each in place.store.supervisors(60)]
    for model in place.store.page().models:
        assert workers_of(model.id) == set()


def test_after_a_restart_of_the_machine_everything_that_ran_goes_on(place: Place, mariadb_server: MariaDB) -> None:
    settings = place.settings.model_copy(update={"max_running": 2})
    ids = [place.new_model(f"model {number}", **ENDLESS) for number in (1, 2)]
    with supervisor(settings) as process:
        for id in ids:
            trains(place, id)
            wait_for(lambda id=id: has_saved(place, id, 1))
        process.kill()
        for pid in set.union(*map(workers_of, ids)):
            os.kill(pid, signal.SIGKILL)
        mariadb_server.kill()
        process.wait()
    mariadb_server.start()
    assert [place.store.get(id).status for id in ids] == [Status.RUNNING] * 2
    with supervisor(settings):
        for id in ids:
            wait_for(lambda id=id: place.store.get(id).attempt == 2)
            assert any("not been heard of" in line.text for line in place.log(id))
        for id in ids:
            trains(place, id, 2)
            place.store.request_stop(id)
        for id in ids:
            place.wait_for_status(id, Status.STOPPED)
    for id in ids:
        log = place.log(id)
        assert_gapless(log)
        assert any("resumed at step" in line.text for line in log)
        assert load(place.file(id, "model_file")).record["step"] == place.store.get(id).step


# --- the database ----------------------------------------------------------------------------------------------------


def test_training_goes_on_while_the_database_is_stopped_and_nothing_is_lost(
    place: Place, mariadb_server: MariaDB
) -> None:
    id = place.new_model(**ENDLESS)
    with supervisor(place.settings):
        pid = trains(place, id)
        wait_for(lambda: has_saved(place, id, 1))
        checkpoint = place.file(id, "checkpoint")
        mariadb_server.stop()
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            place.store.get(id)
        saved = []
        while time.monotonic() < began + 30 or len(set(saved)) < 5:  # it trains all the time
            saved.append(saved_step(checkpoint))
            assert is_running(pid)
            time.sleep(1)
        assert saved[0] < saved[len(saved) // 2] < saved[-1], "it trained all the time"
        mariadb_server.start()
        wait_for(lambda: place.store.get(id).step > saved[-1])
        began = time.monotonic()
        while time.monotonic() < began + 1.5 * LEASE:
            record = place.store.get(id)
            assert (record.worker_pid, record.attempt, record.status) == (pid, 1, Status.RUNNING)
            time.sleep(0.2)
        place.store.request_stop(id)
        place.wait_for_status(id, Status.STOPPED)
    assert_nothing_lost_or_doubled(place, id)


def test_nothing_is_lost_or_doubled_when_the_database_is_killed_in_the_middle_of_commits(
    place: Place, mariadb_server: MariaDB
) -> None:
    with Wire(mariadb_server.port) as wire:
        settings = by_wire(place, wire)
        id = place.new_model(**ENDLESS)
        with supervisor(settings):
            pid = trains(place, id)
            for moment in ("after", "before", "after"):
                wire.at_next_commit_of(b"model_log", mariadb_server.kill, moment)
                wait_for(lambda: wire.cuts)
                wire.cuts = 0
                with pytest.raises(DatabaseUnavailable):
                    place.store.get(id)
                mariadb_server.start()
                step = place.store.get(id).step
                wait_for(lambda step=step: place.store.get(id).step > step)
            record = place.store.get(id)
            assert (record.worker_pid, record.attempt, record.status) == (pid, 1, Status.RUNNING)
            place.store.request_stop(id)
            place.wait_for_status(id, Status.STOPPED)
    assert_nothing_lost_or_doubled(place, id)


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_fails_the_model_with_a_message_and_leaves_the_checkpoint_before(place: Place) -> None:
    id = place.new_model(**ENDLESS, verses=200)
    with supervisor_on_small_disk(place.settings, kilobytes=6000) as (process, disk):
        trains(place, id)
        wait_for(lambda: has_saved(place, id, 1))
        fill(disk / "filler")
        record = place.wait_for_status(id, Status.FAILED)
        assert record.error is not None
        assert "no space" in record.error.lower()
        assert "no space" in place.log(id)[-1].text.lower()
        assert record.checkpoint is not None
        step = saved_step(disk / record.checkpoint)
        assert 0 < step <= record.step
        assert process.poll() is None

        (disk / "filler").unlink()
        place.store.enqueue(id)
        trains(place, id, 2)
        place.store.request_stop(id)
        assert place.wait_for_status(id, Status.STOPPED).error is None
    assert f"note: resumed at step {step:,}" in [line.text for line in place.log(id)]
    assert_gapless(place.log(id))


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_stop_from_another_host_saves_and_ends_within_five_seconds(place: Place) -> None:
    id = place.new_model(**ENDLESS)
    with supervisor(place.settings, "a host that nobody else can reach"):
        pid = trains(place, id)
        began = time.monotonic()
        place.store.request_stop(id)
        record = place.wait_for_status(id, Status.STOPPED)
        assert time.monotonic() - began < 5
        wait_for(lambda: not is_running(pid))
    assert saved_step(place.file(id, "checkpoint")) == record.step
    assert load(place.file(id, "model_file")).record["step"] == record.step
    assert_nothing_lost_or_doubled(place, id)
