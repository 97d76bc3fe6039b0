"""What the tests of the workspace share: texts, a model, a worker that is played, and where everything lies."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charrnn.jobs.records import Claim, Delivery, ModelRecord
from charrnn.jobs.status import Status
from charrnn.network.model import Model
from charrnn.storage import model_key
from charrnn.text.vocabulary import Vocabulary
from charrnn.workspace import Workspace

TEXT = ("The kettle hums a low brown tune,\nthe cat has claimed the chair,\n" * 40).encode()
OTHER = ("Zwölf Boxkämpfer jagen Viktor quer über den Deich 🙂.\n" * 60).encode()
LETTERS = "\n etaoinshrdlucmfwygpbvkTKC,."

PLACES = ["SQLite and files", "MariaDB and files"]
everywhere = pytest.mark.parametrize("settings", [*PLACES, "SQLite and S3"], indirect=True)


def saved_model(path: Path, seed: int = 1) -> Path:
    model = Model.initial("gru", Vocabulary(LETTERS), rnn_size=12, embedding_size=4, seed=seed)
    model.record = {"step": 700, "finished": True, "seconds": 90.0, "epochs": 2.5, "best_validation_loss": 1.5}
    model.save(path)
    return path


def stored(workspace: Workspace) -> set[str]:
    """The keys of all files in the storage, what is being written included."""
    storage = workspace._storage
    if storage.local:
        root = Path(storage.url.removeprefix("file://"))
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    import fsspec

    root_key = storage.url.removeprefix("s3://")
    return {
        path.removeprefix(root_key + "/") for path in fsspec.filesystem("s3", skip_instance_cache=True).find(root_key)
    }


class Attempt:
    """Plays a worker, without its training: claims the oldest model in the queue, delivers and publishes."""

    def __init__(self, workspace: Workspace) -> None:
        self.store, self.storage = workspace._store, workspace._storage
        claim = self.store.claim("here", 60)
        assert claim is not None
        self.claim: Claim = claim
        self.store.begin(claim, "here", 1, 60)

    def publish(self, model: Path, **fields: Any) -> None:
        keys = {}
        for kind, field in (("checkpoint", "checkpoint"), ("model", "model_file")):
            keys[field] = model_key(self.claim.model_id, f"{kind}-{self.claim.attempt}.safetensors")
            self.storage.put(model, keys[field])
        self.deliver(fields={**keys, **fields})

    def deliver(self, **delivery: Any) -> None:
        self.store.deliver(self.claim, Delivery(**delivery), 60)

    def end(self, status: Status = Status.COMPLETE, **delivery: Any) -> None:
        self.store.finish(self.claim, status, Delivery(**delivery))


def trained(workspace: Workspace, model_file: Path, name: str = "poems", **options: Any) -> ModelRecord:
    """A model with a text, whose training has ended after 2 minutes, 100 steps and 4 epochs."""
    id = workspace.create(name, TEXT, **options).id
    workspace.start(id)
    attempt = Attempt(workspace)
    attempt.publish(model_file, step=100, seconds=120.0, epoch=4.0, progress=1.0)
    attempt.end(lines=[(0, "trained")])
    return workspace.get(id)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"not in {seconds} s: {condition}"
        time.sleep(0.02)
