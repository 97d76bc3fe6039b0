"""charrnn: learn any text, and write like it. This module is the public API and nothing else.

It knows where every public name lives and fetches it at first use, so that `import charrnn` costs next to nothing
and loads neither NumPy nor TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from charrnn import errors, events, widgets
    from charrnn.errors import (
        AmbiguousName,
        CharRNNError,
        DatabaseOutdated,
        DatabaseTooNew,
        DatabaseUnavailable,
        Fenced,
        FileNotInStorage,
        InvalidCorpus,
        InvalidModel,
        InvalidOptions,
        InvalidSettings,
        InvalidTransition,
        ModelNotFound,
        NotAllowed,
        QuotaExceeded,
        StorageUnavailable,
        TrainingFailed,
        WouldOverwrite,
    )
    from charrnn.learn import train
    from charrnn.network.evaluate import Evaluation
    from charrnn.network.model import Model, load
    from charrnn.network.options import TrainingOptions
    from charrnn.network.sampling import SamplingOptions
    from charrnn.text import samples
    from charrnn.text.corpus import Corpus, ingest
    from charrnn.text.vocabulary import Vocabulary
    from charrnn.workspace import Workspace

__all__ = [
    "AmbiguousName",
    "CharRNNError",
    "Corpus",
    "DatabaseOutdated",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "Evaluation",
    "Fenced",
    "FileNotInStorage",
    "InvalidCorpus",
    "InvalidModel",
    "InvalidOptions",
    "InvalidSettings",
    "InvalidTransition",
    "Model",
    "ModelNotFound",
    "NotAllowed",
    "QuotaExceeded",
    "SamplingOptions",
    "StorageUnavailable",
    "TrainingFailed",
    "TrainingOptions",
    "Vocabulary",
    "Workspace",
    "WouldOverwrite",
    "errors",
    "events",
    "ingest",
    "load",
    "samples",
    "train",
    "widgets",
]

_HOMES = {
    "AmbiguousName": "charrnn.errors",
    "CharRNNError": "charrnn.errors",
    "Corpus": "charrnn.text.corpus",
    "DatabaseOutdated": "charrnn.errors",
    "DatabaseTooNew": "charrnn.errors",
    "DatabaseUnavailable": "charrnn.errors",
    "Evaluation": "charrnn.network.evaluate",
    "Fenced": "charrnn.errors",
    "FileNotInStorage": "charrnn.errors",
    "InvalidCorpus": "charrnn.errors",
    "InvalidModel": "charrnn.errors",
    "InvalidOptions": "charrnn.errors",
    "InvalidSettings": "charrnn.errors",
    "InvalidTransition": "charrnn.errors",
    "Model": "charrnn.network.model",
    "ModelNotFound": "charrnn.errors",
    "NotAllowed": "charrnn.errors",
    "QuotaExceeded": "charrnn.errors",
    "SamplingOptions": "charrnn.network.sampling",
    "StorageUnavailable": "charrnn.errors",
    "TrainingFailed": "charrnn.errors",
    "TrainingOptions": "charrnn.network.options",
    "Vocabulary": "charrnn.text.vocabulary",
    "Workspace": "charrnn.workspace",
    "WouldOverwrite": "charrnn.errors",
    "errors": "charrnn.errors",
    "events": "charrnn.events",
    "ingest": "charrnn.text.corpus",
    "load": "charrnn.network.model",
    "samples": "charrnn.text.samples",
    "train": "charrnn.learn",
    "widgets": "charrnn.widgets",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    module = import_module(home)
    value = module if home.endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
