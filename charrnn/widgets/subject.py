"""Whom a view writes with: a model of a workspace as it is at each moment, or one that somebody holds in a notebook.

It knows what both can do, and that a model of a workspace may be trained, renamed and deleted meanwhile.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from charrnn.errors import CharRNNError, ModelNotFound, NoText
from charrnn.jobs.status import Status
from charrnn.workspace import Workspace

if TYPE_CHECKING:
    from charrnn.network.model import Model
    from charrnn.network.sampling import SamplingOptions
    from charrnn.text.copies import Copy

# The page says which characters a model has never seen; the notebook need not.
warnings.filterwarnings("ignore", "the model has never seen", UserWarning, r"charrnn\.widgets\.")


class Subject(Protocol):
    """A model to write with."""

    def about(self) -> dict[str, Any]:
        """What the page says of it: `ready` tells whether it writes."""

    def to_write(self, **sampling: Any) -> tuple[Model, SamplingOptions]:
        """The model as it is now, and the checked options. Raises CharRNNError."""

    def to_look(self, characters: int) -> Model:
        """The model as it is now, to read so many characters with. Raises CharRNNError."""

    def peek(self) -> Model:
        """The model as it is now, to ask which characters it knows. Raises CharRNNError."""

    def search_copies(self, text: str) -> Iterator[tuple[float, Copy | None]]:
        """See `Workspace.search_copies`. Raises NoText where the text it has learned is not at hand."""

    def remember(self, sampling: dict[str, Any]) -> None:
        """Keep sampling options for the next time, where that can be."""


class Kept:
    """A model of a workspace."""

    def __init__(self, workspace: Workspace, id: str) -> None:
        self._workspace, self._id = workspace, id

    def about(self) -> dict[str, Any]:
        try:
            record = self._workspace.get(self._id)
        except ModelNotFound:
            return {**NOTHING, "id": self._id, "gone": True}
        corpus = record.corpus
        return {
            **NOTHING, "id": record.id, "name": record.name, "status": str(record.status), "step": record.step,
            "ready": record.model_file is not None, "learning": record.status == Status.RUNNING,
            "sampling": record.sampling, "text": None if corpus is None else corpus.name,
            "characters": None if corpus is None else corpus.characters,
        }  # fmt: skip

    def to_write(self, **sampling: Any) -> tuple[Model, SamplingOptions]:
        return self._workspace.to_write(self._id, **sampling)

    def to_look(self, characters: int) -> Model:
        return self._workspace.to_look(self._id, characters)

    def peek(self) -> Model:
        return self._workspace.model(self._id)

    def search_copies(self, text: str) -> Iterator[tuple[float, Copy | None]]:
        return self._workspace.search_copies(self._id, text)

    def remember(self, sampling: dict[str, Any]) -> None:
        with contextlib.suppress(CharRNNError):  # another's model writes too, and remembers nothing
            stored = self._workspace.get(self._id).sampling
            if any(stored.get(name) != value for name, value in sampling.items()):
                self._workspace.set_sampling(self._id, **sampling)


class Held:
    """A model that somebody holds: nothing is kept of it, and there are no limits."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def about(self) -> dict[str, Any]:
        name = self._model.record.get("source_name")
        return {**NOTHING, "id": "", "name": str(name) if name else "this model", "ready": True, "held": True}

    def to_write(self, **sampling: Any) -> tuple[Model, SamplingOptions]:
        from charrnn.network.sampling import SamplingOptions

        given = {name: value for name, value in sampling.items() if value is not None}
        return self._model, SamplingOptions.from_dict(given)

    def to_look(self, characters: int) -> Model:
        return self._model

    def peek(self) -> Model:
        return self._model

    def search_copies(self, text: str) -> Iterator[tuple[float, Copy | None]]:
        raise NoText("a model in a notebook does not have its text at hand: give both to a workspace to compare them")

    def remember(self, sampling: dict[str, Any]) -> None:
        pass


#: what the page is told when there is no model
NOTHING: dict[str, Any] = {
    "id": None, "name": "", "status": "", "step": 0, "ready": False, "learning": False, "sampling": {}, "text": None,
    "characters": None, "gone": False, "held": False,
}  # fmt: skip
