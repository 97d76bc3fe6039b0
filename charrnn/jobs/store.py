"""All SQL of the jobs. (The signatures; the statements follow.)"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charrnn.jobs.records import (
    Claim,
    CorpusFacts,
    Delivery,
    LogLine,
    Metric,
    ModelRecord,
    Page,
    Sample,
    SupervisorRecord,
)
from charrnn.jobs.status import Status

if TYPE_CHECKING:
    from charrnn.jobs.database import Database

__all__ = ["DELIVERED", "Claim", "CorpusFacts", "Delivery", "LogLine", "Metric", "ModelRecord", "Page", "Sample",
           "Store", "SupervisorRecord"]  # fmt: skip

# The fields of a model that its worker (or an import) may set.
DELIVERED = frozenset({
    "step", "progress", "epoch", "loss", "validation_loss", "best_validation_loss", "seconds", "seconds_left",
    "characters_per_second", "checkpoint", "model_file",
})  # fmt: skip


class Store:
    """Models, their logs, metrics and samples, and who works on them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, name: str, owner: str = "", *, options: Mapping[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None, parent_id: str | None = None, corpus: CorpusFacts | None = None,
    ) -> ModelRecord: raise NotImplementedError  # draft, or ready with a corpus
    def get(self, id: str) -> ModelRecord: raise NotImplementedError
    def find(self, text: str, owner: str | None = None) -> list[ModelRecord]: raise NotImplementedError
    def page(
        self, *, owner: str | None = None, status: Status | None = None, prefix: str | None = None,
        after: str | None = None, limit: int = 50,
    ) -> Page: raise NotImplementedError
    def rename(self, id: str, name: str) -> ModelRecord: raise NotImplementedError
    def set_options(self, id: str, options: Mapping[str, Any]) -> ModelRecord: raise NotImplementedError
    def set_sampling(self, id: str, sampling: Mapping[str, Any]) -> ModelRecord: raise NotImplementedError
    # gives the bytes of the text it had before back to the owner's quota; the new ones were reserved by the caller
    def set_corpus(self, id: str, facts: CorpusFacts) -> ModelRecord: raise NotImplementedError
    # an imported model: draft → complete
    def set_model(self, id: str, model_file: str, fields: Mapping[str, Any] | None = None) -> ModelRecord:
        raise NotImplementedError
    def delete(self, id: str) -> ModelRecord: raise NotImplementedError
    def enqueue(
        self, id: str, *, options: Mapping[str, Any] | None = None, max_queued: int | None = None
    ) -> ModelRecord: raise NotImplementedError
    def start_over(
        self, id: str, *, options: Mapping[str, Any] | None = None, max_queued: int | None = None
    ) -> ModelRecord: raise NotImplementedError
    def request_stop(self, id: str) -> ModelRecord: raise NotImplementedError
    def place_in_queue(self, id: str) -> int | None: raise NotImplementedError
    def log(self, id: str, after: int = -1, limit: int = 1000) -> list[LogLine]: raise NotImplementedError
    def last_position(self, id: str) -> int: raise NotImplementedError
    def metrics(self, id: str, after_step: int = -1, limit: int = 1000) -> list[Metric]: raise NotImplementedError
    def samples(self, id: str, after_step: int = -1, limit: int = 1000) -> list[Sample]: raise NotImplementedError
    def reserve_text(self, owner: str, bytes: int, limit: int | None = None) -> None: raise NotImplementedError
    def release_text(self, owner: str, bytes: int) -> None: raise NotImplementedError
    def count_generation(self, owner: str, limit: int | None = None) -> None: raise NotImplementedError
    def claim(self, host: str, lease_seconds: float) -> Claim | None: raise NotImplementedError
    def running(self, host: str) -> list[ModelRecord]: raise NotImplementedError
    def expired(self) -> list[Claim]: raise NotImplementedError
    def reclaim(self, claim: Claim, why: str) -> bool: raise NotImplementedError
    def begin(self, claim: Claim, host: str, pid: int, lease_seconds: float) -> ModelRecord: raise NotImplementedError
    def deliver(self, claim: Claim, delivery: Delivery, lease_seconds: float) -> int: raise NotImplementedError
    def finish(
        self, claim: Claim, status: Status, delivery: Delivery, error: str | None = None
    ) -> None: raise NotImplementedError
    def release(self, claim: Claim, delivery: Delivery) -> None: raise NotImplementedError
    def supervisor_alive(self, id: str, host: str, pid: int, max_running: int) -> None: raise NotImplementedError
    def supervisor_gone(self, id: str) -> None: raise NotImplementedError
    def supervisors(self, within_seconds: float) -> list[SupervisorRecord]: raise NotImplementedError
