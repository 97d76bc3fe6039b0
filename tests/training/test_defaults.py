"""What is chosen for whoever sets nothing: rules that hold whatever the choices are."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from charrnn.network.options import TrainingOptions
from charrnn.training.defaults import Facts, resolve, shards

facts = st.builds(Facts, st.integers(3, 40_000), st.integers(3, 10**9), st.integers(1, 64), st.booleans())
options = st.fixed_dictionaries(
    {},
    optional={
        "cell": st.sampled_from(["lstm", "gru", "rnn"]),
        "rnn_size": st.integers(1, 2048),
        "num_layers": st.integers(1, 4),
        "embedding_size": st.integers(0, 512),
        "dropout": st.floats(0, 0.9),
        "batch_size": st.integers(1, 512),
        "seq_length": st.integers(1, 512),
        "learning_rate": st.floats(1e-5, 1),
        "schedule": st.sampled_from(["cosine", "constant"]),
        "warmup_steps": st.integers(0, 1000),
        "save_every": st.integers(1, 1000),
        "weight_decay": st.floats(0, 1),
        "seed": st.integers(0, 2**63 - 1),
    },
)
budgets = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"minutes": st.floats(0.01, 1000)}),
    st.fixed_dictionaries({"max_steps": st.integers(1, 10**6)}),
    st.fixed_dictionaries({"max_epochs": st.floats(0.01, 1000)}),
    st.fixed_dictionaries({"until_stopped": st.just(True)}),
    st.fixed_dictionaries({"minutes": st.floats(0.01, 1000), "max_steps": st.integers(1, 10**6)}),
)
BY_TIME_OR_LATER = {"minutes", "max_steps", "max_epochs", "save_every", "log_every", "sample_every", "validate_every"}


@given(facts, options, budgets)
def test_what_was_given_is_never_changed(facts: Facts, given_options: dict[str, Any], budget: dict[str, Any]) -> None:
    resolved = resolve(TrainingOptions.parse({**given_options, **budget}), facts)
    for name, value in {**given_options, **budget}.items():
        assert resolved[name] == value, name


@given(facts, options, budgets)
def test_nothing_is_left_open_and_everything_is_json(
    facts: Facts, given_options: dict[str, Any], budget: dict[str, Any]
) -> None:
    resolved = resolve(TrainingOptions.parse({**given_options, **budget}), facts)
    assert json.loads(json.dumps(resolved, allow_nan=False)) == resolved
    left_open = {name for name, value in resolved.items() if value is None}
    assert left_open <= BY_TIME_OR_LATER | {"whitelist"}
    assert resolved["threads"] >= 1
    assert resolved["precision"] in ("float32", "bfloat16")
    asked_for = [resolved[name] for name in ("minutes", "max_steps", "max_epochs", "until_stopped")]
    assert any(asked_for)
    stored = {name: value for name, value in resolved.items() if name in TrainingOptions.model_fields}
    TrainingOptions.parse({name: value for name, value in stored.items() if value is not None})  # all within range


@given(facts, options, budgets)
def test_the_same_facts_give_the_same_choices(
    facts: Facts, given_options: dict[str, Any], budget: dict[str, Any]
) -> None:
    parsed = TrainingOptions.parse({**given_options, **budget})
    assert resolve(parsed, facts) == resolve(parsed, facts)


def fits(characters: int, resolved: dict[str, Any]) -> bool:
    return bool((characters - 1) // resolved["batch_size"] >= 2 * resolved["seq_length"])


@given(facts, budgets)
def test_a_stream_always_holds_two_sequences(facts: Facts, budget: dict[str, Any]) -> None:
    assert fits(facts.train_characters, resolve(TrainingOptions.parse(budget), facts))


@given(st.integers(3, 20_000), st.integers(1, 200))
def test_with_a_length_given_the_batch_shrinks_alone_as_far_as_it_can(characters: int, length: int) -> None:
    resolved = resolve(TrainingOptions.parse({"seq_length": length}), Facts(50, characters, 2, False))
    assert resolved["seq_length"] == length
    assert fits(characters, resolved) or resolved["batch_size"] == 1


@given(st.integers(3, 20_000), st.integers(1, 200))
def test_with_a_batch_given_the_length_shrinks_alone_as_far_as_it_can(characters: int, batch: int) -> None:
    resolved = resolve(TrainingOptions.parse({"batch_size": batch}), Facts(50, characters, 2, False))
    assert resolved["batch_size"] == batch
    assert fits(characters, resolved) or resolved["seq_length"] == 1


def test_the_batch_shrinks_before_the_length_does() -> None:
    roomy = resolve(TrainingOptions.parse({}), Facts(50, 20_000, 2, False))
    for characters in range(3, 5000):
        resolved = resolve(TrainingOptions.parse({}), Facts(50, characters, 2, False))
        assert resolved["seq_length"] == roomy["seq_length"] or resolved["batch_size"] == 1


@given(st.integers(1, 4096), st.integers(1, 4096), st.integers(1, 64), st.sampled_from(["float32", "bfloat16"]))
def test_shards_are_equal_parts_with_enough_to_do(batch_size: int, units: int, threads: int, precision: str) -> None:
    parts = shards(batch_size, units, threads, precision)
    assert 1 <= parts <= threads
    assert batch_size % parts == 0
    assert parts == 1 or batch_size // parts >= 16
    assert parts == 1 or batch_size // parts > 16 or precision == "float32" or units <= 128


def test_two_threads_share_the_batch_of_the_default_recipe_in_float32() -> None:
    resolved = resolve(TrainingOptions(), Facts(66, 1_000_000, 2, False))
    assert resolved["shards"] == 2
    assert resolve(TrainingOptions(batch_size=16), Facts(66, 1_000_000, 2, False))["shards"] == 1
    assert resolve(TrainingOptions(), Facts(66, 1_000_000, 2, True))["shards"] == 1


def test_a_wide_network_is_for_who_has_the_time_for_it() -> None:
    def size(minutes: float, **facts: bool) -> int:
        return int(resolve(TrainingOptions(minutes=minutes), Facts(66, 1_000_000, 2, **facts))["rnn_size"])

    assert size(3, bfloat16=True, wide_vectors=True) == 768
    assert size(3, bfloat16=True) == size(60, bfloat16=False) == 512
    assert size(6, bfloat16=True) == 768
    assert size(0.5, bfloat16=True, wide_vectors=True) == 256


def test_a_slower_processor_that_reads_a_text_less_often_drops_fewer_units() -> None:
    slow, fast = (
        resolve(TrainingOptions(rnn_size=512), Facts(66, 1_000_000, 2, True, wide))["dropout"] for wide in (False, True)
    )
    assert 0 < slow < fast < 0.5


def test_what_is_learned_by_heart_takes_small_steps_and_nothing_pulls_at_it() -> None:
    short, long = (resolve(TrainingOptions(rnn_size=128), Facts(66, size, 2, False)) for size in (4_999, 5_000))
    assert short["weight_decay"] == 0 < long["weight_decay"]
    assert short["learning_rate"] < long["learning_rate"]
