"""The one facade of every front end: models by name, their texts, their training in the background, writing with them.

It knows who may do what, and in which order database and storage are changed so that neither is ever left half done.
It does not know SQL, where files lie, or how a network learns or writes: jobs, storage, text and network do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from charrnn import child, choices
from charrnn.choices import NAME_LENGTH, checked_name
from charrnn.errors import (
    AmbiguousName,
    CharRNNError,
    FileNotInStorage,
    InvalidCorpus,
    InvalidModel,
    InvalidOptions,
    InvalidTransition,
    ModelNotFound,
    NotAllowed,
    NoText,
    NothingLearned,
    StorageUnavailable,
    WouldOverwrite,
)
from charrnn.jobs.records import (
    CorpusFacts,
    Glance,
    LogLine,
    Metric,
    ModelRecord,
    News,
    Page,
    Position,
    Sample,
    SupervisorRecord,
)
from charrnn.jobs.status import Status
from charrnn.lines import printable
from charrnn.loaded import LoadedModels
from charrnn.policy import Policy
from charrnn.received import Incoming, Source, receive, refuse_more, shown_name, without_path
from charrnn.storage import model_key

if TYPE_CHECKING:
    from charrnn.config import Settings
    from charrnn.jobs.store import Store
    from charrnn.jobs.supervisor import Supervisor
    from charrnn.jobs.waiting import Waiting
    from charrnn.network.evaluate import Evaluation, Score
    from charrnn.network.model import Model, Prediction
    from charrnn.network.options import TrainingOptions
    from charrnn.network.sampling import SamplingOptions
    from charrnn.storage import Storage
    from charrnn.text.copies import Copy
    from charrnn.text.guesses import Guesses
    from charrnn.text.report import TextReport

__all__ = [
    "CorpusFacts", "LogLine", "Metric", "ModelRecord", "News", "Page", "Policy", "Position", "Sample", "Status",
    "Workspace",
]  # fmt: skip

PAGE_LIMIT = 200  # models
ROWS_LIMIT = 10_000  # log lines, metrics or samples in one answer
FOLLOW_EVERY = 0.5  # seconds between two looks at a log
PARENT = "parent.safetensors"
LARGE_TEXT = 2_000_000  # bytes from which a text is read in by another process: this one may have other things to do
INCOMING = "incoming"  # where what still comes in is written
IMPORTED = "model-0.safetensors"  # before any attempt
_MOVES = 5  # how often a model file may be replaced while it is looked for


class _Shared:
    """What the workspaces of all people of one process have in common, opened at first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = LoadedModels(settings.model_cache)
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._storage: Storage | None = None
        self.supervisor: subprocess.Popen[bytes] | None = None  # if one was started from here

    @property
    def store(self) -> Store:
        with self._lock:
            if self._store is None:
                from charrnn.jobs.database import Database
                from charrnn.jobs.store import Store

                settings = self.settings
                url = settings.database_url.get_secret_value()
                database = Database(url, tls=settings.database_tls, ca=settings.database_tls_ca)
                database.prepare()
                self._store = Store(database)
            return self._store

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.database.close()

    @property
    def storage(self) -> Storage:
        with self._lock:
            if self._storage is None:
                from charrnn.storage import Storage

                self._storage = Storage(self.settings.storage_url)
            return self._storage


