"""Models to train in tests of the queue: tiny networks, a small text, real files, real processes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from charrnn.config import Settings
from charrnn.jobs.database import Database
from charrnn.jobs.records import CorpusFacts, LogLine, ModelRecord
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store
from charrnn.network.model import Model, load
from charrnn.storage import Storage, model_key
from charrnn.text.corpus import ingest
from tests.command_line import variables

TINY: dict[str, Any] = {"rnn_size": 16, "num_layers": 1, "embedding_size": 0, "batch_size": 4, "seq_length": 16}
VERSE = "A small boat rocks beside the quiet pier,\nand counts the lamps that wake along the shore.\n"
SUPERVISE = """
import json, sys
from charrnn.config import Settings
from charrnn.jobs.supervisor import supervise
supervise(Settings(), **json.loads(sys.argv[1]))
"""

Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], seconds: float = 180) -> Found:
    """What the condition returns, once that is something."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s for {condition}")
        time.sleep(0.02)
    return found


@dataclass
class Place:
    """A database and a storage, as all hosts see them."""

    settings: Settings
    store: Store
    storage: Storage

    @classmethod
    def in_folder(cls, folder: Path, **settings: Any) -> Place:
        """Under `folder`, with an embedded database if no other is named."""
        chosen = Settings(data_folder=folder, **settings)
        database = Database(chosen.database_url.get_secret_value())
        database.upgrade()
        return cls(chosen, Store(database), Storage(chosen.storage_url))

    def new_model(
        self, name: str = "verse", *, verses: int = 700, parent: str | None = None, **options: Any
    ) -> str:  # fmt: skip
        """The id of a new model that is queued to learn a text."""
        record = self.store.create(name, options={**TINY, **options}, parent_id=parent)
        vocabulary = None
        with self.storage.scratch(f"models/{record.id}") as folder:
            if parent is not None:
                self.storage.put(self.file(parent, "model_file"), model_key(record.id, "parent.safetensors"))
                vocabulary = self.model(parent).vocabulary
            text = folder / "text"
            text.write_text("".join(f"{number} {VERSE}" for number in range(verses)), encoding="utf-8")
            corpus = ingest(text, folder / "ids", vocabulary=vocabulary, extend=vocabulary is not None)
            facts = CorpusFacts(
                name=f"{name}.txt", bytes=text.stat().st_size, characters=len(corpus), distinct=corpus.distinct,
                vocabulary_size=len(corpus.vocabulary), sha256=corpus.source_sha256,
                ids_sha256=hashlib.sha256((folder / "ids").read_bytes()).hexdigest(),
                ids_bytes=(folder / "ids").stat().st_size,
                text_key=model_key(record.id, "corpus.txt"), ids_key=model_key(record.id, "corpus.ids"),
            )  # fmt: skip
            self.storage.put(text, facts.text_key, move=True)
            self.storage.put(folder / "ids", facts.ids_key, move=True)
        self.store.set_corpus(record.id, facts)
        return self.store.enqueue(record.id).id

    def model(self, id: str) -> Model:
        """The model that a training has made so far."""
        return load(self.file(id, "model_file"))

    def log(self, id: str) -> list[LogLine]:
        """The whole log."""
        lines: list[LogLine] = []
        while more := self.store.log(id, after=lines[-1].position if lines else -1):
            lines += more
        return lines

    def folder(self, id: str) -> Path:
        """The storage's folder of a model."""
        return storage_folder(self.settings) / "models" / id

    def file(self, id: str, field: str) -> Path:
        """The file to which a field of the model points: checkpoint or model_file."""
        return storage_folder(self.settings) / getattr(self.store.get(id), field)

    def files(self, id: str) -> set[str]:
        """The names of all that the storage's folder of a model holds."""
        return {path.name for path in self.folder(id).iterdir()}

    def wait_for_status(self, id: str, *statuses: Status, seconds: float = 180) -> ModelRecord:
        """The model, once it is in one of these statuses."""

        def reached() -> ModelRecord | None:
            record = self.store.get(id)
            return record if record.status in statuses else None

        try:
            return wait_for(reached, seconds)
        except TimeoutError:
            record, log = self.store.get(id), "\n".join(line.text for line in self.log(id)[-20:])
            raise TimeoutError(
                f"{id} is {record.status} at step {record.step}, error {record.error}; log:\n{log}"
            ) from None


def environment(settings: Settings) -> dict[str, str]:
    """Of a process that has these settings, and uses one core."""
    return variables(**settings.environment(), OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")


@contextmanager
def supervisor(settings: Settings, host: str = "here", until_idle: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A process that supervises, ended with the context in order, together with its workers."""
    with ended(subprocess.Popen(supervise(host, until_idle), env=environment(settings))) as process:
        yield process


@contextmanager
def supervisor_on_small_disk(settings: Settings, *, kilobytes: int) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The same, with a copy of the storage on a small disk that only it and its workers see; and the way there."""
    disk = settings.data_folder / "disk"
    disk.mkdir()
    on_disk = settings.model_copy(update={"storage_url": f"file://{disk}"})
    mount = 'mount -t tmpfs -o size="$1" charrnn-test "$2" && cp -r "$3/." "$2" && shift 3 && exec "$@"'
    with ended(
        subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", f"{kilobytes}k", str(disk),
             str(storage_folder(settings)), *supervise("here", False)],
            env=environment(on_disk),
        )
    ) as process:  # fmt: skip
        yield process, Path(f"/proc/{process.pid}/root{disk}")


def supervise(host: str, until_idle: bool) -> list[str]:
    return [sys.executable, "-c", SUPERVISE, json.dumps({"host": host, "until_idle": until_idle})]


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, ended in order if it has not."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=120)


def storage_folder(settings: Settings) -> Path:
    return Path(settings.storage_url.removeprefix("file://"))


def workers_of(id: str) -> set[int]:
    """The processes on this machine that are workers of a model or train for one: all in their process groups."""
    groups = {pid for pid in numbers() if id.encode() in words(pid)}
    return {pid for pid in numbers() if is_running(pid) and group_of(pid) in groups}


def numbers() -> list[int]:
    """Of all processes."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def words(pid: int) -> list[bytes]:
    """The command of a process; none when it is gone or nobody has buried it yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def stat(pid: int) -> list[str]:
    """State, parent, process group and more of a process; nothing when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def is_running(pid: int) -> bool:
    """Whether a process is there, and not only its number."""
    return stat(pid)[:1] not in ([], ["Z"])


def group_of(pid: int) -> int | None:
    found = stat(pid)
    return int(found[2]) if found else None


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, those that it has not buried too."""
    return [child for child in numbers() if stat(child)[1:2] == [str(pid)]]
