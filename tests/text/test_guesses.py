"""What guessing costs: the lines that a network has to beat."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from charrnn.text import guesses as module
from charrnn.text.corpus import Corpus, ingest
from charrnn.text.guesses import guesses


def corpus(folder: Path, text: str) -> Corpus:
    source = folder / "text.txt"
    source.write_text(text, encoding="utf-8")
    return ingest(source, folder / "text.ids")


def test_in_a_text_of_two_letters_in_turn_only_the_first_letter_is_open(tmp_path: Path) -> None:
    found = guesses(corpus(tmp_path, "ab" * 500))
    assert found.evenly == pytest.approx(math.log(2))
    assert found.characters == pytest.approx(math.log(2))
    assert found.pairs == pytest.approx(0, abs=1e-9)


def test_counting_in_pieces_counts_the_pairs_across_them_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = corpus(tmp_path, "the cat sat on the mat, and that was that.\n" * 20)
    whole = guesses(text)
    monkeypatch.setattr(module, "PIECE", 7)
    assert guesses(text).pairs == pytest.approx(whole.pairs, abs=1e-12)


def test_frequent_characters_cost_less(tmp_path: Path) -> None:
    found = guesses(corpus(tmp_path, "aaab" * 1000))
    assert found.evenly == pytest.approx(math.log(2))
    assert found.characters == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    # after b comes a, and after a another a in two of three cases
    assert found.pairs == pytest.approx(0.75 * -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3)), abs=1e-3)


def test_pairs_of_a_long_text_are_counted_in_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTED", 1000)
    found = guesses(corpus(tmp_path, "ab" * 500 + "ba" * 3000 + "aabb" * 100))
    assert found.pairs == pytest.approx(0, abs=1e-9)
