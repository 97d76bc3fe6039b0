"""Models kept in memory between requests: a few, the least recently used forgotten first.

It knows ids and versions. It does not know where models come from.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charrnn.network.model import Model


@dataclass
class _Place:
    """Where one model lies, or is about to."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    version: Hashable = None
    model: Model | None = None


class LoadedModels:
    """At most `most` models, of each the version last asked for. Any number of threads may ask."""

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def get(self, id: str, version: Hashable, load: Callable[[], Model]) -> Model:
        """The model in this version: the one in memory, or what `load` returns. Threads that want the same one wait
        for the first to load it. An error of `load` is passed on, and nothing is kept."""
        with self._lock:
            place = self._places.setdefault(id, _Place())
            self._places.move_to_end(id)
            while len(self._places) > self._most:
                self._places.popitem(last=False)
        with place.lock:
            if place.model is None or place.version != version:
                place.model = None  # the old one need not wait in memory for the new one
                place.model = load()
                place.version = version
            return place.model

    def forget(self, id: str) -> None:
        """Let a model go; nothing happens if it is not there."""
        with self._lock:
            self._places.pop(id, None)
