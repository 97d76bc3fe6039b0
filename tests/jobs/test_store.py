"""Models and their trainings in the database: the same on SQLite and on MariaDB."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, insert, select, update

from charrnn.errors import Fenced, InvalidOptions, InvalidTransition, ModelNotFound, QuotaExceeded
from charrnn.jobs import listing, schema, writing
from charrnn.jobs.database import Database
from charrnn.jobs.records import Claim, CorpusFacts, Delivery, Limits, Metric, ModelRecord, Sample
from charrnn.jobs.status import ALLOWED, Status
from charrnn.jobs.store import Store

LEASE = 60.0
FACTS = CorpusFacts(
    "goethe.txt", 1000, 990, 60, 61, "a" * 64, "b" * 64, 1200, "models/x/corpus.txt", "models/x/corpus.ids",
    commonest=[("e", 100), ("\n", 20)], warnings=["a licence at the end"], preview="Faust 🎭",
)  # fmt: skip


def ready(store: Store, name: str = "faust", owner: str = "") -> ModelRecord:
    return store.create(name, owner, corpus=FACTS)


def queued(store: Store, name: str = "faust", owner: str = "") -> ModelRecord:
    return store.enqueue(ready(store, name, owner).id)


def running(store: Store, name: str = "faust", lease: float = LEASE) -> Claim:
    """A model that a worker works on. No other may be queued."""
    id = queued(store, name).id
    claim = store.claim("here", lease)
    assert claim == Claim(id, 1)
    store.begin(claim, "here", 4711, lease)
    return claim


def in_status(store: Store, status: Status) -> str:
    """The id of a model that has come to be in that status as models do."""
    if status == Status.DRAFT:
        return store.create("faust").id
    if status == Status.READY:
        return ready(store).id
    if status == Status.QUEUED:
        return queued(store).id
    claim = running(store)
    if status != Status.RUNNING:
        store.finish(claim, status, Delivery())
    return claim.model_id


def log(store: Store, id: str) -> list[str]:
    lines = store.log(id)
    assert [line.position for line in lines] == list(range(len(lines)))
    return [line.text for line in lines]


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What the calls return or raise, each in a thread of its own, all begun together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


# -- models ----------------------------------------------------------------------------------------------------------


def test_a_new_model_is_a_draft_with_what_it_was_given(store: Store) -> None:
    options = {"rnn_size": 64, "minutes": 0.5, "whitelist": "äöü🎉", "cell": "gru"}
    model = store.create("Größe 🎉", "berta", options=options, sampling={"temperature": 0.5})
    assert model == store.get(model.id)
    assert (model.name, model.owner, model.status, model.step) == ("Größe 🎉", "berta", Status.DRAFT, 0)
    assert list(model.options.items()) == list(options.items())  # in the same order
    assert model.sampling == {"temperature": 0.5}
    assert not model.active


def test_times_are_utc_by_the_databases_clock(store: Store) -> None:
    model = store.create("faust")
    assert model.created_at.tzinfo == UTC
    assert abs(model.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert model.to_json()["created_at"] == model.created_at.isoformat()
    assert model.to_json()["status"] == "draft"


def test_a_text_makes_a_draft_ready(store: Store) -> None:
    model = store.set_corpus(store.create("faust").id, FACTS)
    assert (model.status, model.corpus, model.corpus_bytes) == (Status.READY, FACTS, 1000)


def test_a_name_of_200_emoji_survives(store: Store) -> None:
    model = store.create("🎭" * 200)
    assert store.find(model.name) == [store.get(model.id)]


def test_a_renamed_model_is_found_by_its_new_name_only(store: Store) -> None:
    model = store.rename(store.create("Faust").id, "Mephisto")
    assert model.name == "Mephisto"
    assert store.find("faust") == []
    assert store.find("MEPHISTO") == [model]


@pytest.mark.parametrize("id", ["", "x", "ü" * 26, "🎉", "0" * 26, "O" * 26, "' OR 1=1 --"])
def test_an_id_that_does_not_exist_is_not_found(store: Store, id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.get(id), lambda: store.rename(id, "x"), lambda: store.set_options(id, {}),
        lambda: store.delete(id), lambda: store.last_position(id),
        lambda: store.enqueue(id), lambda: store.start_over(id), lambda: store.request_stop(id), lambda: store.log(id),
        lambda: store.set_corpus(id, FACTS), lambda: store.metrics(id), lambda: store.samples(id),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ModelNotFound):
            call()


def test_newer_ids_are_higher_even_when_the_clock_goes_back(store: Store, database: Database) -> None:
    ids = [store.create("faust").id for _ in range(5)]
    database.write(lambda connection: connection.execute(update(schema.Counter).values(last_id="7" + "z" * 24 + "0")))
    ids += [store.create("faust").id for _ in range(5)]
    assert ids == sorted(set(ids))
    assert [model.id for model in store.page().models] == ids[::-1]


def test_ids_are_unique_when_many_are_made_at_once(store: Store) -> None:
    models = at_once([lambda: [store.create("faust").id for _ in range(5)] for _ in range(8)])
    ids = [id for some in models for id in some]
    assert len(set(ids)) == 40
    assert all(some == sorted(some) for some in models)


# -- finding models --------------------------------------------------------------------------------------------------


def test_a_model_is_found_by_its_id_or_its_name_whatever_the_case(store: Store) -> None:
    model = store.create("Ｇröße 🎉")
    assert store.find(model.id) == store.find(model.id.upper()) == [model]
    assert store.find(" GRÖSSE 🎉 ") == [model]
    assert store.find("größe") == []
    assert store.find("gr_ße%") == []
    assert store.find("\udc80") == []


def test_models_of_one_name_are_found_newest_first_at_most_twenty(store: Store) -> None:
    ids = [store.create("faust", "ab"[number % 2]).id for number in range(24)]
    assert [model.id for model in store.find("faust")] == ids[:3:-1]
    assert [model.id for model in store.find("faust", owner="a")] == ids[-2::-2]
    assert store.find(ids[0], owner="b") == []


def test_owners_and_names_are_compared_to_the_last_space_and_accent(store: Store) -> None:
    for owner in ("berta", "berta ", "Berta", "bertá"):
        store.create("cafe" if owner == "berta" else "café", owner)
    for owner in ("berta", "berta ", "Berta", "bertá"):
        assert [model.owner for model in store.page(owner=owner).models] == [owner]
    assert store.page(prefix="cafe").total == 1
    assert store.page(prefix="cafe ").total == 0


def test_pages_hold_every_fitting_model_once_newest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "STRETCH", 4)  # so that few models make many stretches
    monkeypatch.setattr(listing, "STRETCH", 4)
    monkeypatch.setattr(listing, "_STRETCHES", 3)
    random = Random(1)
    names = ["run 1", "run 12", "Run 2", "größe 🎉", "Größe", "zz", "r%", "r_"]
    models = []
    for number in range(90):
        name = random.choice(names[:5] if number < 60 else names)  # some names are of new models only
        model = store.create(name, random.choice("ab"), corpus=random.choice([None, FACTS]))
        models.append(model)
    for model in random.sample(models, 20):
        store.delete(model.id)
        models.remove(model)
    models.reverse()
    for prefix in (None, "", "r", "RUN", "run 1", "gröss", "größe 🎉", "z", "r%", "r_", "none"):
        for status in (None, Status.DRAFT, Status.READY, Status.FAILED):
            for owner in (None, "a", "c"):
                fitting = [
                    model.id
                    for model in models
                    if listing.name_key(model.name).startswith(listing.name_key(prefix or ""))
                    and status in (None, model.status)
                    and owner in (None, model.owner)
                ]
                assert paged(store, random.choice([1, 3, 7, 50]), prefix, status, owner) == fitting


def paged(store: Store, limit: int, prefix: str | None, status: Status | None, owner: str | None) -> list[str]:
    """The ids on all pages, one after the other."""
    ids: list[str] = []
    after = None
    while True:
        page = store.page(prefix=prefix, status=status, owner=owner, after=after, limit=limit)
        ids += [model.id for model in page.models]
        after = page.next
        if after is None:
            assert (page.total, page.exact) == (len(ids), True)
            return ids
        assert len(page.models) == limit
        assert after == ids[-1]


def test_a_page_goes_on_after_a_model_that_was_deleted_meanwhile(store: Store) -> None:
    ids = [store.create("faust").id for _ in range(5)]
    for filters in ({}, {"prefix": "f"}, {"status": Status.DRAFT}, {"owner": ""}):
        gone = store.create("faust").id
        assert store.page(limit=1, **filters).models[0].id == gone
        store.delete(gone)
        assert [model.id for model in store.page(after=gone, **filters).models] == ids[::-1]


def test_a_total_is_exact_to_a_thousand(store: Store, database: Database) -> None:
    ready(store)

    def copy(connection: Connection) -> None:
        row = dict(connection.execute(select(schema.Model.__table__)).one()._mapping)
        ids = [f"01h{number:023}" for number in range(999)]
        connection.execute(insert(schema.Model), [row | {"id": id} for id in ids])

    database.write(copy)
    for filters in ({}, {"prefix": "f"}, {"status": Status.READY}, {"owner": ""}):
        page = store.page(limit=10, **filters)
        assert (page.total, page.exact, len(page.models)) == (1000, True, 10)
    store.create("faust", corpus=FACTS)
    for filters in ({}, {"prefix": "f"}, {"status": Status.READY}, {"owner": ""}):
        page = store.page(limit=10, **filters)
        assert (page.total, page.exact, len(page.models)) == (1000, False, 10)


def test_a_page_after_what_is_no_id_is_refused(store: Store) -> None:
    with pytest.raises(InvalidOptions, match="after"):
        store.page(after="'; DROP TABLE model")


# -- what may be done when -------------------------------------------------------------------------------------------


ACTIONS: dict[str, Callable[[Store, str], ModelRecord]] = {
    "set_corpus": lambda store, id: store.set_corpus(id, FACTS),
    "set_model": lambda store, id: store.set_model(id, "models/x/model-0.safetensors"),
    "set_options": lambda store, id: store.set_options(id, {"minutes": 1}),
    "enqueue": lambda store, id: store.enqueue(id),
    "start_over": lambda store, id: store.start_over(id),
    "delete": lambda store, id: store.delete(id),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_what_cannot_be_done_in_a_status_says_so_and_changes_nothing(store: Store, action: str) -> None:
    for status in Status:
        id = in_status(store, status)
        before = store.get(id)
        assert before.status == status
        if status in ALLOWED[action]:
            ACTIONS[action](store, id)
        elif action == "enqueue" and before.active:
            assert ACTIONS[action](store, id) == before
        else:
            with pytest.raises(InvalidTransition, match=f"is {status} and cannot .*; .+"):
                ACTIONS[action](store, id)
            assert store.get(id) == before
        for active in (Status.QUEUED, Status.RUNNING):
            for model in store.page(status=active).models:  # out of the way of the next
                release(store, model)


def release(store: Store, model: ModelRecord) -> None:
    if model.status == Status.RUNNING:
        store.finish(Claim(model.id, model.attempt), Status.STOPPED, Delivery())
    else:
        store.request_stop(model.id)


def test_a_text_cannot_be_replaced_once_something_was_learned_of_it(store: Store) -> None:
    claim = running(store)
    store.finish(claim, Status.STOPPED, Delivery(fields={"checkpoint": "c"}))
    with pytest.raises(InvalidTransition, match="cannot be given another text; make a new model, or fork this one"):
        store.set_corpus(claim.model_id, FACTS)


def test_an_imported_model_is_complete_and_has_nothing_to_be_trained_on(store: Store) -> None:
    key = "models/x/model-0.safetensors"
    model = store.set_model(store.create("faust").id, key, {"step": 500, "validation_loss": 1.5})
    assert (model.status, model.model_file, model.step, model.validation_loss) == (Status.COMPLETE, key, 500, 1.5)
    with pytest.raises(InvalidTransition, match="has no text to learn"):
        store.enqueue(model.id)


def test_a_deleted_model_is_gone_with_all_it_had(store: Store, database: Database) -> None:
    claim = running(store)
    delivery = Delivery([(0, "line")], [Metric(1, train_loss=2.0)], [(1, "sample")])
    store.finish(claim, Status.COMPLETE, delivery)
    other = ready(store, "other")
    assert store.delete(claim.model_id).id == claim.model_id
    assert store.page().models == [other]
    for table in (schema.Log, schema.Metric, schema.Sample):
        rows = select(func.count()).select_from(table)
        assert database.read(lambda connection, rows=rows: connection.scalar(rows)) == 0


def test_starting_over_forgets_all_but_the_log(store: Store) -> None:
    claim = running(store)
    fields = {"step": 9, "progress": 1.0, "loss": 2.0, "validation_loss": 2.0, "best_validation_loss": 2.0,
              "checkpoint": "c", "model_file": "m", "seconds": 9.0}  # fmt: skip
    delivery = Delivery([(0, "line")], [Metric(1, train_loss=2.0)], [(1, "sample")], fields)
    store.finish(claim, Status.FAILED, delivery, "out of luck")
    model = store.start_over(claim.model_id, options={"minutes": 2})
    assert (model.status, model.options, model.step, model.seconds) == (Status.QUEUED, {"minutes": 2}, 0, 0)
    for name in ("progress", "loss", "validation_loss", "best_validation_loss", "checkpoint", "model_file", "error"):
        assert getattr(model, name) is None
    assert (store.metrics(model.id), store.samples(model.id)) == ([], [])
    assert log(store, model.id) == ["line", "started over"]


def test_a_stop_takes_a_model_out_of_the_queue(store: Store) -> None:
    never_ran = queued(store)
    assert store.request_stop(never_ran.id).status == Status.READY
    claim = running(store)
    store.release(claim, Delivery(fields={"step": 5, "checkpoint": "c"}))
    model = store.request_stop(claim.model_id)
    assert model.status == Status.STOPPED
    assert model.finished_at is not None
    assert store.claim("here", LEASE) is None


def test_a_running_model_is_asked_to_stop_once_and_twice_and_no_further(store: Store) -> None:
    claim = running(store)
    assert store.deliver(claim, Delivery(), LEASE) == 0
    for wanted in (1, 2, 2):
        assert store.request_stop(claim.model_id).stop_requested == wanted
        assert store.deliver(claim, Delivery(), LEASE) == wanted
    store.finish(claim, Status.STOPPED, Delivery())
    model = store.request_stop(claim.model_id)
    assert (model.status, model.stop_requested) == (Status.STOPPED, 0)


def test_whoever_rests_stays_as_it_is_when_asked_to_stop(store: Store) -> None:
    for status in (Status.DRAFT, Status.READY, Status.COMPLETE, Status.FAILED):
        id = in_status(store, status)
        assert store.request_stop(id) == store.get(id)
        assert store.get(id).status == status


# -- the queue -------------------------------------------------------------------------------------------------------


def test_models_are_claimed_in_the_order_in_which_they_were_queued(store: Store) -> None:
    models = [ready(store, str(number)) for number in range(4)]
    order = [models[number].id for number in (2, 0, 3, 1)]
    for id in order:
        before = store.enqueue(id)
        assert store.enqueue(id) == before  # again is the same as once
        wait_for_the_clock(store)
    assert store.places(order[1:]) == {id: place for place, id in enumerate(order, start=1) if place > 1}
    claims = [store.claim("here", LEASE) for _ in range(5)]
    assert [claim and claim.model_id for claim in claims] == [*order, None]
    assert store.places(order) == {}
    assert {model.id for model in store.running("here")} == set(order)
    assert store.running("elsewhere") == []


def test_a_model_that_is_queued_many_times_at_once_is_queued_once(store: Store) -> None:
    id = ready(store).id
    results = at_once([lambda: store.enqueue(id)] * 6)
    assert [result.status for result in results] == [Status.QUEUED] * 6
    assert store.claim("here", LEASE) == Claim(id, 1)
    assert store.claim("here", LEASE) is None


def wait_for_the_clock(store: Store) -> None:
    """Until the database's clock, which may tick only every millisecond, has moved on."""
    begin = store.database.read(writing.now)
    while store.database.read(writing.now) == begin:
        time.sleep(0.0005)


