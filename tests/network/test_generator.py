"""Writing fast: that it writes what the readable network would, alone as in company."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.network import batch, generator, threads
from charrnn.network.cells import GATES, forward
from charrnn.network.generator import Generator
from charrnn.network.model import Model
from charrnn.network.sampling import SamplingOptions

CELLS = sorted(GATES)


def written_alone(model, prompt, options, index=0):
    """The text, and the logits before each of its characters."""
    alone = Generator(model)
    stream = alone.join(prompt, options, index)
    logits, text = [], []
    while not stream.finished:
        alone.step(1)
        text.append(stream.take())
        logits.append(stream.logits)
    return "".join(text), logits


def assert_same_bits(one, other):
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("embedding_size", [0, 8])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("rnn_size", [1, 20, 37])
def test_logits_are_those_of_the_readable_network_over_a_thousand_characters(
    make_model, cell, embedding_size, num_layers, rnn_size
):
    model = make_model(cell, embedding_size=embedding_size, num_layers=num_layers, rnn_size=rnn_size, scale=2)
    ids = np.random.default_rng(3).integers(0, len(model.vocabulary), 1000)
    expected = forward(model.weights, cell, ids[None]).logits[0]
    one = batch.Batch(model.folded, row_by_row=True)
    one.add()
    for start in range(0, 1000, 50):
        one.read(ids[start : start + 50])
        np.testing.assert_allclose(one.logits(0)[1:], expected[start + 49, 1:], atol=1e-4)


@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_streams_in_company_have_the_logits_of_the_readable_network(make_model, cell, seeded):
    model = make_model(cell)
    together = Generator(model)
    streams = [
        together.join("the", SamplingOptions(length=60, seed=5 if seeded else None), index) for index in range(6)
    ]
    texts = [""] * 6
    for _ in range(12):
        together.step(4)
        for index, stream in enumerate(streams):
            texts[index] += stream.take()
            if not stream.finished:
                ids = model.vocabulary.encode("the" + texts[index])
                expected = forward(model.weights, cell, ids[None]).logits[0, -1]
                np.testing.assert_allclose(stream.logits[1:], expected[1:], atol=1e-4)
    assert len(set(texts)) == 6


@pytest.mark.parametrize("cell", CELLS)
def test_streams_multiplied_in_pieces_have_the_logits_of_the_readable_network(make_model, monkeypatch, cell):
    monkeypatch.setattr(batch, "SMALL_PRODUCT", 5 * 49 * 12)  # half a gate of 5 streams; 2 streams need no pieces
    monkeypatch.setattr(batch, "LEAST_WIDTH", 2)
    model = make_model(cell, rnn_size=24)
    together = Generator(model)
    streams = [together.join("the", SamplingOptions(length=30)) for _ in range(5)]
    texts = dict.fromkeys(range(5), "")
    for turn in range(4):
        together.step(4)
        if turn == 1:
            for stream in streams[2:]:
                together.leave(stream)
        for index, stream in enumerate(streams[:2]):
            texts[index] += stream.take()
            expected = forward(model.weights, cell, model.vocabulary.encode("the" + texts[index])[None]).logits[0, -1]
            np.testing.assert_allclose(stream.logits[1:], expected[1:], atol=1e-4)


def test_streams_without_a_seed_each_keep_their_own_temperature(model):
    together = Generator(model)
    greedy = together.join("the ", SamplingOptions(length=60, temperature=0))
    wild = [together.join("the ", SamplingOptions(length=60, temperature=50)) for _ in range(3)]
    while together.streams:
        together.step(7)
    assert greedy.take() == model.generate("the ", length=60, temperature=0)
    assert all(len(set(stream.take())) > 15 for stream in wild)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("company", [1, 2, 3, 7, 15, 31, 64])
@pytest.mark.parametrize("rnn_size", [20, 128])
def test_a_seeded_streams_logits_are_the_same_bits_alone_and_in_company(make_model, cell, company, rnn_size):
    model = make_model(cell, rnn_size=rnn_size)
    options = SamplingOptions(length=12, seed=9)
    text, logits = written_alone(model, "the ", options, index=2)
    together = Generator(model)
    for other in range(company):
        together.join("A" * (other % 5), SamplingOptions(length=30, seed=other if other % 3 else None), other)
    stream = together.join("the ", options, index=2)
    got = ""
    for expected in logits[:-1]:
        together.step(1)
        got += stream.take()
        assert_same_bits(stream.logits, expected)
    together.step(1)
    assert got + stream.take() == text
    assert stream.finished


@settings(max_examples=40)
@given(st.data())
def test_streams_that_join_and_leave_at_any_step_change_no_bit_of_the_others(make_model, data):
    model = make_model(data.draw(st.sampled_from(CELLS)), rnn_size=data.draw(st.sampled_from([3, 17, 33])))
    generator_ = Generator(model)
    alone, streams, texts = {}, {}, {}
    for turn in range(data.draw(st.integers(4, 10))):
        if data.draw(st.booleans()) or not streams:
            index = len(texts)
            prompt = data.draw(st.text("thea ", max_size=6))
            options = SamplingOptions(
                length=data.draw(st.integers(1, 40)), seed=index % 4,
                temperature=data.draw(st.sampled_from([0, 0.7, 2])),
                top_k=data.draw(st.sampled_from([None, 3])), top_p=data.draw(st.sampled_from([None, 0.8])),
            )  # fmt: skip
            alone[index] = written_alone(model, prompt, options, index)[0]
            streams[index] = generator_.join(prompt, options, index)
            texts[index] = ""
        if data.draw(st.integers(0, 3)) == 0:
            generator_.leave(streams.pop(data.draw(st.sampled_from(sorted(streams)))))
        generator_.step(data.draw(st.integers(1, 9)))
        for index, stream in list(streams.items()):
            texts[index] += stream.take()
            if stream.finished:
                del streams[index]
                assert texts[index] == alone[index], f"turn {turn}"
    for index, text in texts.items():
        assert alone[index].startswith(text)


def test_a_text_does_not_depend_on_how_many_characters_a_step_writes(model):
    options = SamplingOptions(length=100, seed=3)
    expected = written_alone(model, "the", options)[0]
    for characters in (1, 7, 32, 1000):
        together = Generator(model)
        stream = together.join("the", options)
        while not stream.finished:
            together.step(characters)
        assert stream.take() == expected


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_first_layer_inputs_that_are_computed_when_they_occur_are_the_same(make_model, monkeypatch, seed, count):
    eager = make_model("gru", scale=2)
    monkeypatch.setattr(batch, "TABLE_LIMIT", 0)
    lazy = make_model("gru", scale=2)
    assert not lazy.folded.complete
    together = Generator(lazy)
    streams = [together.join("hello ", SamplingOptions(length=40, seed=seed), index) for index in range(count)]
    together.step(1)
    for stream in streams:
        together.step(5)
        ids = lazy.vocabulary.encode("hello " + stream.take())
        expected = forward(eager.weights, "gru", ids[None]).logits[0, -1]
        np.testing.assert_allclose(stream.logits[1:], expected[1:], atol=1e-4)
    filled = sum(row is not None for row in lazy.folded.rows)
    assert 0 < filled < len(lazy.vocabulary)


def test_a_long_prompt_does_not_keep_the_others_waiting(model):
    together = Generator(model)
    quick = together.join("a", SamplingOptions(length=1000))
    together.step(1)
    slow = together.join("the " * 1000, SamplingOptions(length=5, seed=1))
    together.step(8)
    assert slow.logits is None
    assert quick.written == 9
    while not slow.finished:
        together.step(1)
    assert slow.take() == written_alone(model, "the " * 1000, SamplingOptions(length=5, seed=1))[0]


def test_many_prompts_are_read_little_by_little_and_to_the_end(model, monkeypatch):
    read = []
    monkeypatch.setattr(
        generator.Batch, "read", lambda self, ids, read_on=batch.Batch.read: (read.append(len(ids)), read_on(self, ids))
    )
    together, options = Generator(model), SamplingOptions(length=5, seed=1)
    prompts = [letter * (1000 + number) for number, letter in enumerate("the at" * 5)]
    streams = [together.join(prompt, options) for prompt in prompts]
    together.step(1)
    assert sum(read) <= 16 * len(prompts)
    while together.streams:
        together.step()
    assert [stream.take() for stream in streams] == [written_alone(model, prompt, options)[0] for prompt in prompts]


@pytest.mark.parametrize("every", [0, 0.001, 60])
def test_texts_that_are_handed_out_together_are_those_written_alone(model, every):
    options = [SamplingOptions(length=length, seed=3) for length in (1, 300, 700)]
    expected = [written_alone(model, "the", each, index)[0] for index, each in enumerate(options)]
    together = Generator(model)
    streams = [together.join("the", each, index) for index, each in enumerate(options)]
    texts = ["", "", ""]
    for pieces in generator.pieces_together(together, streams, every):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    assert texts == expected
    assert [stream.reason for stream in streams] == ["length"] * 3


def test_texts_that_nobody_wants_any_more_are_left(model):
    together = Generator(model)
    streams = [together.join("a", SamplingOptions(length=10_000)) for _ in range(2)]
    handed_out = generator.pieces_together(together, streams, 0)
    next(handed_out)
    handed_out.close()
    assert together.streams == []
    assert all(stream.remaining > 0 for stream in streams)


def test_whoever_wants_no_more_is_heard_while_a_long_prompt_is_read(model):
    together = Generator(model)
    handed_out = generator.pieces_together(together, [together.join("the " * 5000, SamplingOptions(length=1))], 0)
    assert [next(handed_out) for _ in range(5)] == [[""]] * 5


def test_a_finished_stream_leaves_by_itself_and_says_why(model):
    together = Generator(model)
    stream = together.join("a", SamplingOptions(length=3))
    assert together.streams == [stream]
    assert together.step() == [stream]
    assert (stream.finished, stream.reason, stream.remaining, len(stream.take())) == (True, "length", 0, 3)
    assert together.streams == []
    assert together.step() == []
    together.leave(stream)


def test_a_stream_that_should_write_nothing_is_finished_at_once(model):
    together = Generator(model)
    stream = together.join("a", SamplingOptions(length=0))
    assert stream.finished
    assert stream.take() == ""
    assert together.streams == []


def test_streams_that_come_with_the_same_prompt_have_it_read_once(model, monkeypatch):
    read = []
    monkeypatch.setattr(
        generator.Batch, "read", lambda self, ids, read_on=batch.Batch.read: (read.append(len(ids)), read_on(self, ids))
    )
    texts = model.generate("the " * 100, length=20, seed=3, count=5)
    assert read == [400]
    assert texts[4] == written_alone(model, "the " * 100, SamplingOptions(length=20, seed=3), 4)[0]


def test_leaving_before_the_prompt_is_read_ends_the_reading(model):
    together = Generator(model)
    stream = together.join("a" * 5000, SamplingOptions(length=3))
    together.leave(stream)
    assert together.streams == []
    assert together.step() == []


@settings(max_examples=150)
@given(st.text("ab", min_size=0, max_size=25), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.data())
def test_a_stop_text_ends_a_stream_before_it_however_the_text_arrives(text, stops, data):
    def received(sizes):
        stream = generator.Stream(SamplingOptions(length=max(1, len(text)), stop=tuple(stops)), 0, 3)
        at, shown = 0, []
        for size in sizes:
            if stream.finished or at >= len(text):
                break
            stream._receive(text[at : at + size])
            at += size
            shown.append(stream.take())
            assert not any(stop in "".join(shown) for stop in stops)
        return "".join(shown)

    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    expected = text
    if ends:
        first = min(ends)
        longest = max(len(stop) for stop in stops if text[:first].endswith(stop))
        expected = text[: first - longest]
    assert received([1] * len(text)) == expected
    assert received(data.draw(st.lists(st.integers(1, 7), min_size=len(text), max_size=len(text)))) == expected


def test_a_stream_holds_back_only_what_could_begin_a_stop_text():
    stream = generator.Stream(SamplingOptions(length=100, stop=("STOP",)), 0, 3)
    shown = []
    for character in "a S ST x":
        stream._receive(character)
        shown.append(stream.take())
    assert shown == ["a", " ", "", "S ", "", "", "ST ", "x"]


def test_a_stream_counts_what_it_wrote_up_to_the_end_of_the_stop_text():
    stream = generator.Stream(SamplingOptions(length=100, stop=("b",)), 0, 3)
    stream._receive("aa")
    stream._receive("abaa")
    assert (stream.take(), stream.written, stream.remaining) == ("aaa", 4, 0)


def test_noise_for_very_many_streams_is_drawn_in_smaller_pieces(model, monkeypatch):
    expected = model.generate("the", length=20, seed=1, count=4)
    monkeypatch.setattr(generator, "NOISE", 3 * 4 * len(model.vocabulary))
    together = Generator(model)
    streams = [together.join("the", SamplingOptions(length=20, seed=1), index) for index in range(4)]
    together.step(20)
    assert [stream.written for stream in streams] == [3] * 4
    assert model.generate("the", length=20, seed=1, count=4) == expected


def test_what_was_held_back_is_given_out_when_the_length_is_reached():
    stream = generator.Stream(SamplingOptions(length=3, stop=("STOP",)), 0, 3)
    stream._receive("xST")
    assert (stream.take(), stream.reason) == ("xST", "length")


def test_several_threads_may_each_drive_a_generator_of_the_same_model(model):
    expected = [model.generate("the", length=300, seed=seed) for seed in range(4)]
    got: dict[int, str] = {}

    def write(seed):
        got[seed] = model.generate("the", length=300, seed=seed)

    workers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [got[seed] for seed in range(4)] == expected


def test_writing_uses_one_thread_and_gives_the_others_back():
    script = """
from charrnn.network.threads import _controls, one_thread
controls = _controls()
if controls is None:
    print("unknown BLAS")
else:
    get, set_ = controls
    set_(2)
    before = get()
    with one_thread():
        with one_thread():
            pass
        assert get() == 1
    assert get() == before
    print(before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() in ("2", "1", "unknown BLAS")


def test_the_setting_of_threads_comes_back_after_an_error():
    controls = threads._controls()
    if controls is None:
        pytest.skip("NumPy's BLAS here is one whose threads cannot be set")
    before = controls[0]()
    with pytest.raises(ZeroDivisionError), threads.one_thread():
        raise ZeroDivisionError
    assert controls[0]() == before


def test_a_large_network_is_written_with_like_a_small_one(make_model):
    model: Model = make_model("lstm", rnn_size=256, num_layers=1, scale=1)
    ids = model.vocabulary.encode("the " * 20)
    one = batch.Batch(model.folded, row_by_row=False)
    one.add()
    one.read(ids)
    expected = forward(model.weights, "lstm", ids[None]).logits[0, -1]
    np.testing.assert_allclose(one.logits(0)[1:], expected[1:], atol=1e-4)
