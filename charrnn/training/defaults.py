"""What is chosen for whoever sets nothing: sizes and rates from the text and the budget, all at the first step.

It knows sizes of texts, budgets and processors. No choice depends on a measured speed, so the same text, options and
machine always train the same network.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from charrnn.network.options import TrainingOptions
from charrnn.processor import features

BUDGETS = ("minutes", "max_steps", "max_epochs", "until_stopped")
DEFAULT_MINUTES = 3.0
NOMINAL_SPEED = 1e11  # operations a second: what two cores are taken for, whatever they are; in float32,
NOMINAL_SPEED_BFLOAT16 = 1.75e11  # in bfloat16,
NOMINAL_SPEED_WIDE = 3.5e11  # and where it is multiplied 512 bits at a time
PASSES_COST = 6  # operations a weight and character of training: two each for forward, backward and gradient
_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # any of these processor features
_WIDE_VECTORS = {"avx512_bf16", "avx_vnni"}  # all of these: Zen 5, Sapphire Rapids and later; Zen 4 takes two halves

# by the characters there are to learn from, at most:
ENDLESS = math.inf
SIZES = [(5_000, 128), (200_000, 256), (ENDLESS, 512)]  # hidden units
BATCHES = [(5_000, 1, 64), (20_000, 4, 64), (200_000, 16, 64), (ENDLESS, 32, 32)]  # streams, characters a sequence
WIDE = 768  # instead of 512 where there is time for it: a processor that multiplies bfloat16, and
WIDE_OPERATIONS = 2.5 * 60 * NOMINAL_SPEED_WIDE  # so many in the budget
BY_HEART = 5_000
RATE_BY_HEART = 3e-3  # with which the last step before it ends does not undo what was learned
WEIGHT_DECAY = 0.1  # for texts that are not learned by heart
SHORT = 0.75  # minutes, below which a large network does not get anywhere


@dataclass(frozen=True)
class Facts:
    """What the choices are made from."""

    vocab_size: int  # ids, the unknown included
    train_characters: int
    processors: int
    bfloat16: bool  # whether the processor multiplies bfloat16 in hardware
    wide_vectors: bool = False  # and 512 bits at a time

    def speed(self, precision: str) -> float:
        """What two cores are taken for, operations a second."""
        if precision != "bfloat16":
            return NOMINAL_SPEED
        return NOMINAL_SPEED_WIDE if self.wide_vectors else NOMINAL_SPEED_BFLOAT16


def facts_of_this_machine(vocab_size: int, train_characters: int) -> Facts:
    """Facts with the processors that this process may use."""
    can = features()
    processors, bfloat16, wide = len(os.sched_getaffinity(0)), bool(_BFLOAT16 & can), can >= _WIDE_VECTORS
    return Facts(vocab_size, train_characters, processors, bfloat16, wide)


def resolve(options: TrainingOptions, facts: Facts) -> dict[str, Any]:
    """Every option as a value that JSON holds, nothing left open; with `precision` and `threads`, which are chosen
    too, and stored so that a resumed run computes the same."""
    values = options.model_dump()
    if not any(values[name] for name in BUDGETS):
        values["minutes"] = DEFAULT_MINUTES
    minutes = _minutes(values, facts)
    chosen = _network(facts, minutes)
    for name, value in chosen.items():
        if values[name] is None:
            values[name] = value
    values["precision"] = "bfloat16" if facts.bfloat16 and values["rnn_size"] >= 256 else "float32"
    if values["dropout"] is None:
        values["dropout"] = _dropout(facts, values, minutes)
    if values["batch_size"] is None or values["seq_length"] is None:
        batch_size, seq_length = _batch(facts, values["batch_size"], values["seq_length"])
        values["batch_size"], values["seq_length"] = batch_size, seq_length
    if values["learning_rate"] is None:
        rate = _learning_rate(values["rnn_size"], values["num_layers"], values["cell"])
        values["learning_rate"] = min(rate, RATE_BY_HEART) if facts.train_characters < BY_HEART else rate
    if values["weight_decay"] is None:
        values["weight_decay"] = 0.0 if facts.train_characters < BY_HEART else WEIGHT_DECAY
    if values["warmup_steps"] is None:
        values["warmup_steps"] = min(50, (values["max_steps"] or 10**9) // 20)
    values["threads"] = min(facts.processors, 16)
    values["shards"] = shards(values["batch_size"], values["rnn_size"], values["threads"], values["precision"])
    return values


def nominal_characters(values: dict[str, Any], facts: Facts, minutes: float) -> float:
    """How many characters of training so many minutes are taken for, from sizes alone."""
    units, layers = values["rnn_size"], values["num_layers"]
    inputs = values["embedding_size"] + (2 * layers - 1) * units  # of all layers, from below and from before
    weights = 4 * units * inputs + units * facts.vocab_size
    return float(minutes * 60 * facts.speed(values["precision"]) / (PASSES_COST * weights))


def _minutes(values: dict[str, Any], facts: Facts) -> float:
    """About how long the budget is, for choosing sizes: steps and epochs are taken at the default recipe's pace."""
    if values["minutes"]:
        return float(values["minutes"])
    if values["max_steps"]:
        return float(values["max_steps"]) / 2500
    if values["max_epochs"]:
        return float(values["max_epochs"]) * facts.train_characters / 2.5e6
    return 30.0