def test_a_claim_is_a_new_attempt_with_a_lease(store: Store) -> None:
    model = queued(store)
    claim = store.claim("here", LEASE)
    assert claim == Claim(model.id, 1)
    record = store.begin(claim, "here", 4711, LEASE)
    assert (record.status, record.attempt, record.worker_host, record.worker_pid) == (Status.RUNNING, 1, "here", 4711)
    assert record.lease_until is not None
    assert record.started_at is not None
    assert timedelta(0) < record.lease_until - record.started_at <= timedelta(seconds=LEASE)
    assert store.begin(claim, "here", 4711, LEASE).started_at == record.started_at


def test_many_claimers_never_get_the_same_model(store: Store, database_url: str) -> None:
    ids = {queued(store, str(number)).id for number in range(24)}
    databases = [Database(database_url) for _ in range(6)]

    def claim_all(database: Database) -> list[str]:
        mine: list[str] = []
        while claim := Store(database).claim("here", LEASE):
            mine.append(claim.model_id)
        return mine

    claimed = at_once([lambda database=database: claim_all(database) for database in databases])
    assert sorted(id for some in claimed for id in some) == sorted(ids)
    for database in databases:
        database.close()


def test_a_released_model_keeps_its_place_in_the_queue(store: Store) -> None:
    claim = running(store)
    wait_for_the_clock(store)
    queued(store, "later")
    store.release(claim, Delivery([(0, "interrupted")], fields={"step": 3}))
    store.release(claim, Delivery([(0, "interrupted")], fields={"step": 3}))  # its commit might have been cut in flight
    assert store.places([claim.model_id]) == {claim.model_id: 1}
    assert store.claim("there", LEASE) == Claim(claim.model_id, 2)
    assert log(store, claim.model_id) == ["interrupted"]
    with pytest.raises(Fenced):
        store.release(claim, Delivery())


