"""A model that goes on with another text: its parent's characters keep their ids, new ones begin as an average.

It knows weights and vocabularies. It does not know how training goes on.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import InvalidOptions
from charrnn.network.model import Model
from charrnn.network.options import TrainingOptions

FIXED = ("cell", "rnn_size", "num_layers", "embedding_size")


def options_of_child(options: TrainingOptions, parent: Model) -> TrainingOptions:
    """The options, with the parent's network. Raises InvalidOptions if another one was asked for."""
    given = options.model_dump(exclude_unset=True)
    network = {name: parent.options[name] for name in FIXED}
    differing = {
        name: f"is {value!r} in the parent, and a child keeps its network"
        for name, value in network.items()
        if given.get(name) not in (None, value)
    }
    if differing:
        what = "; ".join(f"{name} {problem}" for name, problem in differing.items())
        raise InvalidOptions(f"a parent's network cannot be changed: {what}", differing)
    return TrainingOptions.parse({**given, **network})


def grown(
    weights: Mapping[str, NDArray[np.float32]], vocab_size: int, counts: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The weights of a parent for a vocabulary that grew to `vocab_size`.

    What is looked up and what is written for a new character begins as the mean of the known ones, weighted by
    `counts` int64 [V], how often each occurs in the new text (evenly if none of them does).
    """
    known = len(weights["output.bias"])
    shares = counts[:known].astype(np.float64)
    shares[0] = 0
    shares = shares / shares.sum() if shares.any() else np.full(known, 1 / known)
    result = dict(weights)
    for name in ("embedding" if "embedding" in weights else "layers.0.input", "output.weights", "output.bias"):
        axis = 1 if name == "output.weights" else 0
        mean = np.tensordot(shares, weights[name], (0, axis)).astype(np.float32)
        new = np.repeat(np.expand_dims(mean, axis), vocab_size - known, axis)
        result[name] = np.concatenate([weights[name], new], axis)
    return result
