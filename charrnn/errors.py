"""The errors charrnn raises, one small hierarchy. It knows nothing of where they are raised.

Every message says what was wrong, where (byte, option, path) and what would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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


class NoText(InvalidCorpus):
    """The model has no text yet."""


class NothingLearned(InvalidModel):
    """The model has learned nothing yet: there is nothing to write with, or to begin with."""


class WouldOverwrite(CharRNNError):
    """A file is already there and nobody said that it may be replaced."""


class InvalidBackup(CharRNNError):
    """What should be a copy of a workspace is none, or not the whole of one."""


class TrainingFailed(CharRNNError):
    """The training process ended without a model: its last words are in the message."""


class InvalidSettings(CharRNNError):
    """A setting that cannot be used; the message names its environment variable."""


class ModelNotFound(CharRNNError):
    """There is no model with that id or name, or none that this user may see."""


class AmbiguousName(CharRNNError):
    """Several models have that name. `candidates` are their ids, newest first."""

    def __init__(self, message: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.candidates = list(candidates)


class InvalidTransition(CharRNNError):
    """What was asked for cannot be done with a model in this status; nothing was changed."""


class NotAllowed(CharRNNError):
    """The user may see this model, but may not change it."""


class QuotaExceeded(CharRNNError):
    """A limit of this user is reached. `seconds` until it frees by itself; None: something has to be done for it."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


class TooLarge(QuotaExceeded):
    """What was handed over has more bytes than there is room for."""


class DatabaseUnavailable(CharRNNError):
    """The database does not answer. What was asked for may be asked again."""


class DatabaseOutdated(CharRNNError):
    """The database's tables are those of an older charrnn, or there are none yet."""


class DatabaseTooNew(CharRNNError):
    """The database's tables are those of a newer charrnn than this one."""


class StorageUnavailable(CharRNNError):
    """Files cannot be written to or read from the storage: it does not answer, refuses or is full."""


class FileNotInStorage(CharRNNError):
    """The storage has no such file."""


class Fenced(CharRNNError):
    """The model is another worker's by now: whoever gets this writes nothing more and ends."""
