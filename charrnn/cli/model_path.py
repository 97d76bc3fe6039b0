"""Which file a user means by a model: the file itself, a folder that holds one, or the model in the package.

It knows names of files, and tells those of the original TensorFlow program apart to say why they are refused.
"""

from __future__ import annotations

from pathlib import Path

from charrnn.errors import InvalidModel

MODEL_IN_FOLDER = "model.safetensors"
ORIGINAL_SUFFIXES = (".ckpt", ".meta", ".index", ".pkl", ".pickle", ".pb", ".h5", ".keras")


def find_model(path: Path) -> Path:
    """The model file that `path` (a file, or a folder with one model) stands for.

    Raises InvalidModel where there is none, or only what the original TensorFlow program saved.
    """
    if path.is_dir():
        return _model_in(path)
    if _is_original(path):
        raise InvalidModel(_not_readable(path))
    if not path.exists():
        raise InvalidModel(f"{path} does not exist: give the .safetensors file that charrnn train -o wrote")
    return path


def is_file(model: str) -> bool:
    """Whether a user means a file or folder by this, and not a model of the workspace by its name or id."""
    path = Path(model)
    return path.suffix == ".safetensors" or path.exists() or _is_original(path)


def _model_in(folder: Path) -> Path:
    if (folder / MODEL_IN_FOLDER).exists():
        return folder / MODEL_IN_FOLDER
    models = [path for path in folder.glob("*.safetensors") if not path.name.endswith(".checkpoint.safetensors")]
    if len(models) == 1:
        return models[0]
    if models:
        names = ", ".join(sorted(path.name for path in models))
        raise InvalidModel(f"{folder} holds {len(models)} models: name one of {names}")
    originals = sorted(path for path in folder.iterdir() if _is_original(path))
    if originals:
        raise InvalidModel(_not_readable(originals[0]))
    raise InvalidModel(f"{folder} holds no model: {folder / MODEL_IN_FOLDER} is missing")


def _is_original(path: Path) -> bool:
    """Whether it is a file of the original program: a TensorFlow checkpoint (also its prefix) or a pickle."""
    if path.name == "checkpoint" or path.suffix in ORIGINAL_SUFFIXES or ".data-0000" in path.name:
        return True
    return not path.exists() and path.with_name(path.name + ".index").exists()


def _not_readable(path: Path) -> str:
    return (
        f"{path} was saved by another program (a TensorFlow checkpoint or a pickle), which charrnn does not read: a "
        "pickle may run any code, and a checkpoint lacks the vocabulary. Train on the text again, as in "
        "charrnn train --input_file TEXT --name NAME, and give the model.safetensors it writes"
    )
