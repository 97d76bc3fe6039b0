"""Who is started when, by how many supervisors, and what is said of workers that die."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from charrnn.jobs import supervisor as module
from charrnn.jobs.status import Status
from charrnn.jobs.supervisor import Supervisor
from tests.jobs.trainings import Place, children_of, supervisor, wait_for


@pytest.fixture
def place(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Where workers are quick: most of what is tested here would take minutes with real ones."""
    monkeypatch.setattr(module, "WORKER", "tests.jobs.quick_worker")
    return Place.in_folder(tmp_path, database_url=database_url, lease_seconds=5, max_running=2)


@contextmanager
def supervised(place: Place, *hosts: str, until_idle: bool = False) -> Iterator[None]:
    """While a supervisor runs in this process for each of the hosts."""
    before, stopping = children_of(os.getpid()), threading.Event()
    threads = [
        threading.Thread(
            target=Supervisor(place.settings, place.store, host=host).run, args=(stopping,),
            kwargs={"until_idle": until_idle},
        )
        for host in hosts
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    try:
        yield
        if not until_idle:
            stopping.set()
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert children_of(os.getpid()) == before


def queued(place: Place, *names: str) -> list[str]:
    return [place.new_model(name, verses=1) for name in names]


def test_two_supervisors_never_start_one_model_twice(place: Place) -> None:
    ids = queued(place, *(f"model {number}" for number in range(12)))
    with supervised(place, "one", "other", until_idle=True):
        pass
    records = [place.store.get(id) for id in ids]
    assert {(record.status, record.attempt) for record in records} == {(Status.COMPLETE, 1)}
    assert all(len(place.log(id)) == 1 for id in ids)
    starts = [record.started_at for record in records if record.started_at]
    assert len(starts) == 12
    assert place.store.supervisors(60) == []


def test_no_more_run_at_a_time_than_may_and_the_oldest_first(place: Place) -> None:
    first, second, third = queued(place, "first waits", "second waits", "third waits")
    with supervised(place, "here"):
        for id in (first, second):
            wait_for(lambda id=id: place.store.get(id).worker_pid)
        time.sleep(2.5)  # a supervisor looks every second
        assert place.store.get(third).status is Status.QUEUED
        place.store.request_stop(first)
        wait_for(lambda: place.store.get(third).worker_pid)
        for id in (second, third):
            place.store.request_stop(id)
            place.wait_for_status(id, Status.COMPLETE)


def test_a_worker_that_dies_before_it_can_say_anything_is_quoted(place: Place) -> None:
    (id,) = queued(place, "dies")
    with supervised(place, "here", until_idle=True):
        pass
    record = place.store.get(id)
    assert (record.status, record.attempt, record.deaths) == (Status.FAILED, 3, 3)
    assert record.error is not None
    assert record.error.endswith("there is no such thing as luck")
    assert [line.text for line in place.log(id)] == [record.error] * 3
    messages = place.settings.data_folder / "logs" / f"{id}-3.log"
    assert "luck" in messages.read_text(encoding="utf-8")


def test_a_worker_that_cannot_be_started_is_a_failure_that_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "python", lambda *words: ["/nowhere/python", *words])
    (id,) = queued(place, "model")
    with supervised(place, "here", until_idle=True):
        pass
    error = place.store.get(id).error
    assert error is not None
    assert "could not be started" in error


def test_messages_of_workers_that_end_well_are_not_kept(place: Place) -> None:
    queued(place, "one", "other")
    with supervised(place, "here", until_idle=True):
        pass
    assert list((place.settings.data_folder / "logs").iterdir()) == []


def test_what_a_worker_says_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_LIMIT", 1000)
    monkeypatch.setattr(module, "MESSAGES_KEPT", 2)
    for number in range(4):
        (tmp_path / f"model-{number}.log").write_text("words " * 1000)
        os.utime(tmp_path / f"model-{number}.log", (number, number))
    module.forget_old_messages(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model-2.log", "model-3.log"}
    assert len(module.last_words(tmp_path / "model-3.log")) <= module.LAST_WORDS


def test_a_supervisor_that_has_just_found_the_database_takes_nothing_back_for_as_long_as_a_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    connection = module.Connection(lease_seconds=3)
    connection.good()
    now += 2.9
    connection.good()
    assert not connection.has_been_good_for_a_lease()
    now += 0.1
    connection.good()
    assert connection.has_been_good_for_a_lease()
    connection.bad(RuntimeError("of this test"))
    connection.good()
    assert not connection.has_been_good_for_a_lease()


def test_a_supervisor_that_slept_takes_nothing_back_for_as_long_as_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    connection = module.Connection(lease_seconds=15)
    for _ in range(20):
        connection.good()
        now += 1
    assert connection.has_been_good_for_a_lease()
    now += 60
    connection.good()
    assert not connection.has_been_good_for_a_lease()


def test_another_supervisors_workers_are_left_alone_at_the_end(tmp_path: Path) -> None:
    """With real processes, because whose child a worker is decides."""
    place = Place.in_folder(tmp_path, lease_seconds=5, max_running=1)
    id = place.new_model(minutes=10)
    with supervisor(place.settings, "here"):
        wait_for(lambda: place.store.get(id).worker_pid)
        with supervisor(place.settings, "here") as other:
            wait_for(lambda: len(place.store.supervisors(60)) == 2)
            time.sleep(1.5)  # it looks every second
            other.terminate()
            assert other.wait(timeout=90) == 0
        record = place.store.get(id)
        assert (record.status, record.attempt) == (Status.RUNNING, 1)
        place.store.request_stop(id)
        place.wait_for_status(id, Status.STOPPED)
