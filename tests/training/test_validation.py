"""The validation loss during training, against a plain computation of the same thing in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.network.cells import Sizes, forward, initial_weights, nats
from charrnn.text.corpus import Part
from charrnn.training.kernel import Kernel, KernelOptions
from charrnn.training.validation import STREAMS, WARM, Validation

SIZES = Sizes(11, 0, 6, 2)


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel(KernelOptions("lstm", SIZES, 4, 10))


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    random = np.random.default_rng(1)
    initial = initial_weights("lstm", SIZES.vocab_size, 0, SIZES.rnn_size, SIZES.num_layers, 0)
    return {
        name: (2 * array + random.normal(0, 0.3, array.shape)).astype(np.float32) for name, array in initial.items()
    }


def part_of(characters: int, lowest: int = 0) -> Part:
    """Text in which what comes next depends on what came before."""
    random = np.random.default_rng(characters)
    ids = np.maximum(np.cumsum(random.integers(0, 3, characters)) % 11, lowest).astype(np.uint8)
    return Part(ids, ((0, characters),), 11)


def plain(weights: dict[str, Any], part: Part, stretches: list[tuple[int, int]]) -> float:
    """The mean surprise of the characters after each input in the stretches, each warmed on what lies before it."""
    surprises = []
    for start, stop in stretches:
        first = max(0, start - WARM)
        ids = part.read(first, stop + 1).astype(np.int32)
        found = nats(forward(weights, "lstm", ids[None, :-1]).logits, ids[None, 1:])[0]
        surprises.append(found[start - first :][ids[1:][start - first :] != 0])
    return float(np.concatenate(surprises).mean())


def test_a_part_that_is_small_enough_is_read_whole_and_every_target_counted_once(
    kernel: Kernel, weights: dict[str, Any]
) -> None:
    part = part_of(5432)
    validation = Validation(kernel, part, 200_000)
    assert int(validation.counted.sum()) == int((part.read(1, len(part)) != 0).sum())
    streams = min(STREAMS, 5431 // (2 * WARM))
    length = -(-5431 // streams)
    stretches = [(start, min(start + length, 5431)) for start in range(0, 5431, length)]
    assert validation.loss(kernel.to_device(weights)) == pytest.approx(plain(weights, part, stretches), abs=2e-5)


def test_a_larger_part_is_sampled_evenly_from_its_beginning_to_its_end(kernel: Kernel, weights: dict[str, Any]) -> None:
    part = part_of(40_000, lowest=1)
    validation = Validation(kernel, part, 8_000)
    assert int(validation.counted.sum()) == 8_000
    starts = [round(stream * (39_999 - 250) / 31) for stream in range(32)]
    stretches = [(start, start + 250) for start in starts]
    assert stretches[-1][1] == 39_999
    assert validation.loss(kernel.to_device(weights)) == pytest.approx(plain(weights, part, stretches), abs=2e-5)


def test_looking_twice_gives_the_same_bits_and_changes_nothing(kernel: Kernel, weights: dict[str, Any]) -> None:
    validation = Validation(kernel, part_of(5432), 200_000)
    parameters = kernel.to_device(weights)
    before = {name: tensor.numpy().tobytes() for name, tensor in parameters.items()}
    assert validation.loss(parameters) == validation.loss(parameters)
    assert before == {name: tensor.numpy().tobytes() for name, tensor in parameters.items()}
    assert Validation(kernel, part_of(5432), 200_000).loss(parameters) == validation.loss(parameters)


def test_unknown_characters_are_not_counted(kernel: Kernel, weights: dict[str, Any]) -> None:
    ids = part_of(5000).read(0, 5000)
    assert 0 in ids
    validation = Validation(kernel, Part(ids, ((0, 5000),), 11), 200_000)
    assert int(validation.counted.sum()) == int((ids[1:] != 0).sum())


@pytest.mark.parametrize("characters", [5000, 5001, 6400, 12_801, 12_802, 60_000])
@pytest.mark.parametrize("most", [5000, 6000, 200_000])
def test_every_size_of_part_is_read_within_its_bounds(kernel: Kernel, characters: int, most: int) -> None:
    part = part_of(characters, lowest=1)
    counted = int(Validation(kernel, part, most).counted.sum())
    assert counted == characters - 1 if characters - 1 <= most else most - STREAMS < counted <= most
