"""The network in NumPy: models that write, predict and evaluate, their files and their options. No TensorFlow here.

Names are fetched at first use, so that writing does not wait for what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charrnn.network.evaluate import Evaluation, Score
    from charrnn.network.generator import Generator, Stream
    from charrnn.network.model import Model, Prediction, UnknownCharacters, load
    from charrnn.network.options import TrainingOptions
    from charrnn.network.sampling import SamplingOptions

__all__ = [
    "Evaluation",
    "Generator",
    "Model",
    "Prediction",
    "SamplingOptions",
    "Score",
    "Stream",
    "TrainingOptions",
    "UnknownCharacters",
    "load",
]

_HOMES = {
    "Evaluation": "evaluate",
    "Generator": "generator",
    "Model": "model",
    "Prediction": "model",
    "SamplingOptions": "sampling",
    "Score": "evaluate",
    "Stream": "generator",
    "TrainingOptions": "options",
    "UnknownCharacters": "model",
    "load": "model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
