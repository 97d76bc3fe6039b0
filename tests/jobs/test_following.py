"""Following what happens to a model: nothing is missed or told twice, on SQLite and on MariaDB."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from charrnn.errors import ModelNotFound
from charrnn.jobs.database import Database
from charrnn.jobs.records import Claim, CorpusFacts, Delivery, Metric, News, Position, Sample
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store

FACTS = CorpusFacts(
    "goethe.txt", 1000, 990, 60, 61, "a" * 64, "b" * 64, 1200, "models/x/corpus.txt", "models/x/corpus.ids",
    commonest=[("e", 100)], preview="Faust 🎭",
)  # fmt: skip


def queued(store: Store) -> str:
    return store.enqueue(store.create("faust", corpus=FACTS).id).id


def claimed(store: Store) -> Claim:
    claim = store.claim("here", 60)
    assert claim is not None
    store.begin(claim, "here", 4711, 60)
    return claim


def deliver(store: Store, claim: Claim, step: int, **more: Any) -> None:
    store.deliver(claim, Delivery(fields={"step": step, "progress": 0.1}, **more), 60)


class Follower:
    """Somebody who asks again and again, and keeps what they hear as programs do that draw it."""

    def __init__(self, store: Store, id: str, limit: int = 1000) -> None:
        self.store, self.id, self.limit = store, id, limit
        self.position = Position()
        self.lines: list[str] = []
        self.metrics: dict[int, Metric] = {}
        self.samples: dict[int, str] = {}

    def ask(self) -> News:
        news = self.store.news(self.id, self.position, self.limit)
        if news.start.attempt != self.position.attempt:
            self.metrics, self.samples = {}, {}
        for metric in news.metrics:
            assert metric.step not in self.metrics, "told twice"
            self.metrics[metric.step] = metric
        for sample in news.samples:
            assert sample.step not in self.samples, "told twice"
            self.samples[sample.step] = sample.text
        assert [line.position for line in news.lines] == [*range(len(self.lines), len(self.lines) + len(news.lines))]
        self.lines += [line.text for line in news.lines]
        self.position = news.position
        return news

    def has_all(self) -> bool:
        """Whether it knows what the tables hold."""
        return (
            self.lines == [line.text for line in self.store.log(self.id)]
            and [*self.metrics.values()] == self.store.metrics(self.id)
            and [*map(Sample, self.samples, self.samples.values())] == self.store.samples(self.id)
        )


def test_whoever_follows_hears_everything_once_and_of_the_moment_it_was(store: Store) -> None:
    id = queued(store)
    follower = Follower(store, id)
    assert follower.ask().place == 1
    claim = claimed(store)
    deliver(
        store, claim, 5, lines=[(0, "one 🎭"), (1, "two")], metrics=[Metric(1, 0.5, train_loss=2.5)], samples=[(0, "e")]
    )
    news = follower.ask()
    assert news.record == store.get(id)
    assert news.record.corpus == FACTS
    assert news.place is None
    assert (follower.lines, follower.samples) == (["one 🎭", "two"], {0: "e"})
    assert news.lines == store.log(id)
    assert follower.metrics == {1: Metric(1, 0.5, train_loss=2.5)}
    assert follower.ask().position == news.position == Position(1, 1, 1, 0)
    deliver(store, claim, 9, lines=[(2, "three")], metrics=[Metric(7, 0.9)])
    store.finish(claim, Status.COMPLETE, Delivery(lines=[(3, "end")], metrics=[Metric(9, 1.0)], fields={"step": 9}))
    assert follower.ask().record.status == Status.COMPLETE
    assert follower.has_all()
    assert follower.metrics.keys() == {1, 7, 9}


def test_a_point_is_told_when_no_more_can_be_said_of_its_step(store: Store) -> None:
    follower = Follower(store, queued(store))
    claim = claimed(store)
    deliver(store, claim, 10, metrics=[Metric(10, 1.0, train_loss=2.0)])
    follower.ask()
    assert follower.metrics == {}
    deliver(store, claim, 10, metrics=[Metric(10, 1.0, train_loss=2.0, validation_loss=2.1)])
    deliver(store, claim, 11)
    follower.ask()
    assert follower.metrics == {10: Metric(10, 1.0, train_loss=2.0, validation_loss=2.1)}


def test_what_an_attempt_tells_anew_replaces_what_was_told_before_it(store: Store) -> None:
    id = queued(store)
    follower, absent = Follower(store, id), Follower(store, id)
    claim = claimed(store)
    deliver(store, claim, 500, metrics=[Metric(step, 1.0) for step in (100, 300, 499)], samples=[(0, "a"), (400, "b")])
    follower.ask()
    absent.ask()
    assert store.reclaim(claim, "the worker died")
    follower.ask()
    claim = claimed(store)
    follower.ask()
    assert follower.metrics.keys() == {100, 300, 499}
    deliver(store, claim, 330, lines=[(1, "resumed at step 310")], metrics=[Metric(320, 2.0)])
    follower.ask()
    assert follower.metrics.keys() == {100, 300, 320}  # those beyond are still those of the former attempt
    deliver(store, claim, 600, metrics=[Metric(450, 2.0), Metric(499, 2.0)], samples=[(400, "c")])
    store.finish(claim, Status.COMPLETE, Delivery())
    for each in (follower, absent):
        each.ask()
        assert each.has_all()
        assert each.samples == {0: "a", 400: "c"}


def test_a_model_that_is_started_over_is_followed_from_its_first_step_again(store: Store) -> None:
    follower = Follower(store, queued(store))
    claim = claimed(store)
    deliver(store, claim, 50, lines=[(0, "one")], metrics=[Metric(10), Metric(40)], samples=[(0, "old")])
    store.finish(claim, Status.STOPPED, Delivery())
    follower.ask()
    store.start_over(follower.id)
    follower.ask()
    claim = claimed(store)
    deliver(store, claim, 45, lines=[(2, "two")], metrics=[Metric(20)], samples=[(0, "new")])
    follower.ask()
    assert follower.has_all()
    assert (follower.lines, follower.samples) == (["one", "started over", "two"], {0: "new"})


def test_history_is_told_in_pages(store: Store) -> None:
    follower = Follower(store, queued(store), limit=7)
    claim = claimed(store)
    lines, metrics = [(number, str(number)) for number in range(30)], [Metric(step, 1.0) for step in range(40)]
    deliver(store, claim, 100, lines=lines, metrics=metrics, samples=[(3, "x")])
    pages = 1
    while follower.ask().full:
        pages += 1
    assert pages == 6
    assert follower.has_all()


def test_asking_is_one_question_and_a_second_one_in_the_queue(store: Store, database: Database) -> None:
    statements: list[str] = []
    event.listen(database._engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))

    def questions() -> int:
        statements.clear()
        follower.ask()
        return len([statement for statement in statements if statement != "BEGIN"])

    follower = Follower(store, queued(store))
    assert questions() == 2
    claim = claimed(store)
    deliver(store, claim, 5, lines=[(0, "one")], metrics=[Metric(1)])
    follower.ask()
    deliver(store, claim, 7, lines=[(1, "two")], metrics=[Metric(6)], samples=[(5, "x")])
    assert questions() == 1
    assert follower.lines == ["one", "two"]
    assert questions() == 1


@pytest.mark.parametrize("id", ["", "no id", "0" * 26])
def test_what_is_not_there_cannot_be_followed(store: Store, id: str) -> None:
    with pytest.raises(ModelNotFound):
        store.news(id, Position(), 10)