def test_a_released_model_that_a_user_asked_to_stop_is_stopped(store: Store) -> None:
    claim = running(store)
    store.request_stop(claim.model_id)
    store.release(claim, Delivery())
    assert store.get(claim.model_id).status == Status.STOPPED


def test_an_owner_has_no_more_than_so_many_queued_or_running(store: Store) -> None:
    ids = [ready(store, owner="berta").id for _ in range(3)]
    store.enqueue(ids[0], max_queued=Limits(2))
    store.enqueue(ids[1], max_queued=Limits(2))
    assert store.claim("here", LEASE) is not None
    for enqueue in (store.enqueue, store.start_over):
        with pytest.raises(QuotaExceeded, match="2 trainings may be queued or running"):
            enqueue(ids[2], max_queued=Limits(2))
    assert store.enqueue(ids[0], max_queued=Limits(2)).active  # it is already
    assert store.enqueue(ready(store, owner="anton").id, max_queued=Limits(2)).active
    assert store.get(ids[2]).status == Status.READY


def test_the_limit_of_queued_trainings_holds_when_all_are_asked_for_at_once(store: Store) -> None:
    ids = [ready(store, owner="berta").id for _ in range(8)]
    results = at_once([lambda id=id: store.enqueue(id, max_queued=Limits(2)) for id in ids])
    assert sorted(type(result).__name__ for result in results) == ["ModelRecord"] * 2 + ["QuotaExceeded"] * 6


