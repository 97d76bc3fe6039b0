"""What tests read of answers that come bit by bit: Server-Sent Events, one after another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import requests


@dataclass
class Told:
    """One event."""

    name: str
    id: str
    data: dict[str, Any]


def lines(answer: requests.Response) -> Iterator[str]:
    """The lines of an answer as they come."""
    rest = b""
    for piece in answer.iter_content(None):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8") for line in whole)


def events(source: Iterable[str]) -> Iterator[Told]:
    """The events among the lines, read as a browser does."""
    fields: dict[str, str] = {}
    for line in source:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line:
            if "data" in fields:
                yield Told(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


def told(answer: requests.Response) -> Iterator[Told]:
    """The events of an answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/event-stream"
    return events(lines(answer))
