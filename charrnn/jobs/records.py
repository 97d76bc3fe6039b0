"""What the store hands out and takes in: plain, frozen records. They know nothing of databases.

Times are timezone-aware and UTC, by the database's clock. Losses are nats per character, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from charrnn.jobs.status import ACTIVE, Status


@dataclass(frozen=True)
class CorpusFacts:
    """What is known of a model's text."""

    name: str  # of the file that was handed over
    bytes: int
    characters: int
    distinct: int
    vocabulary_size: int
    sha256: str  # of the text
    ids_sha256: str  # of the ids file, so that a copy of it can be checked
    ids_bytes: int
    text_key: str  # where it lies in the storage; every attached text has keys of its own, so none is half replaced
    ids_key: str
    unknown: int = 0  # characters of the text that are not in the vocabulary
    commonest: list[tuple[str, int]] = field(default_factory=list)  # characters, and how often each occurs
    warnings: list[str] = field(default_factory=list)
    preview: str = ""

    def to_json(self) -> dict[str, Any]:
        """The facts as a JSON object, whose lists are those of the facts: not to be changed."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CorpusFacts:
        """The facts that `to_json` made."""
        commonest = [(character, times) for character, times in data["commonest"]]
        return cls(**dict(data) | {"commonest": commonest})


@dataclass(frozen=True)
class ModelRecord:
    """One model as the database has it at one moment."""

    id: str  # a ULID in lower case: a newer model's is higher
    name: str
    owner: str  # '' is the person at this machine
    status: Status
    options: dict[str, Any]  # training options as they were given
    sampling: dict[str, Any]  # sampling options as they were given
    corpus: CorpusFacts | None
    corpus_bytes: int  # that count against the owner's quota
    parent_id: str | None  # the model it was forked from, which may have been deleted since
    step: int
    progress: float | None  # 0 to 1
    epoch: float | None
    loss: float | None
    validation_loss: float | None
    best_validation_loss: float | None
    seconds: float  # of training so far
    seconds_left: float | None
    characters_per_second: float | None
    error: str | None
    attempt: int  # how often it was claimed
    deaths: int  # workers that died in a row without any progress
    worker_host: str | None
    worker_pid: int | None
    lease_until: datetime | None
    stop_requested: int  # 0, 1: save and end, 2: end at once
    checkpoint: str | None  # storage key
    model_file: str | None  # storage key
    queued_at: datetime | None
    started_at: datetime | None  # these two since it was last queued
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def active(self) -> bool:
        """Whether it is queued or running."""
        return self.status in ACTIVE

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object, with times in ISO 8601. What is in it is the record's own: not to be changed.

        (Copies would take longer than all else that it takes to answer with a page of models.)
        """
        values = {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(self).items()
        }
        return {**values, "corpus": None if self.corpus is None else self.corpus.to_json()}


@dataclass(frozen=True)
class Page:
    """Some models, newest first. `next` is what to ask the next page after; None: there is none.

    `total` counts all that fit the filters and is `exact` up to 1,000; beyond, it stays 1,000: "1000+".
    """

    models: list[ModelRecord]
    next: str | None
    total: int
    exact: bool


@dataclass(frozen=True)
class LogLine:
    """One line of a model's log. Positions count from 0 and have no gaps."""

    position: int
    created_at: datetime
    text: str


@dataclass(frozen=True)
class Metric:
    """One point of the curves."""

    step: int
    seconds: float | None = None
    epoch: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    learning_rate: float | None = None
    characters_per_second: float | None = None


@dataclass(frozen=True)
class Sample:
    """What the model wrote at a step."""

    step: int
    text: str


@dataclass(frozen=True)
class Limits:
    """How much of something there may be: of an owner, of all from one origin, and of all from anywhere together.

    An origin is an account that is charged along with the owner's, such as the address that a visitor comes from.
    None is no limit.
    """

    owner: int | None = None
    origin: int | None = None
    together: int | None = None


NO_LIMIT = Limits()


@dataclass(frozen=True)
class Position:
    """How far somebody has followed what happens to a model: the last log line, and the steps of the last metric and
    the last sample, of an attempt. -1: none yet."""

    attempt: int = 0
    log: int = -1
    metric: int = -1
    sample: int = -1

    def as_of(self, record: ModelRecord) -> Position:
        """The position as it counts for the model as it is now.

        An attempt that goes on from a checkpoint, or starts over, replaces what those before it told of the steps that
        come again: from its first word on, metrics and samples count from the beginning. After a worker's death, that
        is when the model has made some progress again.
        """
        running = record.status == Status.RUNNING
        attempt = record.attempt - 1 if running and record.deaths else record.attempt
        if attempt != self.attempt:
            return Position(attempt, self.log)
        if running:
            before = record.step - 1
            return replace(self, metric=min(self.metric, before), sample=min(self.sample, before))
        return self

    def reaches(self, other: Position) -> bool:
        """Whether all that is before the other position is before this one, too."""
        if self.attempt != other.attempt:
            return self.attempt > other.attempt and self.log >= other.log
        return self.log >= other.log and self.metric >= other.metric and self.sample >= other.sample


@dataclass(frozen=True)
class Turn:
    """What is known of a model that runs, or waits for its turn, about the time that it takes."""

    id: str
    status: Status
    queued_at: datetime | None
    options: Mapping[str, Any]
    seconds: float
    seconds_left: float | None


@dataclass(frozen=True)
class Glance:
    """Whether there is anything new about a model shows in these."""

    updated_at: datetime
    place: int | None  # in the queue


@dataclass(frozen=True)
class News:
    """A model at one moment, and what has happened since a position, in order."""

    record: ModelRecord
    place: int | None  # in the queue
    start: Position  # after which it has happened
    lines: list[LogLine]
    metrics: list[Metric]
    samples: list[Sample]
    full: bool  # there may be more of it

    @property
    def position(self) -> Position:
        """The position of the last of it."""
        return Position(
            self.start.attempt,
            self.lines[-1].position if self.lines else self.start.log,
            self.metrics[-1].step if self.metrics else self.start.metric,
            self.samples[-1].step if self.samples else self.start.sample,
        )

    def beyond(self, position: Position) -> News:
        """What of it has happened after a position."""
        position = position.as_of(self.record)
        return replace(
            self,
            start=position,
            lines=[line for line in self.lines if line.position > position.log],
            metrics=[metric for metric in self.metrics if metric.step > position.metric],
            samples=[sample for sample in self.samples if sample.step > position.sample],
        )


@dataclass(frozen=True)
class Claim:
    """The right to write to a model, as long as its attempt is this one."""

    model_id: str
    attempt: int


@dataclass
class Delivery:
    """What a worker has to say since its last word. To deliver it twice is the same as once."""

    lines: list[tuple[int, str]] = field(default_factory=list)  # position, text
    metrics: list[Metric] = field(default_factory=list)
    samples: list[tuple[int, str]] = field(default_factory=list)  # step, text
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the model; see claims.DELIVERED


@dataclass(frozen=True)
class SupervisorRecord:
    """A supervisor that has been heard of."""

    id: str
    host: str
    pid: int
    max_running: int
    seen_at: datetime
