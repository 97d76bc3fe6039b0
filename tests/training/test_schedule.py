"""How far a training is, and how large its steps are there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.training.schedule import (
    LEAST_VALIDATION,
    MOST_VALIDATION,
    Position,
    Segment,
    cosine,
    decay_seconds,
    next_sample_step,
    validation_marks,
    validation_sample,
)

positions = st.builds(Position, st.integers(0, 2000), st.floats(0, 500))


def rates(segment: Segment, schedule: str = "cosine", warmup: int = 10, steps: range = range(100)) -> list[float]:
    return [segment.factor(Position(step, step / 10), schedule, warmup) for step in steps]


def test_the_rate_warms_up_in_equal_parts_and_falls_along_a_cosine_to_a_twentieth() -> None:
    found = rates(Segment(end_step=100))
    assert found[:3] == pytest.approx([(k + 1) / 11 * cosine(k / 100) for k in range(3)])
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[50] == pytest.approx(0.525)
    assert found[99] == pytest.approx(0.05, abs=0.001)
    assert min(found) > 0


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    assert rates(Segment(end_step=100), "constant", warmup=0) == [1.0] * 100
    assert rates(Segment(end_step=100), "constant", warmup=1)[:2] == [0.5, 1.0]


@given(st.integers(1, 1000), st.floats(0.1, 300), positions)
def test_progress_is_the_largest_used_fraction_of_the_budgets(steps: int, seconds: float, at: Position) -> None:
    both = Segment(end_step=steps, end_seconds=seconds)
    assert both.progress(at) == pytest.approx(min(1, max(at.step / steps, at.seconds / seconds)))
    assert Segment(end_step=steps).progress(at) == pytest.approx(min(1, at.step / steps))


def test_a_run_bounded_by_steps_does_not_look_at_the_clock() -> None:
    segment = Segment(end_step=100)
    for step in (0, 5, 50, 99):
        found = {segment.factor(Position(step, seconds), "cosine", 10) for seconds in (0.0, 3.7, 1e6)}
        assert len(found) == 1


@given(positions)
def test_a_segment_without_an_end_holds_the_peak(at: Position) -> None:
    segment = Segment()
    assert segment.endless
    assert segment.progress(at) == 0
    assert segment.seconds_left(at, 0.1) is None
    assert segment.factor(at, "cosine", 0) == 1


def test_after_a_stop_the_rate_falls_from_where_it_was_to_a_twentieth() -> None:
    segment, at = Segment(), Position(1000, 100.0)
    stopped = segment.stopped(at, decay_seconds(at.seconds))
    assert stopped.end_seconds == 105
    assert stopped.factor(at, "cosine", 50) == pytest.approx(segment.factor(at, "cosine", 50))
    falling = [stopped.factor(Position(1000 + k, 100 + k / 10), "cosine", 50) for k in range(51)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.05)
    assert stopped.progress(Position(1001, 104.9)) < 1 <= stopped.progress(Position(1001, 105.0))


def test_a_stop_takes_a_twentieth_of_the_time_so_far_and_at_most_half_a_minute() -> None:
    assert [decay_seconds(seconds) for seconds in (0, 10, 600, 86_400)] == [0, 0.5, 30, 30]


def test_a_continuation_rises_to_its_own_peak_and_ends_with_its_own_budget() -> None:
    segment = Segment(start_step=100, start_seconds=10.0, end_step=200, peak=0.5)
    found = rates(segment, steps=range(100, 200))
    assert found[0] == pytest.approx(0.5 / 11)
    assert max(found) <= 0.5
    assert found[99] == pytest.approx(0.025, abs=0.001)
    assert segment.progress(Position(100, 10.0)) == 0
    assert segment.progress(Position(200, 20.0)) == 1


def test_time_left_is_that_of_the_nearer_end() -> None:
    segment = Segment(end_step=100, end_seconds=60.0)
    assert segment.seconds_left(Position(90, 10.0), 0.5) == 5
    assert segment.seconds_left(Position(10, 50.0), 0.5) == 10
    assert segment.seconds_left(Position(100, 70.0), 0.5) == 0


@given(st.builds(Segment, st.integers(0, 9), st.floats(0, 9), st.none() | st.integers(10, 20), st.none()))
def test_a_segment_comes_back_from_json(segment: Segment) -> None:
    assert Segment(**segment.to_json()) == segment


def test_validation_is_due_at_1_2_5_and_every_10_percent() -> None:
    assert validation_marks() == (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@given(st.floats(1, 1e12))
def test_a_validation_takes_at_most_its_share_of_the_budget_and_says_enough(characters: float) -> None:
    sample = validation_sample(characters)
    assert LEAST_VALIDATION <= sample <= MOST_VALIDATION
    if sample > LEAST_VALIDATION:
        assert sample * len(validation_marks()) / 3 <= 0.03 * characters * 1.001


def test_without_a_budget_a_validation_reads_all_it_may() -> None:
    assert validation_sample(None) == MOST_VALIDATION


def test_samples_are_taken_at_1_2_5_10_20_50_and_so_on() -> None:
    steps = [0]
    while steps[-1] < 10_000:
        steps.append(next_sample_step(steps[-1]))
    assert steps == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
    assert next_sample_step(3) == 5
