"""What a model can be doing, and what may be done with it then. It does not know how either is stored."""

from __future__ import annotations

from enum import StrEnum

from charrnn.errors import InvalidTransition


class Status(StrEnum):
    """draft → ready → queued → running → complete | stopped | failed, and back to queued to go on."""

    DRAFT = "draft"  # has a name and no text yet
    READY = "ready"  # has a text; nobody asked for its training
    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a worker has claimed it
    COMPLETE = "complete"  # its budget is used up, or it was imported
    STOPPED = "stopped"  # a user stopped it; it can go on
    FAILED = "failed"  # could not go on, `error` says why


ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})
RESTING = frozenset(Status) - ACTIVE

# In which statuses a model can be what is done with it. What is missing here can be done at any time.
ALLOWED: dict[str, frozenset[Status]] = {
    "set_corpus": RESTING - {Status.COMPLETE},  # and nothing was learned yet
    "set_model": frozenset({Status.DRAFT}),
    "set_options": RESTING,
    "enqueue": RESTING - {Status.DRAFT},
    "start_over": RESTING - {Status.DRAFT},
    "delete": RESTING,
}

_WANTED = {
    "set_corpus": "be given another text",
    "set_model": "be given a model file",
    "set_options": "be given other options",
    "enqueue": "be trained",
    "start_over": "be started over",
    "delete": "be deleted",
}

_RIGHT = {
    Status.DRAFT: "give it a text first",
    Status.READY: "start it first",
    Status.QUEUED: "stop it first",
    Status.RUNNING: "stop it first",
}


def refusal(action: str, name: str, status: Status) -> InvalidTransition:
    """The error that says why `action` cannot be done with the model called `name`, and what would be right."""
    right = _RIGHT.get(status, "make a new model, or fork this one")
    if action in ("set_corpus", "set_model") and status not in ACTIVE:
        right = "make a new model, or fork this one"
    return InvalidTransition(f"{name!r} is {status} and cannot {_WANTED[action]}; {right}")