# -- what workers write ----------------------------------------------------------------------------------------------


def test_a_delivery_is_stored_once_however_often_it_is_made(store: Store) -> None:
    claim = running(store)
    lines = [(number, f"step {number} 🎉 \udc80 \x00") for number in range(700)]
    metrics = [Metric(step, 1.5, 0.25, 2.0, None, 1e-3, 7000.0) for step in range(1, 700)]
    samples = [(1, "Habe nun, ach! 🎭"), (2, "x" * 100_000)]
    fields = {"step": 700, "progress": 0.7, "loss": 1.9, "checkpoint": "c"}
    delivery = Delivery(lines, metrics, samples, fields)
    for _ in range(2):
        store.deliver(claim, delivery, LEASE)
    assert log(store, claim.model_id) == [text.replace("\udc80", "?") for _, text in lines]
    assert store.metrics(claim.model_id) == metrics
    assert store.samples(claim.model_id) == [Sample(*sample) for sample in samples]
    assert store.last_position(claim.model_id) == 699
    model = store.get(claim.model_id)
    assert (model.step, model.progress, model.loss, model.checkpoint) == (700, 0.7, 1.9, "c")


def test_logs_and_curves_are_read_after_a_position(store: Store) -> None:
    claim = running(store)
    metrics = [Metric(step) for step in range(0, 100, 10)]
    store.deliver(claim, Delivery([(n, str(n)) for n in range(10)], metrics, [(5, "a"), (6, "b")]), LEASE)
    assert [line.position for line in store.log(claim.model_id, after=6, limit=2)] == [7, 8]
    assert [metric.step for metric in store.metrics(claim.model_id, after_step=70)] == [80, 90]
    assert [sample.step for sample in store.samples(claim.model_id, after_step=5)] == [6]
    assert store.log(claim.model_id, after=9) == []