class Workspace:
    """Models, as one person sees them. Any number of threads may use it.

    `user` None is whoever sits at this machine: no limits, and everything may be seen and changed. Otherwise `policy`
    (by default as configured) says what the person may do. Settings come from the environment, `overrides` such as
    `database_url` go before it; with neither, everything lies in the user's data folder. Nothing is opened before it
    is needed.

    Every method that takes the id of a model raises ModelNotFound for one that is not there or not to be seen,
    NotAllowed for one that belongs to another, and DatabaseUnavailable or StorageUnavailable when these do not answer.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        policy: Policy | None = None,
        settings: Settings | None = None,
        **overrides: Any,
    ) -> None:
        if settings is None:
            from charrnn.config import Settings

            settings = Settings(**overrides)
        elif overrides:
            raise TypeError("give settings or single overrides, not both")
        self._enter(_Shared(settings), user, policy or Policy.from_settings(settings))

    def _enter(self, shared: _Shared, user: str | None, policy: Policy, origin: str | None = None) -> None:
        if user is not None and not 0 < len(user) <= NAME_LENGTH:
            raise NotAllowed(f"a user needs a name of 1 to {NAME_LENGTH} characters")
        self.user, self.policy, self._origin = user, policy, origin
        self._limits = policy.of(user)
        self._shared = shared

    def as_user(self, user: str | None, policy: Policy | None = None, *, origin: str | None = None) -> Workspace:
        """The same models in the eyes of another person. Connections and loaded models are shared.

        `origin` is an account that is charged along with the person's, such as the address that they come from.
        """
        other = object.__new__(Workspace)
        other._enter(self._shared, user, policy or self.policy, origin)
        return other

    def close(self) -> None:
        """Close the connections to the database, of all workspaces that share them; the next use opens new ones."""
        self._shared.close()

    @property
    def settings(self) -> Settings:
        """As they were resolved when the workspace was made."""
        return self._shared.settings

    @property
    def _store(self) -> Store:
        return self._shared.store

    @property
    def _storage(self) -> Storage:
        return self._shared.storage

    def __repr__(self) -> str:
        return "<charrnn.Workspace" + ("" if self.user is None else f" of {self.user!r}") + ">"

    # -- models ------------------------------------------------------------------------------------------------------

    def create(
        self, name: str, source: Source | Incoming | None = None, *, sample: str | None = None, start: bool = False,
        progress: Callable[[float], None] | None = None, **options: Any,
    ) -> ModelRecord:  # fmt: skip
        """A new model with a name, training options and the text it will learn, which can be given later (`attach`).

        Names need not be unique. `start`: queue it for training at once. Raises InvalidOptions, InvalidCorpus and
        QuotaExceeded, and InvalidTransition when it cannot be started; then there is no new model.
        """
        wanted = self._merged({}, options)
        record = self._new(checked_name(name), options=wanted)
        with self._deleted_on_error(record):
            if source is not None or sample is not None:
                record = self.attach(record.id, source, sample=sample, progress=progress)
            return self.start(record.id) if start else record

    def _new(self, name: str, **values: Any) -> ModelRecord:
        limit = self._limits.shared(self._limits.max_models)
        return self._store.create(name, self.user or "", origin=self._origin, max_models=limit, **values)

    def get(self, id: str) -> ModelRecord:
        """The model with this id, as it is now."""
        return self._seen(self._store.get(id))

    def sees(self, record: ModelRecord) -> bool:
        """Whether this person may look at the model."""
        return self.policy.may_see(self.user, record.owner)

    def owns(self, record: ModelRecord) -> bool:
        """Whether this person may train, rename and delete the model."""
        return self.policy.may_change(self.user, record.owner)

    def _seen(self, record: ModelRecord) -> ModelRecord:
        if not self.sees(record):
            raise ModelNotFound(f"there is no model {record.id!r}")
        return record

    def find(self, name_or_id: str) -> ModelRecord:
        """The model with this id or exactly this name; one's own before another's.

        Raises ModelNotFound, and AmbiguousName listing those to choose from.
        """
        found = self._store.find(name_or_id, owner=self.user or "")
        if not found:
            others = self._store.find(name_or_id)
            found = [record for record in others if self.sees(record)]
        if not found:
            raise ModelNotFound(f"there is no model called {name_or_id!r}")
        if len(found) > 1:
            when = "%Y-%m-%d %H:%M UTC"
            choice = ", ".join(f"{each.id} ({each.status}, made {each.created_at:{when}})" for each in found)
            ids = [each.id for each in found]
            raise AmbiguousName(f"{len(found)} models are called {name_or_id!r}; say which by its id: {choice}", ids)
        return found[0]

    def list(
        self, *, status: Status | str | None = None, prefix: str | None = None, after: str | None = None,
        limit: int = 50,
    ) -> Page:  # fmt: skip
        """Models, newest first: those in a status, or whose names begin with `prefix`. `after` is `next` of the page
        before. Raises InvalidOptions for a status that does not exist."""
        try:
            wanted = None if status is None else Status(status)
        except ValueError:
            problem = f"must be one of {', '.join(Status)}, not {str(status)[:40]!r}"
            raise InvalidOptions(f"status: {problem}", {"status": problem}) from None
        owner = None if self.policy.privacy == "everybody" or self.policy.trusts(self.user) else self.user
        limit = min(max(1, limit), PAGE_LIMIT)
        return self._store.page(owner=owner, status=wanted, prefix=prefix or None, after=after, limit=limit)

    def rename(self, id: str, name: str) -> ModelRecord:
        """Raises InvalidOptions for a name that cannot be."""
        self._own(id)
        return self._store.rename(id, checked_name(name))

    def change(
        self, id: str, *, name: str | None = None, options: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> ModelRecord:  # fmt: skip
        """Another name, other training options and other sampling options at once, as `rename`, `set_options` and
        `set_sampling` do it; nothing is changed when one of them cannot be."""
        record = self._own(id)
        new_name = None if name is None else checked_name(name)
        if sampling:
            choices.merged_sampling(record.sampling, sampling)
        if options:
            record = self._change_options(record, options)
        if sampling:
            record = self.set_sampling(id, **sampling)
        return record if new_name is None else self._store.rename(id, new_name)

    def delete(self, id: str) -> ModelRecord:
        """Remove a model, its text, log and files for good. Raises InvalidTransition while it is queued or running."""
        self._own(id)
        record = self._store.delete(id)
        self._shared.models.forget(id)
        try:
            self._storage.delete_prefix(_folder(id))
        except StorageUnavailable as error:
            raise StorageUnavailable(f"{record.name!r} is deleted, but its files are still there: {error}") from error
        return record

    def _own(self, id: str) -> ModelRecord:
        """The model, if this person may change it."""
        record = self.get(id)
        if not self.owns(record):
            whose = f"belongs to {record.owner!r}" if record.owner else "is not yours"
            raise NotAllowed(f"{record.name!r} {whose}: it can be looked at and forked, not changed")
        return record

    # -- texts and options -------------------------------------------------------------------------------------------

    def attach(
        self,
        id: str,
        source: Source | Incoming | None = None,
        *,
        sample: str | None = None,
        name: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> ModelRecord:
        """Give a model the text it will learn: a path, bytes, an open file of bytes, what `receive_text` has taken in,
        or the name of a sample text.

        `name` is what the text is called, by default its file's name. `progress` is called with the fraction done and
        may raise to give up. A text that was there before is replaced once the new one is whole; when anything goes
        wrong, nothing has changed. Raises InvalidCorpus (with the byte), QuotaExceeded and InvalidTransition.
        """
        record = self._own(id)
        if (source is None) == (sample is None):
            raise InvalidCorpus("give either a text or the name of a sample")
        self._refuse_named_file(source)
        self._refuse_other_text(record)
        with contextlib.ExitStack() as stack:
            if source is None:
                from charrnn.text import samples

                text = stack.enter_context(self._storage.scratch(_folder(id))) / "corpus.txt"
                first, progress = _halves(progress)
                samples.write(str(sample), text, progress=first)
                shown = name or str(sample)
            else:
                room = None if isinstance(source, Incoming) else self._room(record)
                text = stack.enter_context(self._received(source, _folder(id), room, InvalidCorpus))
                shown = name or shown_name(source, "text")
            return self._learn_from(record, text, printable(shown)[:NAME_LENGTH], progress)

    def receive_text(self, id: str | None = None) -> Incoming:
        """A place for a text that comes in bit by bit, to be handed to `attach` with this id, or to `create`.

        What can be refused before anything comes is refused: raises InvalidTransition for a model that keeps its text.
        There is room for `upload_limit` bytes, whoever sends them, and for what is left of a person's texts.
        """
        record = None if id is None else self._own(id)
        if record is not None:
            self._refuse_other_text(record)
        return self._incoming(self._room(record), "text", is_text=True)

    def receive_model(self) -> Incoming:
        """The same for a model file, to be handed to `import_model`."""
        return self._incoming(self._limits.upload_limit, "model", is_text=False)

    def _incoming(self, room: int | None, name: str, *, is_text: bool) -> Incoming:
        limits = [limit for limit in (self.policy.upload_limit, room) if limit is not None]
        return Incoming(self._storage.scratch(INCOMING), min(limits, default=None), name, is_text=is_text)

    @contextlib.contextmanager
    def _received(
        self, source: Source | Incoming, folder: str, room: int | None, refused: type[CharRNNError]
    ) -> Iterator[Path]:
        """What was handed over, as a file in a scratch folder, which is removed at the end."""
        if isinstance(source, Incoming):
            with source:
                refuse_more(room, source.size, source.name)
                yield source.complete()
            return
        with self._storage.scratch(folder) as scratch:
            file = scratch / "received"
            receive(source, file, room, refused)
            yield file

    def _room(self, record: ModelRecord | None) -> int | None:
        """How many bytes a text of this model, or of a new one, may have; the store looks again when it is there."""
        limits = [] if self._limits.upload_limit is None else [self._limits.upload_limit]
        if self._limits.max_text_bytes is not None:
            limit = self._limits.shared(self._limits.max_text_bytes)
            room = self._store.text_room(limit, self.user or "", origin=self._origin, instead_of=record)
            limits += [] if room is None else [room]
        return min(limits, default=None)

    def _refuse_named_file(self, source: object) -> None:
        """What a browser sends is never the name of a file on this machine. A Path is made by a program on purpose."""
        if self.user is not None and isinstance(source, str):
            raise NotAllowed("a file on this machine cannot be named here: give bytes or an open file")

    def _refuse_other_text(self, record: ModelRecord) -> None:
        """Early, before a long upload; the store is asked again when the text is there."""
        if record.active or record.checkpoint is not None or record.model_file is not None:
            raise InvalidTransition(
                f"{record.name!r} is {record.status} and keeps its text; a fork goes on with another one"
            )

    def _learn_from(
        self, record: ModelRecord, text: Path, shown: str, progress: Callable[[float], None] | None = None
    ) -> ModelRecord:
        """Make `text`, a file in a scratch folder of the model, its text. The file is moved."""
        ids, keys = text.with_name("corpus.ids"), _new_keys(record.id)
        facts = self._ingest(record, choices.parsed(record.options), text, ids, shown, keys, progress)
        with self._removed_on_error(*keys):
            self._storage.put(text, facts.text_key, move=True)
            self._storage.put(ids, facts.ids_key, move=True)
            former = self._store.get(record.id).corpus
            changed = self._store.set_corpus(record.id, facts, limit=self._limits.shared(self._limits.max_text_bytes))
        if former is not None:
            self._discard(former.text_key, former.ids_key)
        return changed

    def _ingest(
        self, record: ModelRecord, options: TrainingOptions, text: Path, ids: Path, shown: str,
        keys: tuple[str, str], progress: Callable[[float], None] | None = None,
    ) -> CorpusFacts:  # fmt: skip
        """Write the ids of `text`, in the characters of the model's parent if it has one."""
        from charrnn.text.apart import ingest_apart
        from charrnn.text.corpus import ingest

        vocabulary = None
        if record.parent_id is not None:
            with self._local(model_key(record.id, PARENT)) as parent:
                vocabulary = _load(parent).vocabulary
        read_in = ingest_apart if text.stat().st_size > LARGE_TEXT else ingest
        try:
            corpus = read_in(
                text, ids, max_vocab=options.max_vocab, whitelist=options.whitelist, vocabulary=vocabulary,
                extend=vocabulary is not None, progress=progress,
            )  # fmt: skip
        except (InvalidCorpus, InvalidOptions) as error:
            raise without_path(error, text, shown) from None
        report = corpus.report()
        return CorpusFacts(
            name=shown, bytes=corpus.source_bytes, characters=report.characters, distinct=report.distinct,
            vocabulary_size=report.vocabulary_size, sha256=corpus.source_sha256, ids_sha256=_sha256(ids),
            ids_bytes=ids.stat().st_size, text_key=keys[0], ids_key=keys[1], unknown=report.unknown,
            commonest=[*report.commonest], warnings=[*report.warnings], preview=report.preview,
        )  # fmt: skip

    @contextlib.contextmanager
    def _removed_on_error(self, *keys: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._discard(*keys)
            raise

    def _discard(self, *keys: str) -> None:
        """Delete files that nothing points to any more. What cannot be deleted now goes with the model."""
        with contextlib.suppress(StorageUnavailable):
            self._storage.delete(*keys)

    def report(self, id: str) -> TextReport:
        """What a person should know about a model's text before it is learned. Raises NoText without one."""
        from charrnn.text.report import TextReport

        record = self.get(id)
        facts = record.corpus
        if facts is None:
            raise NoText(f"{record.name!r} has no text")
        return TextReport(
            facts.characters, facts.distinct, facts.vocabulary_size, facts.unknown,
            tuple((character, count) for character, count in facts.commonest), facts.preview, tuple(facts.warnings),
        )  # fmt: skip

    def set_options(self, id: str, **options: Any) -> ModelRecord:
        """Change training options; None puts one back to its default. One budget replaces all former budgets.

        Once training has begun only its budget may change. Raises InvalidOptions, InvalidTransition, QuotaExceeded.
        """
        return self._change_options(self._own(id), options)

    def _change_options(self, record: ModelRecord, options: Mapping[str, Any]) -> ModelRecord:
        if record.active:
            raise InvalidTransition(f"{record.name!r} is {record.status}: its options can change when it has stopped")
        changed = self._merged(record.options, options, spent=record.seconds / 60)
        if record.checkpoint is not None:
            choices.refuse_all_but_budget(record.options, changed)
        elif record.corpus is not None and choices.other_characters(record.options, changed):
            with self._other_ids(record, changed) as facts:
                self._store.set_corpus(record.id, facts, instead_of=record.corpus)
        return self._store.set_options(record.id, changed)

    @contextlib.contextmanager
    def _other_ids(self, record: ModelRecord, options: Mapping[str, Any]) -> Iterator[CorpusFacts]:
        """The model's text with ids for other characters, which take the place of the former at the end."""
        former = record.corpus
        assert former is not None
        with self._storage.scratch(_folder(record.id)) as scratch, self._local(former.text_key) as text:
            ids, keys = scratch / "corpus.ids", (former.text_key, _new_keys(record.id)[1])
            facts = self._ingest(record, choices.parsed(options), text, ids, former.name, keys)
            with self._removed_on_error(facts.ids_key):
                self._storage.put(ids, facts.ids_key, move=True)
                yield facts
        self._discard(former.ids_key)

    def set_sampling(self, id: str, **sampling: Any) -> ModelRecord:
        """Change the sampling options that this model writes with when none are given. Raises InvalidOptions."""
        record = self._own(id)
        return self._store.set_sampling(id, choices.merged_sampling(record.sampling, sampling))

    def _merged(self, stored: Mapping[str, Any], given: Mapping[str, Any], spent: float = 0.0) -> dict[str, Any]:
        """Both, if the policy allows it. `spent`: minutes of training before."""
        options = choices.merged(stored, given, files=self.user is None)
        self._limits.within_budget(options, spent)
        return options

    # -- training ----------------------------------------------------------------------------------------------------

    def start(self, id: str, **options: Any) -> ModelRecord:
        """Queue a model for training, or to go on where it stopped; one that waits or runs already, with these options,
        stays as it is.

        Raises InvalidTransition without a text or when it is complete, InvalidOptions and QuotaExceeded.
        """
        record = self._own(id)
        self._refuse_without_text(record, "trained")
        if record.status == Status.COMPLETE:
            raise InvalidTransition(f"{record.name!r} is complete: continue it with a larger budget, or start it over")
        if record.active and choices.merged(record.options, options, files=self.user is None) == record.options:
            return record  # whoever did not hear that it was started may say it again
        if options:
            record = self._change_options(record, options)
        return self._enqueue(record, record.options)

    def _enqueue(self, record: ModelRecord, options: Mapping[str, Any]) -> ModelRecord:
        allowed = self._limits.within_budget(options, spent=record.seconds / 60)
        return self._store.enqueue(record.id, options=allowed, max_queued=self._limits.shared(self._limits.max_queued))

    def stop(self, id: str) -> ModelRecord:
        """Take a model out of the queue, or have its training save and end; a second time, end at once."""
        self._own(id)
        return self._store.request_stop(id)

    def continue_(
        self, id: str, *, minutes: float | None = None, max_steps: int | None = None, max_epochs: float | None = None
    ) -> ModelRecord:
        """Queue a model that was trained for more of it: all numbers are in addition to what was done.

        Raises InvalidTransition when there is nothing to go on from or it runs, InvalidOptions and QuotaExceeded.
        """
        record = self._own(id)
        given = {"minutes": minutes, "max_steps": max_steps, "max_epochs": max_epochs}
        more = {name: value for name, value in given.items() if value is not None}
        if not more:
            raise InvalidOptions("say how much more: minutes, max_steps or max_epochs")
        choices.parsed(more)
        if record.active:
            raise InvalidTransition(f"{record.name!r} is {record.status}: stop it first")
        self._refuse_without_text(record, "continued")
        if record.checkpoint is None:
            raise InvalidTransition(f"{record.name!r} has not learned anything yet: start it")
        done = {"minutes": record.seconds / 60, "max_steps": record.step, "max_epochs": record.epoch or 0.0}
        total = {name: done[name] + value for name, value in more.items()}
        return self._enqueue(record, self._merged(record.options, total, spent=record.seconds / 60))

    def start_over(self, id: str, **options: Any) -> ModelRecord:
        """Forget what a model has learned and queue it anew, with its text. The log stays.

        Raises InvalidTransition, InvalidOptions and QuotaExceeded.
        """
        record = self._own(id)
        if record.active:
            raise InvalidTransition(f"{record.name!r} is {record.status}: stop it first")
        self._refuse_without_text(record, "started over")
        wanted = self._limits.within_budget(self._merged(record.options, options))
        corpus: AbstractContextManager[CorpusFacts | None] = contextlib.nullcontext()
        if choices.other_characters(record.options, wanted):
            corpus = self._other_ids(record, wanted)
        with corpus as facts:
            started = self._store.start_over(
                id, options=wanted, corpus=facts, max_queued=self._limits.shared(self._limits.max_queued)
            )
        self._discard(*(key for key in (record.checkpoint, record.model_file) if key is not None))
        return started

    def _refuse_without_text(self, record: ModelRecord, what: str) -> None:
        if record.corpus is not None:
            return
        if record.model_file is None:
            raise InvalidTransition(f"{record.name!r} has no text yet: give it one first")
        raise InvalidTransition(f"{record.name!r} came without a text and cannot be {what}; fork it with one")

    def fork(
        self, id: str, name: str | None = None, source: Source | None = None, *, sample: str | None = None,
        **options: Any,
    ) -> ModelRecord:  # fmt: skip
        """A new model that begins with what this one has learned, for another text or, without one, for the same.

        It keeps the network and the characters, and the options but for the budget. Raises NothingLearned when there is
        nothing to begin with, InvalidCorpus, InvalidOptions and QuotaExceeded; then there is no new model.
        """
        parent, model = self.get(id), self.model(id)
        wanted = self._merged(choices.without_budget(parent.options), options)
        choices.refuse_other_network(model.options, wanted)
        new_name = checked_name(f"{parent.name[: NAME_LENGTH - 7]} (fork)" if name is None else name)
        child = self._new(new_name, options=wanted, sampling=parent.sampling, parent_id=parent.id)
        with self._deleted_on_error(child):
            with self._storage.scratch(_folder(child.id)) as scratch:
                model.save(scratch / PARENT)
                self._storage.put(scratch / PARENT, model_key(child.id, PARENT), move=True)
            if source is not None or sample is not None:
                return self.attach(child.id, source, sample=sample)
            if parent.corpus is None:
                return child
            with self._local(parent.corpus.text_key) as text:
                return self.attach(child.id, text, name=parent.corpus.name)

    def logs(self, id: str, after: int = -1, limit: int = 1000) -> Sequence[LogLine]:
        """The lines of the training's log whose positions are above `after`, in order."""
        self.get(id)
        return self._store.log(id, after=after, limit=_rows(limit))

    def log_lines(
        self, id: str, after: int = -1, *, last: int | None = None, follow: bool = False
    ) -> Iterator[LogLine]:  # fmt: skip
        """All lines above `after`, or the `last` so many; with `follow` those to come until it rests."""
        if last is not None:
            self.get(id)
            after = max(after, self._store.last_position(id) - max(0, last))
        while True:
            active = self.get(id).active  # before the lines: the last ones come together with the end
            lines = self.logs(id, after)
            yield from lines
            if lines:
                after = lines[-1].position
            elif follow and active:
                time.sleep(FOLLOW_EVERY)
            else:
                return

    def metrics(self, id: str, after: int = -1, limit: int = 1000) -> Sequence[Metric]:
        """Losses, rates and speed over the steps above `after`, in order."""
        self.get(id)
        return self._store.metrics(id, after_step=after, limit=_rows(limit))

    def samples(self, id: str, after: int = -1, limit: int = 1000) -> Sequence[Sample]:
        """What the model wrote while it was trained, at steps above `after`, in order."""
        self.get(id)
        return self._store.samples(id, after_step=after, limit=_rows(limit))

    def news(self, id: str, after: Position | None = None, limit: int = 1000) -> News:
        """What has happened to a model after a position, or ever: log lines, metrics and samples, at most `limit` of
        each, and the model as it is after them. Whoever asks again with the position of that misses nothing.

        When another attempt at its training begins to tell, it tells all metrics and samples from the beginning.
        """
        news = self._store.news(id, after or Position(), _rows(limit))
        self._seen(news.record)
        return news

    def place_in_queue(self, id: str) -> int | None:
        """1 for the model that is trained next, up to 1,000; None for one that does not wait, or behind those."""
        return self.places([self.get(id)]).get(id)

    def places(self, records: Iterable[ModelRecord]) -> Mapping[str, int]:
        """The places in the queue, by id, of those of these models that wait there."""
        return self._store.places([record.id for record in records if record.status == Status.QUEUED])

    def glances(self, ids: Collection[str]) -> Mapping[str, Glance]:
        """When models were changed last, and their places in the queue, whoever may see them: a cheap way to know
        which of many have news. Those that are not there are left out."""
        return self._store.glances(ids)

    def waiting(self) -> Mapping[str, Waiting]:
        """The first 1,000 that wait to be trained, by id: each one's place, and when it should start. An estimate."""
        from charrnn.jobs.waiting import waiting

        together = sum(supervisor.max_running for supervisor in self._supervisors())
        return waiting(self._store.active(), together or self.settings.running_limit)

    def _supervisors(self) -> Sequence[SupervisorRecord]:
        """Those that were heard of lately."""
        return self._store.supervisors(within_seconds=max(5.0, self.settings.lease_seconds))

    def supervised(self) -> bool:
        """Whether somebody is there to train what is queued."""
        heard_of = self._supervisors()
        if self._store.database.embedded:  # and so on this machine, where one that was killed need not be waited for
            return any(_runs(supervisor.pid) for supervisor in heard_of)
        return bool(heard_of)

    def check_storage(self) -> None:
        """Raises StorageUnavailable when files cannot be stored now."""
        self._storage.check()

    def supervisor(self) -> Supervisor:
        """A new supervisor of what is queued here, to be run in a thread of this process."""
        from charrnn.jobs.supervisor import Supervisor

        return Supervisor(self.settings, self._store)

    def ensure_supervised(self) -> bool:
        """As `supervised`; with an embedded database a supervisor is started if there is none, but not by a visitor.

        It is a process of its own, which ends when nothing is left to train; its messages go to a log file in the data
        folder.
        """
        if self.supervised():
            return True
        if not self._store.database.embedded or self._origin is not None:
            return False
        folder = self.settings.data_folder / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "supervise.log").open("ab") as log:
            self._shared.supervisor = subprocess.Popen(
                child.python("charrnn", "supervise", "--until-idle"), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=folder, env=child.environment(**self.settings.environment()), start_new_session=True,
            )  # fmt: skip
        return True

    # -- writing -----------------------------------------------------------------------------------------------------

    def model(self, id: str) -> Model:
        """The model as it is now, also while it is trained. It is kept in memory, and shared: do not change it.

        Raises NothingLearned while it has.
        """
        return self._model(self.get(id))

    def _model(self, record: ModelRecord) -> Model:
        id = record.id
        for _ in range(_MOVES):
            key = _model_file(record)
            version = self._version(key)
            try:
                return self._shared.models.get(id, (key, version), lambda key=key: self._load(key))  # type: ignore[misc]
            except (FileNotInStorage, StorageUnavailable, InvalidModel):
                record = self.get(id)
                if record.model_file == key and self._version(key) == version:
                    raise  # nothing took its place meanwhile
        raise InvalidModel(f"{record.name!r} changes faster than it can be read; try again")

    def _version(self, key: str) -> str | None:
        try:
            return self._storage.version(key)
        except FileNotInStorage:
            return None

    def _load(self, key: str) -> Model:
        with self._local(key) as path:
            return _load(path)

    @contextlib.contextmanager
    def _local(self, key: str) -> Iterator[Path]:
        """A file of the storage as a file on this machine, to be read only."""
        with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            yield self._storage.get(key, Path(folder))

    def generate(self, id: str, prompt: str | None = None, **sampling: Any) -> str | Sequence[str]:
        """New text that goes on from `prompt`; a list with `count`. What is not given is as set for this model.

        Raises InvalidOptions, InvalidModel and QuotaExceeded. Warns with UnknownCharacters, as the model does.
        """
        model, options = self.to_write(id, **_with_prompt(prompt, sampling))
        texts: str | Sequence[str] = model.generate(**asdict(options))
        return texts

    def stream(self, id: str, prompt: str | None = None, **sampling: Any) -> Iterator[str]:
        """The text of `generate`, piece by piece as it is written. Raises at once, like it."""
        model, options = self.to_write(id, **_with_prompt(prompt, sampling))
        if options.count is not None:
            problem = "a stream is one text; leave it out"
            raise InvalidOptions(f"count: {problem}", {"count": problem})
        values = asdict(options)
        del values["count"]
        return model.stream(**values)

    def to_write(
        self, id: str, *, check: Callable[[SamplingOptions], None] | None = None, **sampling: Any
    ) -> tuple[Model, SamplingOptions]:
        """A model and the options to write with it: those given, else those set for it. Counts as a generation.

        `check` may raise for options that somebody would not have written with.
        """
        from charrnn.network.sampling import SamplingOptions

        record = self.get(id)
        options = SamplingOptions.from_dict(choices.merged_sampling(record.sampling, sampling))
        if check is not None:
            check(options)
        self._count_generation(options.length * (options.count or 1))
        return self._model(record), options

    def predict(self, id: str, prompt: str = "", top: int = 10, temperature: float = 1.0) -> Sequence[Prediction]:
        """The likeliest next characters with their probabilities. Raises InvalidOptions and InvalidModel."""
        return self.to_look(id, len(prompt)).predict(prompt, top=top, temperature=temperature)

    def score(self, id: str, text: str) -> Score:
        """What each character of `text` costs the model, in nats. Raises InvalidModel and QuotaExceeded."""
        return self.to_look(id, len(text)).score(text)

    def to_look(self, id: str, characters: int) -> Model:
        """A model to read so many characters with. Counts as a generation. Raises NothingLearned and QuotaExceeded."""
        self._count_generation(characters)
        return self.model(id)

    def copied(self, id: str, text: str, progress: Callable[[float], None] | None = None) -> Copy | None:
        """The longest run of `text` that stands in the text the model has learned from; None: not one character does.

        `progress` is called with the fraction done and may raise to give up. Raises NoText and QuotaExceeded.
        """
        found = None
        for done, longest in self.search_copies(id, text):
            found = longest
            if progress is not None:
                progress(done)
        return found

    def search_copies(self, id: str, text: str) -> Iterator[tuple[float, Copy | None]]:
        """As `copied`: the fraction done and the longest run so far, again and again; the last one is the result."""
        from charrnn.text.copies import search_copies
        from charrnn.text.corpus import Corpus

        record = self.get(id)
        if record.corpus is None:
            raise NoText(f"{record.name!r} has no text here to compare with: it came as a file, without its text")
        self._count_generation(len(text))
        with self._local(record.corpus.ids_key) as ids:
            yield from search_copies(text, Corpus.open(ids))

    def guesses(self, id: str) -> Guesses:
        """What the model's text costs those who only count characters. Raises NoText and StorageUnavailable."""
        from charrnn.text.corpus import Corpus
        from charrnn.text.guesses import guesses

        record = self.get(id)
        if record.corpus is None:
            raise NoText(f"{record.name!r} has no text")
        with self._local(record.corpus.ids_key) as ids:
            return guesses(Corpus.open(ids))

    def evaluate(self, id: str, source: Source) -> Evaluation:
        """How well the model predicts a text. Raises InvalidCorpus, InvalidModel and QuotaExceeded."""
        self._refuse_named_file(source)
        self._count_generation(0)
        model = self.model(id)
        with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            text = Path(folder) / "text"
            receive(source, text, self._limits.upload_limit, InvalidCorpus)
            try:
                return model.evaluate(text)
            except InvalidCorpus as error:
                raise without_path(error, text, shown_name(source, "the text")) from None

    def _count_generation(self, characters: int) -> None:
        self._limits.check_characters(characters)
        limit = self._limits.max_generations_per_minute
        if limit is not None:
            self._store.count_generation(self.user or "", self._limits.shared(limit), origin=self._origin)

    # -- model files -------------------------------------------------------------------------------------------------

    def export(self, id: str, target: str | PathLike[str] | BinaryIO, *, force: bool = False) -> None:
        """Write the model as it is now to a `.safetensors` file, whole or not at all, or to a file open for writing.

        Raises NothingLearned while it has, and WouldOverwrite unless `force` is given; OSError.
        """
        self._refuse_named_file(target)
        if isinstance(target, str | PathLike):
            if Path(target).exists() and not force:
                raise WouldOverwrite(f"{target} exists; force replaces it, or choose another name")
            self.model(id).save(target)
            return
        with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
            whole = Path(folder) / "model.safetensors"
            self.model(id).save(whole)
            with whole.open("rb") as file:
                shutil.copyfileobj(file, target)

    @contextlib.contextmanager
    def model_file(self, id: str) -> Iterator[tuple[ModelRecord, BinaryIO]]:
        """The model's file as it is now, to be read to its end whatever takes its place meanwhile, and its record.

        Raises InvalidModel while it has learned nothing.
        """
        record = self.get(id)
        with contextlib.ExitStack() as stack:
            for move in range(_MOVES):
                key = _model_file(record)
                try:
                    file = stack.enter_context(stack.enter_context(self._local(key)).open("rb"))
                    break
                except (FileNotInStorage, FileNotFoundError):
                    record = self.get(id)
                    if record.model_file == key or move == _MOVES - 1:
                        raise FileNotInStorage(f"the file of {record.name!r} is not in the storage") from None
            yield record, file

    def import_model(self, source: Source | Incoming, name: str | None = None) -> ModelRecord:
        """A new model from a `.safetensors` file that charrnn wrote: it writes at once, and can be forked.

        Raises InvalidModel for anything else, QuotaExceeded, and InvalidOptions for a name that cannot be.
        """
        self._refuse_named_file(source)
        shown = printable(shown_name(source, "model"))
        new_name = checked_name(Path(shown).stem[:NAME_LENGTH] if name is None else name)
        with self._received(source, "models", self._limits.upload_limit, InvalidModel) as file:
            try:
                model = _load(file)
            except InvalidModel as error:
                raise without_path(error, file, shown) from None
            record = self._new(new_name)
            with self._deleted_on_error(record):
                key = model_key(record.id, IMPORTED)
                self._storage.put(file, key, move=True)
                return self._store.set_model(record.id, key, _figures(model))

    @contextlib.contextmanager
    def _deleted_on_error(self, record: ModelRecord) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                self.delete(record.id)
            raise


