"""The errors charrnn raises, one small hierarchy. It knows nothing of where they are raised.

Every message says what was wrong, where (byte, option, path) and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping


class CharRNNError(Exception):
    """The parent of every error that charrnn raises on purpose."""


class InvalidCorpus(CharRNNError):
    """A text that cannot be learned from: not UTF-8, empty, missing, too short for the options."""


class InvalidOptions(CharRNNError):
    """Options that are unknown, out of range or do not fit together or the text.

    `fields` maps each option's name to what is wrong with it.
    """

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class InvalidModel(CharRNNError):
    """A model or checkpoint file that is missing, damaged, hostile or not one of ours."""


class WouldOverwrite(CharRNNError):
    """A file is already there and nobody said that it may be replaced."""


class TrainingFailed(CharRNNError):
    """The training process ended without a model: its last words are in the message."""
