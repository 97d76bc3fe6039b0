"""What it costs to train in the background: the queue around a training, and a line of the log for every step.

    python -m benchmarks jobs

Ten trainings go through the queue one after another, on an embedded database. What each takes beyond the same training
by itself is the overhead; the start of the worker's process, which is a Python that loads what it needs, is measured
on its own and left out of it. A training that tells of every step is compared with one that tells twice a second, by
the training's own clock, in turns.
"""

from __future__ import annotations

import hashlib
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.table import Row, say
from charrnn.child import environment, python
from charrnn.config import Settings
from charrnn.jobs.database import Database
from charrnn.jobs.records import CorpusFacts, ModelRecord
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store
from charrnn.jobs.supervisor import WORKER, Supervisor
from charrnn.network.options import TrainingOptions
from charrnn.storage import Storage, model_key
from charrnn.text.corpus import ingest
from charrnn.training.process import run

TRAININGS = 10
TINY: dict[str, Any] = {"rnn_size": 16, "num_layers": 1, "batch_size": 4, "seq_length": 16, "max_steps": 50}
USUAL: dict[str, Any] = {"rnn_size": 256, "num_layers": 1, "batch_size": 16, "seq_length": 64, "max_steps": 600,
                         "validation_fraction": 0, "sample_every": 100_000}  # fmt: skip
VERSE = "A small boat rocks beside the quiet pier,\nand counts the lamps that wake along the shore.\n"


class Queue:
    """A database and a storage in a folder, and a supervisor in this process."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            data_folder=folder, database_url=f"sqlite:///{folder / 'charrnn.sqlite3'}",
            storage_url=f"file://{folder / 'storage'}", max_running=1,
        )  # fmt: skip
        database = Database(self.settings.database_url.get_secret_value())
        database.upgrade()
        self.store, self.storage = Store(database), Storage(self.settings.storage_url)
        self.text = folder / "text.txt"
        self.text.write_text("".join(f"{number} {VERSE}" for number in range(800)), encoding="utf-8")

    def add(self, options: dict[str, Any]) -> str:
        """The id of a new model, queued."""
        record = self.store.create("model", options=options)
        keys = model_key(record.id, "corpus.txt"), model_key(record.id, "corpus.ids")
        with self.storage.scratch(f"models/{record.id}") as folder:
            ids = folder / "ids"
            corpus = ingest(self.text, ids)
            facts = CorpusFacts(
                "text.txt", corpus.source_bytes, len(corpus), corpus.distinct, len(corpus.vocabulary),
                corpus.source_sha256, hashlib.sha256(ids.read_bytes()).hexdigest(), ids.stat().st_size, *keys,
            )  # fmt: skip
            self.storage.put(self.text, facts.text_key)
            self.storage.put(ids, facts.ids_key, move=True)
        self.store.set_corpus(record.id, facts)
        return self.store.enqueue(record.id).id

    def work_off(self, ids: list[str]) -> float:
        """Seconds until all of them are complete."""
        stopping = threading.Event()
        supervisor = threading.Thread(target=Supervisor(self.settings, self.store).run, args=(stopping,))
        begin = time.perf_counter()
        supervisor.start()
        while any(self.complete(id) is None for id in ids[::-1]):
            time.sleep(0.02)
        seconds = time.perf_counter() - begin
        stopping.set()
        supervisor.join()
        return seconds

    def complete(self, id: str) -> ModelRecord | None:
        """The model, once it is complete."""
        record = self.store.get(id)
        if record.status is Status.FAILED:
            raise SystemExit(f"a training failed: {record.error}")
        return record if record.status is Status.COMPLETE else None

    def process_start(self) -> float:
        """Seconds of a worker's process that finds that its model is not its own."""
        id = self.store.create("nobody's").id
        begin = time.perf_counter()
        subprocess.run(
            python(WORKER, id, "1"), env=environment(**self.settings.environment()), capture_output=True, check=False
        )
        return time.perf_counter() - begin


def rows(runs: int = 3) -> Iterator[Row]:
    """The overhead of the queue, and the cost of telling of every step."""
    with tempfile.TemporaryDirectory(prefix="charrnn-") as folder:
        queue = Queue(Path(folder))
        yield from _overhead(queue)
        yield from _logging(queue, runs)


def _overhead(queue: Queue) -> Iterator[Row]:
    say(f"{TRAININGS} trainings, each by itself")
    begin = time.perf_counter()
    for _ in range(TRAININGS):
        run(queue.text, TrainingOptions.parse(TINY))
    alone = (time.perf_counter() - begin) / TRAININGS
    say(f"{TRAININGS} trainings through the queue")
    queued = queue.work_off([queue.add(TINY) for _ in range(TRAININGS)]) / TRAININGS
    start = statistics.median(queue.process_start() for _ in range(5))
    yield Row("a tiny training by itself, s", f"{alone:.2f}", "", "", "", "")
    yield Row("start of a worker's process, s", f"{start:.2f}", "", "", "", "")
    yield Row("the queue's overhead beyond both, s", f"{queued - alone - start:.2f}", "", "", "1", "")


def _logging(queue: Queue, runs: int) -> Iterator[Row]:
    seconds: dict[str, list[float]] = {"every step": [], "twice a second": []}
    for _ in range(runs):
        for name, more in (("every step", {"log_every": 1}), ("twice a second", {})):
            say(f"a training that tells {name}")
            id = queue.add({**USUAL, **more})
            queue.work_off([id])
            seconds[name].append(queue.store.get(id).seconds)
    every, seldom = (statistics.median(seconds[name]) for name in ("every step", "twice a second"))
    yield Row(
        f"{USUAL['max_steps']} steps of 256 units with a log line each, against two a second, s", f"{every:.1f}",
        f"{seldom:.1f}", f"{every / seldom:.3f}", "1.03", "",
    )  # fmt: skip