def test_a_step_that_is_trained_again_takes_the_place_of_the_first_time(store: Store) -> None:
    claim = running(store)
    store.deliver(claim, Delivery(metrics=[Metric(5, train_loss=3.0)], samples=[(5, "first")]), LEASE)
    store.deliver(claim, Delivery(metrics=[Metric(5, train_loss=2.0)], samples=[(5, "again")]), LEASE)
    assert store.metrics(claim.model_id) == [Metric(5, train_loss=2.0)]
    assert store.samples(claim.model_id) == [Sample(5, "again")]


def test_losses_that_are_no_numbers_are_stored_as_none(store: Store) -> None:
    claim = running(store)
    nan, infinite = float("nan"), float("inf")
    store.deliver(claim, Delivery([], [Metric(1, train_loss=nan)], [], {"loss": infinite}), LEASE)
    assert store.metrics(claim.model_id) == [Metric(1)]
    assert store.get(claim.model_id).loss is None


def test_a_worker_cannot_set_what_is_not_its_own(store: Store) -> None:
    claim = running(store)
    with pytest.raises(ValueError, match="a worker does not set owner"):
        store.deliver(claim, Delivery(fields={"owner": "me"}), LEASE)


def test_a_finished_model_can_be_told_so_again_by_the_same_attempt_only(store: Store) -> None:
    claim = running(store)
    for _ in range(2):
        store.finish(claim, Status.COMPLETE, Delivery([(0, "done")], fields={"step": 10}))
    model = store.get(claim.model_id)
    assert (model.status, model.step, model.worker_pid, model.lease_until) == (Status.COMPLETE, 10, None, None)
    assert model.finished_at is not None
    with pytest.raises(Fenced):
        store.finish(claim, Status.FAILED, Delivery(), "no")
    store.enqueue(model.id)
    assert store.get(model.id).finished_at is None
    store.claim("here", LEASE)
    with pytest.raises(Fenced):
        store.finish(claim, Status.COMPLETE, Delivery())


