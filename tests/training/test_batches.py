"""What each step reads: every character's target is the next one, and nothing depends on what was read before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from charrnn.errors import InvalidCorpus, InvalidOptions
from charrnn.text.corpus import Part
from charrnn.training.batches import EXACT_EPOCHS, Batches


def part_of(characters: int) -> Part:
    """A part in which every character's id is its position."""
    return Part(np.arange(characters, dtype=np.uint16), ((0, characters),), 2**16)


@st.composite
def batches(draw: st.DrawFn) -> Batches:
    batch_size, seq_length = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    characters = draw(st.integers(2 * batch_size * seq_length + 1, 2 * batch_size * seq_length + 200))
    return Batches(part_of(characters), batch_size, seq_length, draw(st.integers(0, 2**63 - 1)))


@given(batches(), st.integers(0, 200))
def test_every_target_is_the_next_character(batches: Batches, step: int) -> None:
    piece = batches.read(step)
    assert piece.ids.shape == (batches.seq_length + 1, batches.batch_size)
    assert 1 <= piece.length <= batches.seq_length
    counted = piece.ids[: piece.length + 1]
    assert (counted[1:] - counted[:-1] == 1).all()
    assert 0 <= counted.min() <= counted.max() < len(batches.part)


@given(batches(), st.integers(0, 3))
def test_an_epoch_reads_each_stream_from_one_offset_to_its_end_without_a_gap(batches: Batches, epoch: int) -> None:
    pieces = [batches.read(step) for step in range(batches.epoch_start(epoch), batches.epoch_start(epoch + 1))]
    assert [piece.fresh for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert all(piece.length == batches.seq_length for piece in pieces[:-1])
    inputs = np.concatenate([piece.ids[: piece.length] for piece in pieces])
    offset = inputs[0, 0]
    assert 0 <= offset < batches.seq_length
    for stream in range(batches.batch_size):
        start = stream * batches.stretch
        assert inputs[:, stream].tolist() == list(range(start + offset, start + batches.stretch))
    assert pieces[-1].ids[pieces[-1].length, -1] >= len(batches.part) - batches.batch_size  # nearly all is learned


@given(batches(), st.lists(st.integers(0, 300), min_size=1, max_size=6))
def test_what_a_step_reads_does_not_depend_on_what_was_read_before(batches: Batches, steps: list[int]) -> None:
    for step in steps:
        fresh = Batches(batches.part, batches.batch_size, batches.seq_length, batches.seed)
        expected, piece = fresh.read(step), batches.read(step)
        assert np.array_equal(piece.ids, expected.ids)
        assert (piece.length, piece.fresh) == (expected.length, expected.fresh)


def test_epochs_begin_at_offsets_that_differ_with_epoch_and_seed() -> None:
    def offsets(seed: int) -> list[int]:
        batches = Batches(part_of(1001), 2, 50, seed)
        return [int(batches.read(batches.epoch_start(epoch)).ids[0, 0]) for epoch in range(40)]

    assert len(set(offsets(0))) > 15
    assert offsets(0) != offsets(1)
    assert offsets(0) == offsets(0)


def test_the_last_piece_of_an_epoch_is_short_and_says_so() -> None:
    batches = Batches(part_of(101), 2, 20, 5)  # streams of 50
    for epoch in range(20):
        last = batches.read(batches.epoch_start(epoch + 1) - 1)
        offset = int(batches.read(batches.epoch_start(epoch)).ids[0, 0])
        assert last.length == ((50 - offset) % 20 or 20)
        assert (last.ids[last.length :] == last.ids[last.length]).all()


@given(batches(), st.integers(0, 500))
def test_a_step_is_found_in_its_epoch(batches: Batches, step: int) -> None:
    epoch, index = batches.locate(step)
    assert batches.epoch_start(epoch) + index == step < batches.epoch_start(epoch + 1)
    assert epoch <= batches.epochs(step) < epoch + 1
    assert batches.read(step).fresh == (index == 0)


@given(batches(), st.floats(0.01, 30))
def test_a_budget_of_epochs_ends_there_to_half_a_step(batches: Batches, epochs: float) -> None:
    steps = batches.steps(epochs)
    assert steps >= 1
    if steps > 1:
        assert batches.epochs(steps - 1) <= epochs <= batches.epochs(steps + 1)


def test_a_whole_number_of_epochs_ends_where_the_next_begins() -> None:
    batches = Batches(part_of(1001), 2, 50, 0)
    assert [batches.steps(epochs) for epochs in (1, 2, 3)] == [batches.epoch_start(k) for k in (1, 2, 3)]


def test_a_huge_budget_of_epochs_is_counted_at_once() -> None:
    batches = Batches(part_of(1001), 2, 50, 0)  # streams of 500, offsets of 24.5 in the mean
    assert batches.steps(1e9) == pytest.approx(1e9 * (500 - 24.5 + 24.5) / 50, rel=0.01)
    assert batches.steps(EXACT_EPOCHS) == batches.epoch_start(EXACT_EPOCHS)


@given(batches(), st.integers(0, 100), st.integers(0, 5))
def test_many_steps_are_read_as_one_by_one(batches: Batches, step: int, count: int) -> None:
    many = batches.read_many(step, count, 5)
    assert many["ids"].shape == (5, batches.seq_length + 1, batches.batch_size)
    for k in range(count):
        piece = batches.read(step + k)
        assert np.array_equal(many["ids"][k], piece.ids)
        assert (many["lengths"][k], many["fresh"][k]) == (piece.length, piece.fresh)


def test_a_part_of_several_stretches_is_read_as_one() -> None:
    ids = np.arange(100, dtype=np.uint8)
    batches = Batches(Part(ids, ((0, 30), (60, 100)), 100), 1, 20, 0)
    read = np.concatenate([batches.read(step).ids[: batches.read(step).length, 0] for step in range(4)])
    assert 29 in read
    assert read[list(read).index(29) + 1] == 60


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60))
def test_what_does_not_fit_is_refused_with_numbers_that_do(characters: int, batch_size: int, seq_length: int) -> None:
    assume((characters - 1) // batch_size < 2 * seq_length)
    part = part_of(characters)
    if characters < 3:
        with pytest.raises(InvalidCorpus, match="at least 3"):
            Batches(part, batch_size, seq_length, 0)
        return
    with pytest.raises(InvalidOptions) as refused:
        Batches(part, batch_size, seq_length, 0)
    assert f"{2 * batch_size * seq_length + 1:,}" in str(refused.value)
    limits = {name: int(text.removeprefix("at most ").split()[0]) for name, text in refused.value.fields.items()}
    assert limits
    asked_for = {"batch_size": batch_size, "seq_length": seq_length}
    if "batch_size 1 and seq_length up to" in str(refused.value):
        Batches(part, **limits, seed=0)
        limits = {"seq_length": limits["seq_length"]}
        asked_for["batch_size"] = 1
    for name, most in limits.items():
        Batches(part, **{**asked_for, name: most}, seed=0)
        with pytest.raises(InvalidOptions):  # it is the largest that fits
            Batches(part, **{**asked_for, name: most + 1}, seed=0)
