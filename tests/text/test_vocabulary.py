"""What a vocabulary promises: ids by frequency, nothing lost on the way to ids and back but the unknown."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InvalidModel
from charrnn.text.vocabulary import Vocabulary

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters)
some_text = st.text(characters, min_size=1)
any_string = st.text(st.characters())  # lone surrogates too


def of(text: str, **options: object) -> Vocabulary:
    return Vocabulary.from_counts(Counter(map(ord, text)), **options)  # type: ignore[arg-type]


@given(some_text)
def test_a_text_survives_the_way_to_ids_and_back(text: str) -> None:
    vocabulary = of(text)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == text
    assert len(vocabulary) == len(set(text)) + 1


@given(some_text, any_string)
def test_what_is_not_in_the_vocabulary_is_id_0_and_is_named_in_order_of_appearance(known: str, text: str) -> None:
    vocabulary = of(known)
    ids = vocabulary.encode(text)
    assert [i == 0 for i in ids] == [c not in known for c in text]
    assert vocabulary.decode(ids) == "".join(c if c in known else "\ufffd" for c in text)
    assert vocabulary.unknown_in(text) == "".join(dict.fromkeys(c for c in text if c not in known))


@given(some_text, st.integers(1, 20))
def test_the_commonest_characters_come_first_and_ties_are_by_code_point(text: str, most: int) -> None:
    ranked = sorted(Counter(text).items(), key=lambda item: (-item[1], item[0]))
    assert of(text, max_vocab=most).characters == "".join(c for c, _ in ranked)[:most]


def test_counts_may_be_an_array_with_the_code_point_as_its_index() -> None:
    counts = np.zeros(0x110000, dtype=np.int64)
    counts[[ord("a"), ord("😀"), ord("b")]] = 2, 5, 2
    assert Vocabulary.from_counts(counts).characters == "😀ab"


def test_a_whitelist_leaves_the_others_out_and_adds_none_that_the_text_has_not() -> None:
    assert of("aabbbc", whitelist="acz").characters == "ac"


@given(some_text, any_string)
def test_extending_keeps_every_id(known: str, more: str) -> None:
    vocabulary = of(known)
    more = "".join(c for c in more if not "\ud800" <= c <= "\udfff")
    extended = vocabulary.extended(more)
    assert extended.characters.startswith(vocabulary.characters)
    assert set(extended.characters) == set(known) | set(more)
    assert (extended.encode(known) == vocabulary.encode(known)).all()


@given(some_text)
def test_json_gives_back_an_equal_vocabulary(text: str) -> None:
    vocabulary = of(text)
    again = Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json())))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)


@pytest.mark.parametrize(
    "data",
    [
        None, [], "abc", {}, {"characters": None}, {"characters": ["a", "b"]}, {"characters": ""},
        {"characters": "aba"}, {"characters": "a\ud800"}, {"characters": "ab", "more": 1}, {"characters": 3},
    ],
)  # fmt: skip
def test_stored_vocabularies_that_are_none_are_refused(data: object) -> None:
    with pytest.raises(InvalidModel):
        Vocabulary.from_json(data)


def test_an_empty_choice_of_characters_is_refused() -> None:
    with pytest.raises(InvalidModel, match="empty"):
        Vocabulary.from_counts({ord("a"): 0})


@pytest.mark.parametrize("ids", [[-1], [4], [0, 1, 99]])
def test_ids_that_do_not_exist_are_refused_with_the_range_that_does(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="ids 0 to 3"):
        Vocabulary("abc").decode(ids)


def test_no_ids_are_an_empty_text_and_fractions_are_no_ids() -> None:
    assert Vocabulary("abc").decode([]) == ""
    with pytest.raises(ValueError, match="integers"):
        Vocabulary("abc").decode([0.5])


def test_the_table_agrees_with_encode_and_cannot_be_written() -> None:
    vocabulary = Vocabulary("ba😀")
    assert vocabulary.table[ord("😀")] == vocabulary.encode("😀")[0] == 3
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.table[0] = 1


def test_membership_is_about_single_characters() -> None:
    vocabulary = Vocabulary("ab")
    assert "a" in vocabulary
    assert "c" not in vocabulary
    assert "ab" not in vocabulary
    assert 1 not in vocabulary
