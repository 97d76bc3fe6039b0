"""What the process that trains is told: one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """Where the text's ids lie, where model and checkpoint go, and everything that was chosen."""

    ids_path: str
    model_path: str
    checkpoint_path: str
    options: dict[str, Any]  # resolved
    segments: list[dict[str, Any]]  # of the schedule
    resume: bool  # from the checkpoint
    source_name: str
    validation_characters: int  # most that a validation may read
    parent_path: str | None = None  # a model whose weights it begins with

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