def _folder(id: str) -> str:
    return f"models/{id}"


def _new_keys(id: str) -> tuple[str, str]:
    """Where a text and its ids are to lie: never where others lie already, so nothing is ever half replaced."""
    token = secrets.token_hex(4)
    return model_key(id, f"corpus-{token}.txt"), model_key(id, f"corpus-{token}.ids")


def _model_file(record: ModelRecord) -> str:
    if record.model_file is None:
        when = "it writes from its first validation on" if record.active else "train it first"
        raise NothingLearned(f"{record.name!r} is {record.status} and has learned nothing yet: {when}")
    return record.model_file


def _load(path: Path) -> Model:
    from charrnn.network.model import load

    return load(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _figures(model: Model) -> dict[str, Any]:
    """What an imported model says of its training, as far as it can be believed."""
    record = model.record

    def number(name: str) -> float | None:
        value = record.get(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
        return value if usable else None

    return {
        "step": int(number("step") or 0), "progress": 1.0, "epoch": number("epochs"), "loss": number("train_loss"),
        "validation_loss": number("validation_loss"), "best_validation_loss": number("best_validation_loss"),
        "seconds": float(number("seconds") or 0),
    }  # fmt: skip


def _with_prompt(prompt: str | None, sampling: Mapping[str, Any]) -> dict[str, Any]:
    return dict(sampling) if prompt is None else {"prompt": prompt, **sampling}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def _halves(progress: Callable[[float], None] | None) -> tuple[Callable[[float], None] | None, ...]:
    """Two things that are done one after the other, each of which knows only its own progress."""
    if progress is None:
        return None, None
    return lambda done: progress(done / 2), lambda done: progress(0.5 + done / 2)


def _rows(limit: int) -> int:
    return min(max(1, limit), ROWS_LIMIT)