def test_a_failure_keeps_its_reason_until_the_next_start(store: Store) -> None:
    claim = running(store)
    store.finish(claim, Status.FAILED, Delivery(), "the disk is full 🎉")
    assert store.get(claim.model_id).error == "the disk is full 🎉"
    assert store.enqueue(claim.model_id).error is None


def test_a_worker_that_lost_its_claim_writes_nothing(store: Store) -> None:
    old = running(store)
    assert store.reclaim(old, "presumed dead")
    calls: list[Callable[[], object]] = [
        lambda: store.begin(old, "here", 1, LEASE),
        lambda: store.deliver(old, Delivery([(5, "late")], [Metric(1)], [(1, "late")], {"step": 99}), LEASE),
        lambda: store.finish(old, Status.COMPLETE, Delivery([(5, "late")])),
    ]
    for new in (None, store.claim("there", LEASE)):
        before = store.get(old.model_id)
        for call in calls:
            with pytest.raises(Fenced):
                call()
        assert store.get(old.model_id) == before
        assert log(store, old.model_id) == ["presumed dead"]
        assert not store.reclaim(old, "again")
        assert new is None or store.deliver(new, Delivery([(1, "mine")]), LEASE) == 0
    assert store.metrics(old.model_id) == []


def test_a_worker_whose_model_is_gone_writes_nothing(store: Store) -> None:
    claim = running(store)
    store.reclaim(claim, "presumed dead")
    store.request_stop(claim.model_id)
    store.delete(claim.model_id)
    for call in (store.finish, store.deliver):
        with pytest.raises(Fenced):
            call(claim, *((Status.COMPLETE, Delivery()) if call == store.finish else (Delivery(), LEASE)))
    with pytest.raises(Fenced):
        store.release(claim, Delivery())


def test_a_lease_that_has_run_out_is_told_and_one_that_was_renewed_is_kept(store: Store) -> None:
    claim = running(store, lease=0.01)
    while store.expired() != [claim]:
        time.sleep(0.01)
    store.deliver(claim, Delivery(), LEASE)
    assert store.expired() == []
    assert not store.reclaim(claim, "was silent", only_expired=True)
    store.deliver(claim, Delivery(), 0)
    while not store.reclaim(claim, "was silent", only_expired=True):
        time.sleep(0.01)
    assert store.get(claim.model_id).status == Status.QUEUED


def test_three_deaths_in_a_row_without_progress_are_a_failure(store: Store) -> None:
    claim = running(store)
    deaths = 0
    for deaths in range(1, 6):
        assert store.reclaim(claim, f"death {deaths}")
        if store.get(claim.model_id).status == Status.FAILED:
            break
        again = store.claim("here", LEASE)
        assert again is not None
        claim = again
        if deaths == 2:
            store.deliver(claim, Delivery(metrics=[Metric(1)], fields={"step": 1, "progress": 0.1}), LEASE)
    model = store.get(claim.model_id)
    assert (deaths, model.status, model.error) == (5, Status.FAILED, "death 5")
    assert log(store, model.id) == [f"death {number}" for number in range(1, 6)]
    model = store.enqueue(model.id)
    assert (model.status, model.deaths) == (Status.QUEUED, 0)


def test_a_model_whose_worker_died_after_a_user_asked_it_to_stop_is_stopped(store: Store) -> None:
    claim = running(store)
    store.request_stop(claim.model_id)
    assert store.reclaim(claim, "died")
    assert store.get(claim.model_id).status == Status.STOPPED


