"""One attempt at a training: what it begins from, what it tells, and which files it publishes.

It knows the storage, the process that trains, and how an event becomes a line, a point or a figure. It does not know
the database: what is told goes to a courier.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from charrnn.errors import InvalidCorpus, StorageUnavailable
from charrnn.events import Event, Finished, Progress, Sampled, Saved, Started, Validated
from charrnn.jobs.courier import Courier
from charrnn.jobs.records import ModelRecord
from charrnn.lines import PROGRESS_EVERY, Lines
from charrnn.network.options import TrainingOptions
from charrnn.storage import Storage, model_key
from charrnn.training.process import TrainingProcess, run_ids

FIELDS = {"checkpoint": "checkpoint", "model": "model_file"}  # kind of a file: the field that says which is current
LEFT_AT_MOST = 20  # attempts in a row that ended before any of them could tidy up
LEAST_BETWEEN_POINTS = 0.5, 0.01  # seconds, and share of the training so far: a curve needs no more


class Attempt:
    """The attempt that a record is of."""

    def __init__(self, storage: Storage, record: ModelRecord, courier: Courier) -> None:
        self.storage, self.record, self.courier, self.outbox = storage, record, courier, courier.outbox
        self.published: set[str] = set()
        self.left_by_others = {kind: self._keys_of_others(kind) for kind in FIELDS}

    def run(self, started: Callable[[TrainingProcess], None]) -> Finished:
        """Train to the end; `started` is called with the process.

        Raises what the training raises, StorageUnavailable, FileNotInStorage, and Fenced.
        """
        corpus, checkpoint, parent = self.record.corpus, self.record.checkpoint, None
        if corpus is None:
            raise InvalidCorpus("this model has no text to learn")
        options = TrainingOptions.parse(self.record.options)
        self.every_step = options.log_every is not None  # someone who says how often wants every line and point
        self.lines = Lines(0.0 if self.every_step else PROGRESS_EVERY)
        self.last_point = float("-inf")  # in seconds of training
        self.left_out: Progress | None = None  # the newest point, if it came too soon after the one before
        with self.storage.scratch(f"models/{self.record.id}") as folder:
            self.folder = folder
            ids = self.storage.get(corpus.ids_key, folder, sha256=corpus.ids_sha256, size=corpus.ids_bytes)
            if checkpoint is not None:
                another_name(self.storage.get(checkpoint, folder), folder / "model.checkpoint.safetensors")
            elif self.record.parent_id is not None:
                parent = self.storage.get(model_key(self.record.id, "parent.safetensors"), folder)
            return run_ids(
                ids, options, output=folder / "model.safetensors", source_name=corpus.name, parent=parent,
                resume=checkpoint is not None, callback=self._hear, started=started,
            )  # fmt: skip

    def _hear(self, event: Event) -> None:
        self.courier.check()
        match event:
            case Started():
                self.outbox.set(step=event.step)
            case Progress():
                self._progress(event)
            case Validated():
                self.outbox.set(validation_loss=event.loss)
                if event.best:
                    self.outbox.set(best_validation_loss=event.loss)
                self.outbox.metric(event.step, seconds=event.seconds, validation_loss=event.loss)
            case Sampled():
                self.outbox.sample(event.step, event.text)
            case Saved():
                self._publish(event)
                event = Saved(event.step, "a checkpoint", event.kind)
            case Finished():
                if self.left_out is not None:
                    self._point(self.left_out)
                self.outbox.set(step=event.step, seconds=event.seconds, seconds_left=None)
        if line := self.lines.line(event):
            self.outbox.line(line, can_be_spared=isinstance(event, Progress))

    def _progress(self, event: Progress) -> None:
        self.outbox.set(
            step=event.step, progress=event.progress, epoch=event.epoch, loss=event.loss, seconds=event.seconds,
            seconds_left=event.seconds_left, characters_per_second=event.characters_per_second,
        )  # fmt: skip
        seconds, share = LEAST_BETWEEN_POINTS
        too_soon = event.seconds - self.last_point < max(seconds, share * event.seconds)
        if too_soon and not self.every_step and event.progress < 1:
            self.left_out = event
        else:
            self._point(event)

    def _point(self, event: Progress) -> None:
        self.last_point, self.left_out = event.seconds, None
        self.outbox.metric(
            event.step, seconds=event.seconds, epoch=event.epoch, train_loss=event.loss,
            learning_rate=event.learning_rate, characters_per_second=event.characters_per_second,
        )  # fmt: skip

    # files -----------------------------------------------------------------------------------------------------------

    def _publish(self, event: Saved) -> None:
        """Put a file into the storage under this attempt's name, for the model's row to point to.

        First all that was told before is delivered: whoever goes on from this file will not tell it again.
        """
        self.courier.flush()
        copy, key = self.folder / f"published.{event.kind}", self._key(event.kind, self.record.attempt)
        another_name(Path(event.path), copy)  # the training may replace its own meanwhile
        self.storage.put(copy, key, move=True)
        self.published.add(event.kind)
        self.outbox.set(**{FIELDS[event.kind]: key})
        if FIELDS[event.kind] in self.courier.arrived_fields:
            self._delete(event.kind)

    def delete_what_others_left(self) -> None:
        """Delete the files of earlier attempts that this one has replaced. The row must point to its own by now."""
        for kind in self.published:
            self._delete(kind)

    def withdraw(self, current: ModelRecord) -> None:
        """Delete what this attempt published when the model was another's already: `current` does not point to it."""
        for kind in self.published:
            key = self._key(kind, self.record.attempt)
            if getattr(current, FIELDS[kind]) != key:
                self.storage.delete(key)

    def _delete(self, kind: str) -> None:
        with suppress(StorageUnavailable):  # then the next attempt does
            self.storage.delete(*self.left_by_others.pop(kind, []))

    def _keys_of_others(self, kind: str) -> list[str]:
        """The names under which earlier attempts may have published a file, also without having said so."""
        first = max(1, self.record.attempt - LEFT_AT_MOST)
        keys = {self._key(kind, attempt) for attempt in range(first, self.record.attempt)}
        current = getattr(self.record, FIELDS[kind])
        return sorted(keys | {current} - {None})

    def _key(self, kind: str, attempt: int) -> str:
        return model_key(self.record.id, f"{kind}-{attempt}.safetensors")


def another_name(path: Path, name: Path) -> None:
    """Give a file a second name, or a copy where there are no links. Neither changes when the other is replaced."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, name)
