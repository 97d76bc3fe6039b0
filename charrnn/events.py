"""What a training run reports while it goes on: typed events, the same for the terminal, the widgets and the jobs.

It knows how events look and how they travel as JSON lines. It does not know who sends or who listens.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """The parent of all events. `step` counts optimizer steps from the very beginning of the training."""

    step: int


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The first step is about to run (again): everything that was `auto` is now a number."""

    options: dict[str, Any]  # resolved training options
    characters: int  # of the whole text
    vocabulary_size: int  # ids, the unknown included
    train_characters: int
    validation_characters: int
    parameters: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far it is. Rates are of the time since the last Progress; `loss` is their mean."""

    progress: float  # 0 to 1, the largest used fraction of the budgets given
    epoch: float
    loss: float  # training loss, nats per character
    learning_rate: float
    characters_per_second: float
    seconds: float  # of training so far
    seconds_left: float | None  # None: until stopped


@dataclass(frozen=True, slots=True)
class Validated(Event):
    """The validation part was scored."""

    loss: float  # nats per character
    best: bool  # the lowest so far
    seconds: float


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """What the model writes now: same prompt and seed each time."""

    text: str


@dataclass(frozen=True, slots=True)
class Saved(Event):
    """A file is complete on disk."""

    path: str
    kind: str  # "checkpoint" or "model"


@dataclass(frozen=True, slots=True)
class Note(Event):
    """A line for people: resumed, memorised, nothing held out, no longer exact …"""

    text: str


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The run is over and the model is saved. `finished` is False when it was interrupted."""

    finished: bool
    reason: str  # "budget", "memorised", "stopped" (a run without an end) or "interrupted"
    loss: float | None  # last training loss, nats per character
    validation_loss: float | None  # of the saved weights, nats per character
    seconds: float


_KINDS: dict[str, type[Event]] = {
    kind.__name__.lower(): kind for kind in (Started, Progress, Validated, Sampled, Saved, Note, Finished)
}


def to_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object with its kind under `event`."""
    return {"event": type(event).__name__.lower(), **dataclasses.asdict(event)}


def from_json(data: dict[str, Any]) -> Event:
    """The event that `to_json` made. Raises ValueError for a kind that does not exist."""
    fields = dict(data)
    kind = _KINDS.get(str(fields.pop("event", None)))
    if kind is None:
        raise ValueError(f"{data.get('event')!r} is no kind of event; kinds are {', '.join(sorted(_KINDS))}")
    return kind(**fields)
