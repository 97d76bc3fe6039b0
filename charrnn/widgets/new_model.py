"""A new model: its text, what a person should know about that, and how long it may be learned.

It knows the form and what stands in it. Large texts go from the browser to the server past this view; where no server
of ours serves the page, small ones come through here, piece by piece.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from charrnn import choices
from charrnn.errors import CharRNNError, InvalidCorpus, ModelNotFound, TooLarge
from charrnn.jobs.records import CorpusFacts, ModelRecord
from charrnn.lines import printable
from charrnn.widgets.view import View, asked
from charrnn.workspace import Workspace

if TYPE_CHECKING:
    from charrnn.received import Incoming

MOST_BY_KERNEL = 10_000_000  # bytes of a text that comes through this process
USUAL_MINUTES = 3.0
UNTIL_STOPPED = "until_stopped"
HELD_OUT = 0.1  # of a text, usually

# Which options stand together in the form, under which heading. What is named nowhere comes last.
GROUPS = {
    "The network": (*choices.NETWORK, "dropout"),
    "How it learns": ("learning_rate", "schedule", "warmup_steps", "batch_size", "seq_length", "grad_clip",
                      "weight_decay", "seed"),
    "When it ends": ("max_steps", "max_epochs", "keep"),
    "What it is checked on": ("validation", "validation_fraction", "validate_every"),
    "Characters": choices.CHARACTERS,
}  # fmt: skip
REST = "How often it reports"
LEFT_OUT = ("minutes", UNTIL_STOPPED)  # which the one question that matters asks for


class Cancelled(CharRNNError):
    """Somebody did not want to wait for a text any more."""


class NewModelView(View):
    """A text becomes a model: hand it over, look at the report, choose how long, start."""

    front = ("drop.js",)

    def __init__(self, workspace: Workspace | None = None) -> None:
        self._chosen: str | None = None
        self._incoming: Incoming | None = None
        self._no_sample = threading.Event()  # is wanted any more
        self._receiving, self._looking = threading.Lock(), threading.RLock()
        super().__init__(workspace)

    def refresh(self) -> None:
        """Show the form, and the model whose text is there already as it is now."""
        if "groups" not in self.state:
            self.show(groups=list(groups()), budgets=self._budgets(), samples=samples(), most=MOST_BY_KERNEL)
        with self._looking:
            record = None
            if self._chosen is not None:
                try:
                    record = self.workspace.get(self._chosen)
                except ModelNotFound:
                    self._chosen = None
            self.show(chosen=record and self._shown_model(record))

    def _budgets(self) -> list[float | str]:
        """What this person may choose from: minutes, or until somebody stops it."""
        policy = self.workspace.policy.of(self.workspace.user)
        return [*policy.offered_minutes(), *([UNTIL_STOPPED] if policy.max_minutes is None else [])]

    def _shown_model(self, record: ModelRecord) -> Mapping[str, Any]:
        given = {name: value for name, value in record.options.items() if name not in LEFT_OUT}
        return {
            "id": record.id,
            "name": record.name,
            "status": record.status,
            "options": {name: str(value) for name, value in given.items()},
            "report": record.corpus and _report(record.corpus),
            "reads": [] if record.corpus is None else self._reads(record, record.corpus),
        }

    def _reads(self, record: ModelRecord, text: CorpusFacts) -> list[float | None]:
        """How often the text is read in each of the budgets, about; None where that is open."""
        from charrnn.training.process import expected_epochs

        characters = max(1, int(text.characters * (1 - HELD_OUT)))
        kept = choices.without_budget(record.options)
        reads: list[float | None] = []
        for minutes in self._budgets():
            if isinstance(minutes, str):
                reads.append(None)
                continue
            options = choices.parsed({**kept, "minutes": minutes})
            reads.append(expected_epochs(options, text.vocabulary_size, characters, minutes))
        return reads

    # which model ------------------------------------------------------------------------------------------------------

    def choose(self, id: str) -> None:
        """Go on with a model that is there already: give it a text, or start it. Raises ModelNotFound."""
        self._choose(self.workspace.get(id).id)

    @asked
    def arrived(self, id: str) -> None:
        """Go on with a model whose text has just come, and have the page's address say so. Raises ModelNotFound."""
        self.choose(id)
        if self.attended:  # who has gone elsewhere meanwhile stays there
            self.lead("new", id)

    def _choose(self, id: str | None) -> None:
        with self._looking:
            self._chosen = id
            self.refresh()

    @asked
    def leave(self, id: str | None = None, name: str = "") -> None:
        """Go back to the list. The model stays as it is, under this name if one is given."""
        if id is not None and name.strip() and name.strip() != self.workspace.get(id).name:
            self.workspace.rename(id, name)
        self._choose(None)
        self.lead("models")

    @asked
    def start(self, id: str, name: str, budget: str, options: dict[str, str]) -> None:
        """Train the model, with these options as they stand in the form: what is empty is back at its default.

        Raises InvalidOptions with what is wrong with each field, QuotaExceeded and InvalidTransition.
        """
        given: dict[str, Any] = {each: value if value.strip() else None for each, value in options.items()}
        given |= {UNTIL_STOPPED: True} if budget == UNTIL_STOPPED else {"minutes": budget}
        new_name = name if name.strip() else None
        self.workspace.change(id, name=new_name, options=given)
        self.workspace.start(id)
        self.workspace.ensure_supervised()
        self._choose(id if self._go is None else None)
        self.lead("training", id)

    # its text ---------------------------------------------------------------------------------------------------------

    @asked
    def sample(self, sample: str, name: str, id: str | None = None) -> None:
        """Take a sample text, for a new model or for this one, and show how much of it is there.

        Raises InvalidCorpus where it cannot be had, and Cancelled.
        """
        self._no_sample = no_sample = threading.Event()

        def there(done: float) -> None:
            if no_sample.is_set():
                raise Cancelled("cancelled: nothing of it was kept")
            self.show(there=round(done, 2))

        try:
            if id is None:
                record = self.workspace.create(name if name.strip() else sample, sample=sample, progress=there)
            else:
                record = self.workspace.attach(id, sample=sample, progress=there)
        finally:
            self.show(there=None)
        self.arrived(record.id)

    @asked
    def cancel_sample(self) -> None:
        """Do not wait for the sample any longer: `sample` raises Cancelled, and nothing has changed."""
        self._no_sample.set()

    @asked
    def begin_text(self, name: str, size: int, id: str | None = None) -> None:
        """A text will come through here, called so, of so many bytes. Raises TooLarge and InvalidTransition."""
        if size > MOST_BY_KERNEL:
            raise TooLarge(f"through a notebook, a text may have {MOST_BY_KERNEL:,} bytes; this one has {size:,}")
        with self._receiving:
            self._forget_text()
            self._incoming = self.workspace.receive_text(id)
            self._incoming.name = printable(name)[: choices.NAME_LENGTH] or "text"

    @asked
    def take_text(self, piece: str) -> None:
        """The next piece of it, in base64. Raises InvalidCorpus, with the place, as soon as it is no text."""
        with self._receiving:
            incoming = self._coming()
            try:
                data = base64.b64decode(piece, validate=True)
                if incoming.size + len(data) > MOST_BY_KERNEL:
                    raise TooLarge(f"through a notebook, a text may have {MOST_BY_KERNEL:,} bytes")
                incoming.write(data)
            except (CharRNNError, binascii.Error) as error:
                self._forget_text()
                if isinstance(error, CharRNNError):
                    raise
                raise InvalidCorpus("a piece of the text did not arrive as it was sent; send it again") from None

    @asked
    def end_text(self, name: str, id: str | None = None) -> None:
        """That was all of it: make it the text of a new model, or of this one."""
        with self._receiving:
            incoming, self._incoming = self._coming(), None
        with incoming:
            if id is None:
                called = name if name.strip() else PurePath(incoming.name).stem
                record = self.workspace.create(called, incoming)
            else:
                record = self.workspace.attach(id, incoming)
        self.arrived(record.id)

    @asked
    def cancel_text(self) -> None:
        """Forget what has come of it."""
        with self._receiving:
            self._forget_text()

    def _coming(self) -> Incoming:
        if self._incoming is None:
            raise InvalidCorpus("no text is on its way; send it again from its beginning")
        return self._incoming

    def _forget_text(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.close()

    def close(self) -> None:
        """End, and forget a text that has not come whole."""
        self.cancel_text()
        self.cancel_sample()
        super().close()


def _report(text: CorpusFacts) -> Mapping[str, Any]:
    shown = ("name", "bytes", "characters", "distinct", "vocabulary_size", "unknown", "commonest", "warnings")
    return {name: getattr(text, name) for name in shown} | {"preview": text.preview}


def samples() -> list[Mapping[str, Any]]:
    """The sample texts, those that need no download first."""
    from charrnn.text.samples import SAMPLES, names

    return [
        {"name": name, "about": SAMPLES[name].description, "fetched": SAMPLES[name].url is not None} for name in names()
    ]


def groups() -> Iterator[Mapping[str, Any]]:
    """The training options as groups of fields, from their JSON Schema."""
    from charrnn.network.options import TrainingOptions

    properties = {
        name: property
        for name, property in TrainingOptions.model_json_schema()["properties"].items()
        if name not in LEFT_OUT
    }
    named = {name for names in GROUPS.values() for name in names}
    rest = tuple(name for name in properties if name not in named)
    for title, names in {**GROUPS, REST: rest}.items():
        yield {"title": title, "fields": [_field(name, properties[name]) for name in names if name in properties]}


def _field(name: str, property: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = {each["type"]: each for each in property.get("anyOf", [property])}
    kind = next(each for each in ("integer", "number", "string") if each in kinds)
    usual = property.get("default")
    left_out = "all" if kind == "string" else "auto"  # the text is that of a whitelist
    return {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "about": property["description"],
        "usual": left_out if usual is None else str(usual),
        "kind": kind,
        "words": list(kinds[kind].get("enum", ())),
    }
