"""What a worker has to say waits in order, bounded, and leaves in pieces that can be delivered again."""

from __future__ import annotations

import pytest

from charrnn.jobs import outbox as module
from charrnn.jobs.outbox import Outbox
from charrnn.jobs.records import Delivery, Metric


def emptied(outbox: Outbox) -> list[Delivery]:
    deliveries = []
    while outbox.backlog:
        deliveries.append(outbox.take())
        outbox.delivered()
    return deliveries


def test_lines_leave_in_order_from_the_position_given_and_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DELIVERED", 4)
    outbox = Outbox(7)
    for number in range(10):
        outbox.line(f"line {number}")
    deliveries = emptied(outbox)
    assert [len(delivery.lines) for delivery in deliveries] == [4, 4, 2]
    assert [line for delivery in deliveries for line in delivery.lines] == [
        (7 + number, f"line {number}") for number in range(10)
    ]


def test_what_was_taken_is_taken_again_until_it_has_arrived() -> None:
    outbox = Outbox(0)
    outbox.line("first")
    outbox.set(step=1)
    taken = outbox.take()
    outbox.line("second")
    outbox.set(step=2)
    assert outbox.take() == taken == Delivery(lines=[(0, "first")], fields={"step": 1})
    outbox.delivered()
    assert outbox.take() == Delivery(lines=[(1, "second")], fields={"step": 2})


def test_nothing_to_say_is_an_empty_delivery() -> None:
    outbox = Outbox(0)
    assert not outbox.backlog
    assert outbox.take() == Delivery()


def test_values_of_one_step_are_one_point_also_when_half_of_it_has_left() -> None:
    outbox = Outbox(0)
    outbox.metric(5, train_loss=2.0, seconds=1.0)
    outbox.metric(5, validation_loss=3.0)
    assert outbox.take().metrics == [Metric(5, seconds=1.0, train_loss=2.0, validation_loss=3.0)]
    outbox.delivered()
    outbox.metric(5, learning_rate=0.1)
    outbox.metric(6, train_loss=1.0)
    assert outbox.take().metrics == [
        Metric(5, seconds=1.0, train_loss=2.0, validation_loss=3.0, learning_rate=0.1), Metric(6, train_loss=1.0),
    ]  # fmt: skip


def test_more_than_there_is_room_for_is_left_out_and_said_so_without_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    outbox = Outbox(0)
    for step in range(8):
        outbox.line(f"step {step}", can_be_spared=True)
        outbox.metric(step, train_loss=1.0)
    outbox.line("saved")
    delivery = outbox.take()
    outbox.delivered()
    assert delivery.lines == [
        (0, "step 0"), (1, "step 1"), (2, "step 2"),
        (3, "note: 5 lines are left out here: the database was away for too long"), (4, "saved"),
    ]  # fmt: skip
    assert [metric.step for metric in delivery.metrics] == [0, 1, 2]
    outbox.line("step 8", can_be_spared=True)
    outbox.metric(8, train_loss=1.0)
    assert outbox.take() == Delivery(lines=[(5, "step 8")], metrics=[Metric(8, train_loss=1.0)])
