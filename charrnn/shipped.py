"""The model that comes with charrnn: it writes before anything was learned. It knows where that lies, nothing else."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from charrnn.errors import InvalidModel


def built_in_model() -> Path:
    """The small model that ships inside the package. Raises InvalidModel where an installation lacks it."""
    folder = Path(str(resources.files("charrnn"))) / "data"
    models = sorted(folder.glob("*.safetensors"))
    if not models:
        raise InvalidModel(f"no model given, and {folder} holds none: train one with charrnn train FILE -o MODEL")
    return models[0]
