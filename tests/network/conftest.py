from __future__ import annotations

import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from charrnn.network.model import Model
from charrnn.text.vocabulary import Vocabulary

settings.register_profile("charrnn", deadline=None, max_examples=60)
settings.load_profile("charrnn")

LETTERS = "\n etaoinshrdluABCDEFGHIJKLMNOPQRSTUVWXYZ.,;é漢🙂"

MakeModel = Callable[..., Model]


def strong_model(
    cell: str = "lstm", *, embedding_size: int = 8, rnn_size: int = 20, num_layers: int = 2, seed: int = 1,
    characters: str = LETTERS, scale: float = 3,
) -> Model:  # fmt: skip
    """A model that has not learned anything, but whose weights are as large as if it had, biases included."""
    model = Model.initial(
        cell, Vocabulary(characters), embedding_size=embedding_size, rnn_size=rnn_size, num_layers=num_layers, seed=seed
    )
    random = np.random.default_rng(seed)
    weights = {
        name: (array * scale if array.ndim > 1 else array + random.normal(0, 0.4, array.shape)).astype(np.float32)
        for name, array in model.weights.items()
    }
    return Model(model.vocabulary, weights, model.options, model.record)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    return strong_model


@pytest.fixture(scope="session")
def model() -> Model:
    return strong_model()