def _network(facts: Facts, minutes: float) -> dict[str, Any]:
    characters = facts.train_characters
    size = next(size for most, size in SIZES if characters <= most)
    if minutes < SHORT:
        size = min(size, 256)
    elif size == 512 and facts.bfloat16 and minutes * 60 * facts.speed("bfloat16") >= WIDE_OPERATIONS:
        size = WIDE
    return {
        "rnn_size": size,
        "num_layers": 1,  # one wide layer learns more in minutes than two narrow ones
        "embedding_size": 64 if facts.vocab_size <= 256 else 128,
    }


def _dropout(facts: Facts, values: dict[str, Any], minutes: float) -> float:
    """The more often the text is read and the wider the network, the more: a sixth with every doubling, at most a half.

    Seven epochs of plays did best with 0.25 in 512 units, four and a half with 0.3 in 768.

    A text too short to hold a part of it out is to be learned by heart: none.
    """
    if facts.train_characters < BY_HEART:
        return 0.0
    epochs = nominal_characters(values, facts, minutes) / facts.train_characters
    return round(min(0.5, math.log2(max(1.0, epochs * values["rnn_size"] / 1024)) / 6), 2)


def _batch(facts: Facts, batch_size: int | None, seq_length: int | None) -> tuple[int, int]:
    """32 by 32, fewer and longer streams for a small text, until each holds two sequences. What was given stays."""
    batch, length = next((batch, length) for most, batch, length in BATCHES if facts.train_characters <= most)
    batch, length = batch_size or batch, seq_length or length
    inputs = facts.train_characters - 1

    def fits() -> bool:
        return inputs // batch >= 2 * length

    while not fits() and batch_size is None and batch > 1:
        batch //= 2
    while not fits() and seq_length is None and length > 1:
        length //= 2
    return batch, length


def shards(batch_size: int, units: int, threads: int, precision: str) -> int:
    """Parts of the batch to compute side by side: one a thread, as long as each has streams enough, and work to do.

    Streams are computed in vectors of 16 (see `kernel`). With bfloat16 the products of a wide network want more than
    one vector.
    """
    least = 17 if precision == "bfloat16" and units > 128 else 16
    count = 1
    while 2 * count <= threads and batch_size % (2 * count) == 0 and batch_size // (2 * count) >= least:
        count *= 2
    return count if units >= 128 else 1


def _learning_rate(units: int, layers: int, cell: str) -> float:
    """6e-3 for 512 units; larger networks want smaller steps, and so do several layers and plain RNN cells."""
    rate: float = min(1e-2, 6e-3 * (512 / units) ** 0.5)
    return round(rate / (2 if cell == "rnn" else 1) / (1 if layers == 1 else 1.5), 6)
