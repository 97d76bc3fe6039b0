"""The options of training: names, older names, ranges, and what is said about them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from charrnn.errors import InvalidOptions
from charrnn.network.options import ALIASES, TrainingOptions, invalid_options

parse = TrainingOptions.parse


def test_what_is_not_given_is_left_open_or_has_the_default_of_the_table():
    options = parse({})
    assert options.model_fields_set == set()
    fixed = {name: value for name, value in options.model_dump().items() if value is not None}
    assert fixed == {
        "cell": "lstm", "schedule": "cosine", "until_stopped": False, "validation_fraction": 0.1, "validation": "tail",
        "keep": "auto", "max_vocab": 3500, "grad_clip": 5.0, "seed": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"num_seqs": 32}, {"batch_size": 32}),
        ({"num_steps": "50"}, {"seq_length": 50}),
        ({"lstm_size": 128}, {"rnn_size": 128}),
        ({"use_embedding": False}, {"embedding_size": 0}),
        ({"use_embedding": "false"}, {"embedding_size": 0}),
        ({"use_embedding": True}, {}),
        ({"use_embedding": "True", "embedding_size": 64}, {"embedding_size": 64}),
        ({"train_keep_prob": 0.9}, {"dropout": 0.1}),
        ({"train_keep_prob": "1"}, {"dropout": 0.0}),
        ({"save_every_n": 100, "log_every_n": 10}, {"save_every": 100, "log_every": 10}),
        ({"rnn_size": None, "minutes": "auto", "keep": "auto"}, {"keep": "auto"}),
        ({"whitelist": "auto"}, {"whitelist": "auto"}),
    ],
)
def test_older_names_are_taken_and_not_kept(given, stored):
    options = parse(given)
    assert options.model_dump(include=options.model_fields_set) == stored
    assert not set(options.model_dump()) & set(ALIASES)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"num_seqs": 32, "batch_size": 32}, "batch_size"),
        ({"num_steps": 32, "seq_length": 32}, "seq_length"),
        ({"lstm_size": 32, "rnn_size": 32}, "rnn_size"),
        ({"use_embedding": False, "embedding_size": 0}, "embedding_size"),
        ({"use_embedding": True, "embedding_size": 0}, "embedding_size"),
        ({"train_keep_prob": 0.5, "dropout": 0.5}, "dropout"),
        ({"save_every_n": 1, "save_every": 1}, "save_every"),
        ({"log_every_n": 1, "log_every": 1}, "log_every"),
        ({"whitelist_file": "x", "whitelist": "x"}, "whitelist"),
    ],
)
def test_an_option_together_with_its_other_name_is_an_error(given, field):
    with pytest.raises(InvalidOptions) as error:
        parse(given)
    assert list(error.value.fields) == [field]


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"rnn_sise": 3}, "rnn_sise", "did you mean rnn_size?"),
        ({"nonsense": 3}, "nonsense", "there is no such option"),
        ({"rnn_size": 0}, "rnn_size", "must be at least 1, not 0"),
        ({"rnn_size": "many"}, "rnn_size", "whole number"),
        ({"rnn_size": 1.5}, "rnn_size", "whole number"),
        ({"rnn_size": True}, "rnn_size", "must not be True"),
        ({"rnn_size": 10**30}, "rnn_size", "at most 16,384"),
        ({"dropout": 1}, "dropout", "less than 1"),
        ({"learning_rate": 0}, "learning_rate", "more than 0"),
        ({"minutes": float("nan")}, "minutes", "must be a number"),
        ({"minutes": float("inf")}, "minutes", "must be a number"),
        ({"cell": "lstn"}, "cell", "one of 'lstm', 'gru' or 'rnn'"),
        ({"keep": "first"}, "keep", "must be one of"),
        ({"until_stopped": "perhaps"}, "until_stopped", "true or false"),
        ({"until_stopped": True, "max_steps": 5}, "until_stopped", "max_steps"),
        ({"use_embedding": "perhaps"}, "use_embedding", "true or false"),
        ({"train_keep_prob": 0}, "train_keep_prob", "more than 0"),
        ({"train_keep_prob": "x"}, "train_keep_prob", "must be a number"),
        ({"whitelist": ""}, "whitelist", "at least 1 character"),
        ({"whitelist_file": "/etc/passwd"}, "whitelist_file", "cannot be named here"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"max_vocab": 0}, "max_vocab", "at least 1"),
        ({"validation_fraction": 0.6}, "validation_fraction", "at most 0.5"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(given, field, words):
    with pytest.raises(InvalidOptions, match=field) as error:
        parse(given)
    assert words in error.value.fields[field]


def test_every_wrong_option_is_named_at_once():
    with pytest.raises(InvalidOptions) as error:
        parse({"rnn_size": 0, "dropout": 2, "sede": 3})
    assert set(error.value.fields) == {"rnn_size", "dropout", "sede"}


def test_an_error_of_pydantic_is_turned_into_one_of_ours():
    with pytest.raises(ValidationError) as error:
        TrainingOptions(seed=-1)
    assert invalid_options(error.value).fields == {"seed": "must be at least 0, not -1"}


def test_a_whitelist_is_read_from_a_file_where_that_is_allowed(tmp_path):
    path = tmp_path / "white.txt"
    path.write_bytes("\ufeffab\nba漢".encode())
    assert parse({"whitelist_file": str(path)}, files=True).whitelist == "ab\n漢"
    path.write_bytes(b"a\xff")
    for wrong, words in ((path, "not UTF-8 at byte 1"), (tmp_path / "no", "cannot be read"), (3.5, "cannot be read")):
        with pytest.raises(InvalidOptions, match=words):
            parse({"whitelist_file": wrong}, files=True)


def test_the_schema_describes_every_option_under_its_own_name():
    schema = TrainingOptions.model_json_schema()
    assert not set(schema["properties"]) & set(ALIASES)
    assert schema["additionalProperties"] is False
    for name, entry in schema["properties"].items():
        assert entry["description"].rstrip().endswith((".", "…")), name


@given(st.dictionaries(st.sampled_from([*TrainingOptions.model_fields, *ALIASES, "x"]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=2),
), max_size=4))  # fmt: skip
def test_any_values_are_taken_or_refused_with_their_names(values):
    try:
        options = parse(values)
    except InvalidOptions as error:
        named = set(error.fields)
    else:
        named = {"x"}
        assert parse(options.model_dump(exclude_unset=True)) == options
        assert parse(options.model_dump()) == options
    assert named
    assert named <= {*TrainingOptions.model_fields, *ALIASES, "x"}
