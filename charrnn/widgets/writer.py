"""Writing with a model: alone, together, at several temperatures; what surprises it, and whether it copies.

It knows what its page may ask for at once, and how texts reach it piece by piece. It leaves all writing and reading to
the model.
"""

from __future__ import annotations

import dataclasses
import math
import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from charrnn.errors import InvalidOptions
from charrnn.jobs.records import ModelRecord
from charrnn.widgets.subject import NOTHING, Held, Kept, Subject
from charrnn.widgets.view import ALONE, View, asked
from charrnn.workspace import Workspace

if TYPE_CHECKING:
    from charrnn.network.model import Model
    from charrnn.network.sampling import SamplingOptions

PROMPT = 10_000  # characters of a prompt
LENGTH = 100_000  # characters of one text: more than anybody reads in a page
VARIATIONS = 4
READ_BACK = 2_000  # characters of a growing text that are read to choose the next one
SCORED = 5_000  # characters of which each is shown for itself
COMPARED = 20_000  # characters that are looked for in the training text
PART_SECONDS = 0.05  # between two pieces of text that are sent to the page
CHOICES = 10
WORD, LINE = 24, 400  # characters at most, when the model goes on with one


class Writer(View):
    """Write with a model: an id, a name or a record of the workspace, or a model that `charrnn.train` or
    `charrnn.load` returned. Raises ModelNotFound, AmbiguousName, and InvalidOptions for what is none of these."""

    front = (
        "written.js", "writer_write.js", "writer_together.js", "writer_temperatures.js", "writer_surprise.js",
        "writer_copying.js",
    )  # fmt: skip

    def __init__(self, model: str | ModelRecord | Model | None = None, workspace: Workspace | None = None) -> None:
        self._choosing = threading.Lock()
        self._subject: Subject | None = None
        super().__init__(workspace)
        if model is not None:
            try:
                self._follow(self._subject_of(model))
            except BaseException:
                self.close()
                raise

    def _subject_of(self, model: str | ModelRecord | Model) -> Subject:
        if isinstance(model, str):
            return Kept(self.workspace, self.workspace.find(model).id)
        if isinstance(model, ModelRecord):
            return Kept(self.workspace, model.id)
        from charrnn.network.model import Model

        if not isinstance(model, Model):
            raise InvalidOptions(
                "give a model that charrnn.train() or charrnn.load() returned, or the id, the name or the record of "
                f"one of the workspace, not {type(model).__name__!r}"
            )
        return Held(model)

    def choose(self, id: str) -> None:
        """Write with this model of the workspace from now on."""
        self._follow(Kept(self.workspace, id))

    def _follow(self, subject: Subject) -> None:
        with self._choosing:
            self._subject = subject
        self.look()

    def refresh(self) -> None:
        """Follow the model's name and whether it writes by now."""
        subject = self._subject
        about = NOTHING if subject is None else subject.about()
        with self._choosing:
            if subject is self._subject:
                self.show(**about)

    @property
    def _chosen(self) -> Subject:
        if self._subject is None:
            raise InvalidOptions("choose a model first")
        return self._subject

    # writing ----------------------------------------------------------------------------------------------------------

    @asked
    def write(
        self, prompt: str, length: int, temperature: float, top_k: int | None = None, top_p: float | None = None,
        seed: int | None = None, count: int = 1, same_seed: bool = False,
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """Texts as they are written: first what the model does not know of the prompt, then pieces of each text, and
        at last why each has ended. The options are kept for the next time, the seed only with `same_seed`."""
        prompt, subject = _well_formed(prompt), self._chosen
        _check(prompt, length, count)
        options = {"prompt": prompt, "length": length, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        model, sampling = subject.to_write(**options, seed=seed, count=count)
        yield {"unseen": model.unseen(prompt)}
        subject.remember({**options, "seed": seed if same_seed else None})
        yield from _parts(model, [(sampling, index) for index in range(count)])

    @asked
    def temperatures(
        self, prompt: str, length: int, temperatures: list[float], seed: int
    ) -> Iterator[dict[str, Any]]:  # fmt: skip
        """As `write`: one text at each temperature, all with the same seed."""
        prompt = _well_formed(prompt)
        _check(prompt, length, len(temperatures))
        model, sampling = self._chosen.to_write(
            prompt=prompt, length=length, seed=seed, top_k=None, top_p=None, count=len(temperatures)
        )
        each = [dataclasses.replace(sampling, temperature=temperature, count=None) for temperature in temperatures]
        yield {"unseen": model.unseen(prompt)}
        yield from _parts(model, [(options, 0) for options in each])

    @asked
    def unseen(self, text: str) -> str:
        """The characters of a text that the model has never seen, each once."""
        return self._chosen.peek().unseen(_well_formed(text)[: 10 * PROMPT])

    @asked
    def predict(self, text: str, temperature: float) -> dict[str, Any]:
        """The likeliest next characters after a text, of which the last 2,000 characters are read."""
        read = _well_formed(text)[-READ_BACK:]
        model = self._chosen.to_look(len(read))
        predicted = model.predict(read, top=CHOICES, temperature=temperature)
        choices = [{"character": each.character, "probability": each.probability} for each in predicted]
        return {"choices": choices, "unseen": model.unseen(read)}

    @asked
    def go_on(self, text: str, temperature: float, until: Literal["word", "line"]) -> str:
        """What the model writes next, to the end of a word or of a line."""
        from charrnn.network.generator import Generator, pieces

        most, ended = (WORD, _word_ends) if until == "word" else (LINE, _line_ends)
        read = _well_formed(text)[-READ_BACK:]
        model, options = self._chosen.to_write(
            prompt=read, length=most, temperature=temperature, seed=None, top_k=None, top_p=None, count=None
        )
        generator, written = Generator(model), ""
        for piece in pieces(generator, generator.join(options=options), 8):
            written += piece
            if (end := ended(written)) is not None:
                return written[:end]
        return written

    # reading ----------------------------------------------------------------------------------------------------------

    @asked
    def surprise(self, text: str) -> dict[str, Any]:
        """What each character of a text costs the model, in nats (None: the first, and those that it has never seen),
        and the mean in nats, in bits and as perplexity (None: no character counts)."""
        text = _well_formed(text)
        _refuse_long("text", text, SCORED)
        if not text:
            raise InvalidOptions("there is no text to look at yet")
        model = self._chosen.to_look(len(text))
        score = model.score(text)
        mean = score.nats_per_character
        known = not math.isnan(mean)
        return {
            "text": text, "nats": [None if math.isnan(nats) else nats for nats in score],
            "mean": mean if known else None, "bits": mean / math.log(2) if known else None,
            "perplexity": math.exp(min(mean, 700.0)) if known else None, "unknown": score.unknown,
            "unseen": model.unseen(text),
        }  # fmt: skip

    @asked
    def copied(self, text: str) -> Iterator[dict[str, Any]]:
        """How far the search for the longest copied run is, and the longest so far; the last one has its line."""
        text = _well_formed(text)
        _refuse_long("text", text, COMPARED)
        if not text:
            raise InvalidOptions("there is no text to look for yet")
        with ALONE:
            for done, found in self._chosen.search_copies(text):
                yield {"done": done, "found": None if found is None else dataclasses.asdict(found)}


def _parts(model: Model, wanted: list[tuple[SamplingOptions, int]]) -> Iterator[dict[str, Any]]:
    """Texts as they are written, each by its options and its index among those of the same seed."""
    from charrnn.network.generator import Generator, pieces_together

    generator = Generator(model)
    streams = [generator.join(options=options, index=index) for options, index in wanted]
    for pieces in pieces_together(generator, streams, PART_SECONDS):
        yield {"texts": pieces}
    yield {"ends": [stream.reason for stream in streams]}


def _check(prompt: str, length: int, count: int) -> None:
    """Raises InvalidOptions for more than a page can show."""
    _refuse_long("prompt", prompt, PROMPT)
    if not 1 <= length <= LENGTH:
        raise _wrong("length", f"1 to {LENGTH:,} characters can be written here at a time, not {length:,}")
    if not 1 <= count <= VARIATIONS:
        raise _wrong("count", f"1 to {VARIATIONS} texts can be written side by side, not {count:,}")


def _refuse_long(name: str, text: str, most: int) -> None:
    if len(text) > most:
        raise _wrong(name, f"may have {most:,} characters here, and this has {len(text):,}: take a part of it")


def _wrong(name: str, problem: str) -> InvalidOptions:
    return InvalidOptions(f"{name}: {problem}", {name: problem})


def _well_formed(text: str) -> str:
    """The text as a file would hold it: halves of characters, which no file can hold, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\r\n", "\n")


def _word_ends(text: str) -> int | None:
    """Where the first word of a text ends, once something comes after it."""
    found = re.match(r"\s*\S+(?=\s)", text)
    return None if found is None else found.end()


def _line_ends(text: str) -> int | None:
    """Where the first line of a text that is not empty ends, its line end included."""
    found = re.match(r"\n*[^\n]+\n", text)
    return None if found is None else found.end()
