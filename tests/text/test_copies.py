"""The longest run that a text and a corpus have in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charrnn.text import copies
from charrnn.text.copies import longest_copy, search_copies
from charrnn.text.corpus import Corpus, ingest

Made = Callable[..., Corpus]


@pytest.fixture
def corpus(tmp_path: Path) -> Made:
    def make(text: str, **options: object) -> Corpus:
        (tmp_path / "text").write_bytes(text.encode())
        return ingest(tmp_path / "text", tmp_path / "ids", **options)  # type: ignore[arg-type]

    return make


def longest_by_trying(text: str, corpus: str) -> int:
    """The length, found by trying every run."""
    longest = 0
    for start in range(len(text)):
        while start + longest < len(text) and text[start : start + longest + 1] in corpus:
            longest += 1
    return longest


def is_right(text: str, written: str, corpus: Corpus) -> None:
    found = longest_copy(text, corpus)
    length = longest_by_trying(text, written)
    if not length:
        assert found is None
        return
    assert found is not None
    assert found.length == length
    run = text[found.start : found.start + length]
    assert written[found.offset : found.offset + length] == run
    assert written[: found.offset].endswith(found.before)
    assert written[found.offset + length :].startswith(found.after)
    assert found.line == 1 + written[: found.offset].count("\n")


ALPHABETS = {"one byte": "ab\n", "two bytes": "ab\n" + "".join(map(chr, range(0x4E00, 0x4E00 + 300)))}


@pytest.mark.parametrize("alphabet", ALPHABETS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_it_is_as_long_as_the_one_that_trying_every_run_finds(corpus: Made, alphabet: str, data: st.DataObject) -> None:
    letters = st.sampled_from("ab\n" if alphabet == "one byte" else "ab\n中文")
    written = data.draw(st.text(letters, min_size=2, max_size=120), "corpus")
    pasted = data.draw(st.integers(0, len(written) - 1)), data.draw(st.integers(0, 60))
    own = st.text(st.sampled_from("ab\nZ"), max_size=20)
    text = data.draw(own) + written[pasted[0] : sum(pasted)] + data.draw(own)
    is_right(text, written + ALPHABETS[alphabet], corpus(written + ALPHABETS[alphabet]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("place", ["edge", "anywhere"])
def test_a_run_is_found_wherever_the_reading_is_cut(
    corpus: Made, monkeypatch: pytest.MonkeyPatch, seed: int, place: str
) -> None:
    monkeypatch.setattr(copies, "_WORDS_AT_ONCE", 16)  # so the corpus is read in pieces of 128 characters
    monkeypatch.setattr(copies, "_PAIRS_AT_ONCE", 8)
    chance = random.Random(seed)
    written = "".join(chance.choice("abcd \n") for _ in range(2000))
    start = 128 * 5 - 20 + seed if place == "edge" else chance.randrange(1900)
    text = "".join(chance.choice("abcd") for _ in range(200)) + written[start : start + 40 + seed] + "xyz"
    is_right(text, written, corpus(written))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "a" * 500 + "b"),
        ("a" * 300 + "b" * 300, "a" * 5000 + "c" + "b" * 200),
        ("        if x:\n            return\n" * 5, "    if x:\n        return\n" * 40),
        ("na " * 30, "na na na hey " * 20),
    ],
)
def test_texts_that_repeat_themselves_are_searched_as_well(corpus: Made, text: str, written: str) -> None:
    is_right(text, written, corpus(written))


def test_what_the_corpus_does_not_tell_apart_is_no_copy(corpus: Made) -> None:
    written = "abcabcabcabcabcabcab" + "é" * 3 + "ü" * 3
    rare = corpus(written, max_vocab=3)
    found = longest_copy("abcéééabcabc", rare)
    assert found is not None
    assert (found.start, found.length) == (6, 6)
    assert longest_copy("ééüü", rare) is None
    assert longest_copy("ABC", rare) is None
    assert longest_copy("", rare) is None


def test_of_runs_of_the_same_length_the_first_is_told_with_its_line_and_what_is_around_it(corpus: Made) -> None:
    written = "one\ntwo\nthe quick brown fox jumps\nthe quick brown fox sleeps\n"
    found = longest_copy("See the quick brown fox!", corpus(written))
    assert found is not None
    assert (found.start, found.length, found.offset, found.line) == (3 + 1, 19, 8, 3)
    assert found.before == "one\ntwo\n"
    assert found.after.startswith(" jumps\n")


def test_it_says_how_far_it_is_and_can_be_given_up(corpus: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_WORDS_AT_ONCE", 16)
    made = corpus("abcdefghij" * 200 + "The end of all that is.")
    fractions = [done for done, _ in search_copies("xThe end of all thatx", made)]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert len(fractions) > 10

    def give_up(done: float) -> None:
        if done > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        longest_copy("xThe end of all thatx", made, give_up)
