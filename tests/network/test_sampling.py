"""How characters are chosen: the distribution that comes out, the options and their checks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.errors import InvalidOptions
from charrnn.network import sampling
from charrnn.network.cells import softmax
from charrnn.network.sampling import NEVER, Noise, SamplingOptions, probabilities, restrict, sampling_schema

LOGITS = np.array([NEVER, 2.0, 1.0, 0.0, 0.0, -1.0, -3.0], np.float32)


def chi_square(counts, expected):
    used = expected > 0
    assert (counts[~used] == 0).all()
    return float((((counts - expected) ** 2)[used] / expected[used]).sum())


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_draws_follow_the_softmax_at_the_temperature(seed, temperature):
    draws = 200_000
    noise = Noise(seed, 0, len(LOGITS), temperature).draw(draws)
    counts = np.bincount((LOGITS - noise).argmax(1), minlength=len(LOGITS))
    expected = draws * probabilities(LOGITS, temperature)
    assert chi_square(counts, expected) < 30  # 5 degrees of freedom: passed by chance once in 70,000 runs


@pytest.mark.parametrize(("top_k", "top_p"), [(3, None), (None, 0.7), (4, 0.8)])
def test_draws_among_top_k_and_top_p_follow_the_shares_of_what_is_left(top_k, top_p):
    draws = 100_000
    kept = restrict(LOGITS, 1.0, top_k, top_p)
    noise = Noise(1, 0, len(LOGITS), 1.0).draw(draws)
    counts = np.bincount((kept - noise).argmax(1), minlength=len(LOGITS))
    assert chi_square(counts, draws * softmax(kept.astype(np.float64))) < 30


def test_rare_characters_are_drawn_as_rarely_as_they_should_be():
    logits = np.zeros(1000, np.float32)
    logits[1:] = -12  # 999 characters that share a probability of 0.006
    draws = 20_000
    hits = int(((logits - Noise(5, 0, 1000, 1.0).draw(draws)).argmax(1) != 0).sum())
    expected = draws * float(1 - softmax(logits.astype(np.float64))[0])
    assert abs(hits - expected) < 5 * expected**0.5


def test_the_noise_of_a_seed_and_index_does_not_depend_on_how_it_is_asked_for():
    whole = Noise(7, 2, 65, 0.9).draw(50)
    parts = Noise(7, 2, 65, 0.9)
    np.testing.assert_array_equal(np.concatenate([parts.draw(1), parts.draw(30), parts.draw(19)]), whole)
    assert (Noise(7, 3, 65, 0.9).draw(50) != whole).any()
    assert (Noise(8, 2, 65, 0.9).draw(50) != whole).any()
    assert np.isfinite(whole).all()


def test_the_noise_of_a_seed_does_not_depend_on_how_much_of_it_is_computed_at_once(monkeypatch):
    expected = Noise(7, 2, 65, 0.9).draw(50)
    for at_once in (1, 200):
        monkeypatch.setattr(sampling, "AT_ONCE", at_once)
        np.testing.assert_array_equal(Noise(7, 2, 65, 0.9).draw(50), expected)


def test_noise_is_finite_at_the_edges_of_its_bits(monkeypatch):
    noise = Noise(0, 0, 4, 1.0)

    class Edges:
        def random_raw(self, count):
            return np.array([0, 2**64 - 1], np.uint64)

    noise._bits = Edges()
    drawn = noise.draw(1)
    assert np.isfinite(drawn).all()
    assert drawn.min() < -20  # Gumbel noise beyond 20: two characters in a billion


def test_noise_of_a_seed_is_pinned():
    np.testing.assert_allclose(Noise(1, 0, 4, 1.0).draw(1)[0], PINNED, rtol=1e-5)


PINNED = [-0.24882, 0.175758, -1.153764, -1.80765]


def test_no_seed_is_another_noise_each_time():
    assert (Noise(None, 0, 65, 1.0).draw(3) != Noise(None, 0, 65, 1.0).draw(3)).any()


def kept(*args):
    return np.flatnonzero(np.isfinite(restrict(*args))).tolist()


def test_of_equal_logits_the_lower_id_ranks_first():
    assert kept(np.array([0, 1, 3, 3, 3], np.float32), 1.0, 2, None) == [2, 3]


def test_top_k_comes_before_top_p():
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    assert kept(logits, 1.0, None, 0.75) == [0, 1, 2]
    assert kept(logits, 1.0, 2, 0.5) == [0]  # of two, the first has 4/7
    assert kept(logits, 1.0, 2, 0.6) == [0, 1]


def test_top_p_is_of_the_probabilities_at_the_temperature():
    logits = np.log(np.array([0.6, 0.3, 0.1], np.float32))
    assert kept(logits, 1.0, None, 0.55) == [0]
    assert kept(logits, 10.0, None, 0.55) == [0, 1]


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=30),
    st.one_of(st.none(), st.integers(1, 40)),
    st.one_of(st.none(), st.floats(1e-9, 1)),
    st.floats(0, 10),
)
def test_restricting_keeps_the_likeliest_and_at_least_one(values, top_k, top_p, temperature):
    logits = np.array(values, np.float32)
    result = restrict(logits, temperature, top_k, top_p)
    left = np.isfinite(result)
    assert left.any()
    assert left.sum() <= (top_k or len(logits))
    np.testing.assert_array_equal(result[left], logits[left])
    if not left.all():
        assert logits[left].min() >= logits[~left].max()


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=30), st.floats(0, 100))
def test_the_unknown_is_never_probable_and_the_others_share_its_part(values, temperature):
    shares = probabilities(np.array(values, np.float32), temperature)
    assert shares[0] == 0
    assert shares.sum() == pytest.approx(1)


def test_the_options_have_the_defaults_that_are_promised():
    options = SamplingOptions()
    assert (options.prompt, options.length, options.temperature, options.stop) == ("", 1000, 1.0, ())
    assert (options.top_k, options.top_p, options.seed, options.count) == (None, None, None, None)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("length", -1, "at least 0"),
        ("length", 2.5, "whole number"),
        ("length", True, "whole number"),
        ("length", 10**9, "at most"),
        ("temperature", -0.1, "at least 0"),
        ("temperature", float("nan"), "finite"),
        ("temperature", float("inf"), "finite"),
        ("temperature", 10**400, "finite"),
        ("temperature", "hot", "number"),
        ("top_k", 0, "at least 1"),
        ("top_p", 0, "more than 0"),
        ("top_p", 1.1, "at most 1"),
        ("seed", -1, "at least 0"),
        ("seed", 2**63, "at most"),
        ("count", 0, "at least 1"),
        ("stop", [""], "none of them empty"),
        ("stop", 3, "none of them empty"),
        ("stop", ["x"] * 17, "at most 16"),
        ("prompt", None, "must be text"),
    ],
)
def test_an_option_out_of_its_range_is_refused_by_name(name, value, words):
    with pytest.raises(InvalidOptions, match=name) as error:
        SamplingOptions(**{name: value})
    assert words in error.value.fields[name]
    assert len(str(error.value)) < 200


def test_every_problem_is_reported_at_once():
    with pytest.raises(InvalidOptions) as error:
        SamplingOptions.from_dict({"length": -1, "top_p": 2, "temprature": 1})
    assert set(error.value.fields) == {"length", "top_p", "temprature"}
    assert "did you mean temperature?" in error.value.fields["temprature"]


def test_older_names_are_taken_but_not_beside_the_new():
    options = SamplingOptions.from_dict({"start_string": "The ", "max_length": 10, "stop": "\n"})
    assert (options.prompt, options.length, options.stop) == ("The ", 10, ("\n",))
    with pytest.raises(InvalidOptions, match="given twice"):
        SamplingOptions.from_dict({"start_string": "a", "prompt": "b"})


def test_numbers_of_numpy_are_numbers():
    options = SamplingOptions(length=np.int64(3), temperature=np.float32(0.5), seed=np.uint8(3))
    assert (options.length, options.temperature, options.seed) == (3, 0.5, 3)


def test_the_schema_describes_every_option():
    properties = sampling_schema()["properties"]
    assert list(properties) == [
        "prompt", "length", "temperature", "top_k", "top_p", "seed", "stop", "count",
    ]  # fmt: skip
    assert all(entry["description"].endswith(".") for entry in properties.values())
    assert properties["length"]["minimum"] == 0
    assert {"type": "null"} in properties["seed"]["anyOf"]
