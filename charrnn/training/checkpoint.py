"""A checkpoint: everything a training needs to go on exactly where it was, in one file.

It knows the names under which weights, moments, states and the best weights lie in the file. It does not know how any
of them is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import InvalidModel
from charrnn.network.file import read_tensors, write_tensors

KIND = "checkpoint"
_REQUIRED = (
    "options", "vocabulary", "record", "segments", "position", "environment", "source_sha256", "validation_characters",
)  # fmt: skip

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """Arrays by group: `weights`, `means` and `squares` (Adam's moments), `state`, and `best`, which may be empty.

    `metadata` is JSON: resolved options, vocabulary, training record, segments of the schedule, position (step,
    seconds, updates, the running sum of the epoch's losses), environment, what the text was, and how much of it a
    validation reads.
    """

    groups: Mapping[str, Arrays]
    metadata: Mapping[str, Any]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        tensors = {f"{group}/{name}": array for group, arrays in self.groups.items() for name, array in arrays.items()}
        write_tensors(path, tensors, {"kind": KIND, **self.metadata})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Raises InvalidModel for a file that is damaged or something else."""
        tensors, metadata = read_tensors(path, kind=KIND)
        missing = [name for name in _REQUIRED if name not in metadata]
        if missing:
            raise InvalidModel(f"{path} has no {', '.join(missing)}; it is not a checkpoint that charrnn wrote")
        groups: dict[str, dict[str, Any]] = {"weights": {}, "means": {}, "squares": {}, "state": {}, "best": {}}
        for name, array in tensors.items():
            group, _, rest = name.partition("/")
            if group not in groups or not rest:
                raise InvalidModel(f"{path} holds an array {name!r}, which no checkpoint has")
            groups[group][rest] = array
        return cls(groups, metadata)


def checkpoint_path(model_path: Path) -> Path:
    """X.checkpoint.safetensors beside X.safetensors."""
    return model_path.with_name(model_path.name.removesuffix(".safetensors") + ".checkpoint.safetensors")