def test_two_that_reclaim_at_once_add_one_line(store: Store) -> None:
    claim = running(store)
    assert sorted(at_once([lambda: store.reclaim(claim, "died")] * 4)) == [False, False, False, True]
    assert log(store, claim.model_id) == ["died"]


def test_many_trainings_deliver_at_once_and_every_line_arrives_in_order(store: Store) -> None:
    for number in range(6):
        queued(store, str(number))
    claims = [store.claim("here", LEASE) for _ in range(6)]

    def train(claim: Claim) -> None:
        for position in range(0, 60, 3):
            lines = [(position + offset, f"{position + offset}") for offset in range(3)]
            store.deliver(claim, Delivery(lines, [Metric(position)], fields={"step": position}), LEASE)
        store.finish(claim, Status.COMPLETE, Delivery())

    def watch() -> None:
        for _ in range(20):
            store.page(status=Status.RUNNING)
            with suppress(InvalidTransition):
                store.rename(claims[0].model_id, "renamed")

    assert at_once([*(lambda claim=claim: train(claim) for claim in claims), watch, watch]) == [None] * 8
    for claim in claims:
        assert log(store, claim.model_id) == [str(number) for number in range(60)]


# -- quotas ----------------------------------------------------------------------------------------------------------


def test_texts_count_against_a_quota_until_they_are_gone(store: Store) -> None:
    models = [store.create(str(number), "berta") for number in range(3)]
    for model in models[:2]:
        store.set_corpus(model.id, FACTS, limit=Limits(2000))
    with pytest.raises(QuotaExceeded, match=r"2,000 bytes together, and yours have 2,000: these 1,000 more .* delete"):
        store.set_corpus(models[2].id, FACTS, limit=Limits(2000))
    assert store.get(models[2].id).status == Status.DRAFT
    store.set_corpus(store.create("faust", "anton").id, FACTS, limit=Limits(2000))
    store.set_corpus(models[0].id, FACTS, limit=Limits(2000))  # in the place of the one before
    assert store.text_bytes("berta") == 2000
    store.delete(models[0].id)
    assert store.text_bytes("berta") == 1000
    store.set_corpus(models[2].id, FACTS, limit=Limits(2000))
    assert ready(store, owner="clara").corpus_bytes == store.text_bytes("clara") == 1000
    assert store.text_bytes("nobody") == 0


def test_texts_that_come_at_once_stay_within_the_quota(store: Store) -> None:
    ids = [store.create("faust", "berta").id for _ in range(6)]
    results = at_once([lambda id=id: store.set_corpus(id, FACTS, limit=Limits(3500)) for id in ids])
    assert sorted(type(result).__name__ for result in results) == ["ModelRecord"] * 3 + ["QuotaExceeded"] * 3
    assert store.text_bytes("berta") == 3000


def test_generations_are_counted_by_the_minute(store: Store, database: Database) -> None:
    def of_an_earlier_minute(connection: Connection) -> None:
        connection.execute(update(schema.Account).values(minute=schema.Account.minute - 1))

    for _ in range(2):
        results = at_once([lambda: store.count_generation("berta", Limits(3))] * 5)
        refused = [result for result in results if result is not None]
        if len(refused) != 2:  # the clock has begun a new minute
            refused = [result for result in at_once([lambda: store.count_generation("berta", Limits(3))] * 9) if result]
        assert refused
        assert all(isinstance(error, QuotaExceeded) and 0 < error.seconds <= 60 for error in refused)
        assert "3 texts may be written in a minute; more in" in str(refused[0])
        database.write(of_an_earlier_minute)
    store.count_generation("berta")
    store.count_generation("anton", Limits(1))
    with pytest.raises(QuotaExceeded):
        store.count_generation("clara", Limits(0))


def test_models_are_limited_for_an_owner_an_origin_and_all_origins_together(store: Store) -> None:
    def create(owner: str, origin: str | None) -> ModelRecord:
        return store.create("faust", owner, origin=origin, max_models=Limits(2, 3, 4))

    first = create("berta", "here")
    create("berta", "here")
    with pytest.raises(QuotaExceeded, match=r"^there may be 2 models: delete one"):
        create("berta", "elsewhere")
    create("anton", "here")
    with pytest.raises(QuotaExceeded, match="3 models from your address"):
        create("clara", "here")
    create("clara", "there")
    with pytest.raises(QuotaExceeded, match="4 models of all visitors together"):
        create("dora", "nowhere")
    assert create("somebody", None).owner == "somebody", "whoever has no origin is counted by name only"
    store.delete(first.id)
    assert create("dora", "nowhere").owner == "dora"


def test_models_that_are_made_at_once_stay_within_the_limits(store: Store) -> None:
    calls = [lambda n=n: store.create("faust", f"{n}", origin="here", max_models=Limits(1, 3, 9)) for n in range(8)]
    results = at_once([*calls, *calls])
    assert sorted(type(result).__name__ for result in results) == ["ModelRecord"] * 3 + ["QuotaExceeded"] * 13


def test_texts_count_for_where_a_model_came_from_until_they_are_gone(store: Store) -> None:
    limit = Limits(5000, 2000, 3000)
    here = [store.create(owner, owner, origin="here") for owner in ("anton", "berta", "clara")]
    there = [store.create(owner, owner, origin="there") for owner in ("dora", "emil")]
    for model in here[:2]:
        store.set_corpus(model.id, FACTS, limit=limit)
    assert store.text_room(limit, "zoe", origin="here") == 0
    assert store.text_room(limit, "zoe", origin="there") == 1000
    assert store.text_room(limit, "", instead_of=store.get(here[0].id)) == 1000
    assert store.text_room(Limits(700), "zoe") == 700
    assert store.text_room(Limits(), "zoe", origin="here") is None
    with pytest.raises(
        QuotaExceeded, match=r"from your address may have 2,000 bytes together, and those .* have 2,000"
    ):
        store.set_corpus(here[2].id, FACTS, limit=limit)
    assert store.text_bytes("clara") == 0, "nobody is charged for what was refused"
    store.set_corpus(there[0].id, FACTS, limit=limit)
    with pytest.raises(QuotaExceeded, match="of all visitors together may have 3,000 bytes"):
        store.set_corpus(there[1].id, FACTS, limit=limit)
    assert store.text_bytes("there") == 1000
    store.delete(here[0].id)
    store.set_corpus(here[2].id, FACTS, limit=limit)
    assert (store.text_bytes("here"), store.text_bytes("there")) == (2000, 1000)


def test_the_queue_is_limited_for_where_models_came_from(store: Store) -> None:
    def ready_from(owner: str, origin: str) -> str:
        return store.create(owner, owner, origin=origin, corpus=FACTS).id

    limit = Limits(1, 2, 3)
    ids = [ready_from(owner, "here") for owner in ("anton", "berta", "clara", "dora")]
    results = at_once([lambda id=id: store.enqueue(id, max_queued=limit) for id in ids])
    refused = [result for result in results if not isinstance(result, ModelRecord)]
    assert [str(error) for error in refused] == [
        "2 trainings from your address may be queued or running; wait until one ends, or stop one"
    ] * 2
    store.enqueue(ready_from("emil", "there"), max_queued=limit)
    with pytest.raises(QuotaExceeded, match="3 trainings of all visitors together"):
        store.enqueue(ready_from("frieda", "elsewhere"), max_queued=limit)


def test_generations_are_counted_where_they_come_from_all_or_none(store: Store, database: Database) -> None:
    def generations(account: str) -> int:
        query = select(schema.Account.generations).where(schema.Account.owner == account)
        return database.read(lambda connection: connection.scalar(query)) or 0

    while True:
        began = time.time() // 60
        database.write(lambda connection: connection.execute(delete(schema.Account)))
        for owner in ("anton", "berta"):
            store.count_generation(owner, Limits(9, 2, 99), origin="here")
        refused = ""
        try:
            store.count_generation("clara", Limits(9, 2, 99), origin="here")
        except QuotaExceeded as error:
            refused = str(error)
        counts = [generations(account) for account in ("anton", "berta", "clara", "here", "everybody")]
        if time.time() // 60 == began:
            break
    assert "2 texts from your address may be written in a minute" in refused
    assert counts == [1, 1, 0, 2, 2]


# -- supervisors -----------------------------------------------------------------------------------------------------


def test_supervisors_are_there_as_long_as_they_are_heard_of(store: Store, database: Database) -> None:
    for limit in (2, 4):
        store.supervisor_alive("one", "here", 4711, limit)
    store.supervisor_alive("two", "there", 4712, 8)
    assert [(record.id, record.host, record.max_running) for record in store.supervisors(30)] == [
        ("one", "here", 4), ("two", "there", 8),
    ]  # fmt: skip
    store.supervisor_gone("one")
    assert [record.id for record in store.supervisors(30)] == ["two"]
    silent = datetime.now(UTC) - timedelta(minutes=1)
    database.write(lambda connection: connection.execute(update(schema.Supervisor).values(seen_at=silent)))
    assert store.supervisors(30) == []
