"""Writing with a model: whole texts, texts as they are written, the likeliest next characters, what surprises it.

It knows the forms of an answer: JSON, Server-Sent Events, plain text. It does not know how anything is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from charrnn.errors import InvalidOptions
from charrnn_server import asked
from charrnn_server.accept import preferred
from charrnn_server.events import event
from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.handlers.models import MODEL
from charrnn_server.handlers.streaming import Gone, StreamingHandler

if TYPE_CHECKING:
    from charrnn.network.model import Model
    from charrnn.network.sampling import SamplingOptions
    from charrnn.workspace import Workspace
    from charrnn_server.generation import Texts

JSON, EVENTS, PLAIN = "application/json", "text/event-stream", "text/plain"
GATHER_SECONDS = 0.1  # between two pieces that are sent, which cost more to send than to write
SHOWN_UNKNOWN = 100  # characters in a header
LONG = 100_000  # characters, which take a while to be encoded
SCORED = 100_000  # characters of one request, which take some seconds
TOP, MOST = 10, 1_000_000  # characters that are predicted


class WritingHandler(StreamingHandler):
    """What handlers have in common that have a model write."""

    _texts: Texts | None = None

    async def write_texts(self, id: str, sampling: Mapping[str, Any], form: str, *, with_prompt: bool = False) -> None:
        """Answer with texts: whole, or as they are written."""
        model, options, most = await self.run(lambda workspace: _to_write(workspace, id, sampling, form))
        if self.gone:
            return
        self._texts = self.app.writing.write(model, options, most_models=most, as_written=form != JSON)
        try:
            if form == JSON:
                await self._whole(model, self._texts)
            elif form == EVENTS:
                await self._as_events(model, self._texts)
            else:
                await self._as_plain_text(model, self._texts, options.prompt if with_prompt else "")
        except Gone:
            pass
        except BaseException:
            if self._headers_written:  # what was sent must not pass for the whole
                self.break_off()
            raise
        finally:
            self._texts.leave()

    async def _whole(self, model: Model, texts: Texts) -> None:
        written, options = await texts.whole(), texts.options
        if self.gone:
            raise Gone
        answer = {"texts": written} if options.count else {"text": written[0]}
        answer |= _about(model, options)
        if options.length * texts.count < LONG:
            self.reply(answer)
        else:
            self.finish(await self.app.run(_encoded, answer))

    async def _as_events(self, model: Model, texts: Texts) -> None:
        self.begin(EVENTS)
        async for pieces in texts.pieces():
            await self.send(b"".join(event("text", {"index": index, "text": text}) for index, text in pieces))
            await texts.gather(GATHER_SECONDS)
        await self.send(event("done", {**_about(model, texts.options), "reasons": texts.reasons}))

    async def _as_plain_text(self, model: Model, texts: Texts, beginning: str) -> None:
        unknown = model.unseen(texts.options.prompt)
        if unknown:
            self.set_header("CharRNN-Unknown", quote(unknown[:SHOWN_UNKNOWN], safe=""))
        self.begin(f"{PLAIN}; charset=UTF-8")
        if beginning:
            await self.send(beginning)
        async for pieces in texts.pieces():
            await self.send("".join(text for _, text in pieces))
            await texts.gather(GATHER_SECONDS)
        if not self._headers_written:
            await self.send("")  # a text without a character

    def on_connection_close(self) -> None:
        """The client is gone: its texts need not be written."""
        if self._texts is not None:
            self._texts.leave()
        super().on_connection_close()


class GenerateHandler(WritingHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        form = preferred(self.request.headers.get("Accept", ""), JSON, EVENTS, PLAIN)
        self.set_header("Vary", "Accept")
        await self.write_texts(id, self.json(), form)


class SampleHandler(WritingHandler):
    @action("execute")
    async def get(self, id: str) -> None:
        await self.write_texts(id, asked.query(self.request, **READERS), PLAIN, with_prompt=True)


class PredictHandler(CharRNNHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        wanted = asked.body(self.json(), prompt=asked.text, top=_top, temperature=_temperature)
        self.reply(await self.app.writing.look(lambda: _predictions(self.workspace, id, **wanted)))


class ScoreHandler(CharRNNHandler):
    @action("execute")
    async def post(self, id: str) -> None:
        wanted = asked.body(self.json(), "text", text=_scored)
        self.finish(await self.app.writing.look(lambda: _encoded(_score(self.workspace, id, wanted["text"]))))


# in threads -----------------------------------------------------------------------------------------------------------


def _to_write(
    workspace: Workspace, id: str, sampling: Mapping[str, Any], form: str
) -> tuple[Model, SamplingOptions, int]:
    """The model, the options, and how many models may write at a time. Counts as a generation."""
    from charrnn_server.generation import check_size

    def check(options: SamplingOptions) -> None:
        check_size(options)
        if form == PLAIN and (options.count or 1) > 1:
            problem = f"plain text is one text; ask for {JSON} or {EVENTS}"
            raise InvalidOptions(f"count: {problem}", {"count": problem})

    model, options = workspace.to_write(id, check=check, **asked.sampling_options(sampling))
    return model, options, workspace.settings.model_cache


def _predictions(
    workspace: Workspace, id: str, prompt: str = "", top: int = TOP, temperature: float = 1.0
) -> dict[str, Any]:
    from charrnn.network.sampling import SamplingOptions
    from charrnn_server.generation import check_size

    check_size(SamplingOptions(prompt=prompt))
    predictions = workspace.predict(id, prompt, top=top, temperature=temperature)
    unknown = workspace.model(id).unseen(prompt)
    return {"predictions": [vars(prediction) for prediction in predictions], "unknown": list(unknown)}


def _score(workspace: Workspace, id: str, text: str) -> dict[str, Any]:
    score = workspace.score(id, text)
    characters = [
        {"character": character, "nats": None if math.isnan(nats) else nats}
        for character, nats in zip(text, score, strict=True)
    ]
    mean = score.nats_per_character
    return {"nats_per_character": None if math.isnan(mean) else mean, "characters": characters}


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def _about(model: Model, options: SamplingOptions) -> dict[str, Any]:
    """What is told of texts besides them."""
    seed = {} if options.seed is None else {"seed": options.seed}
    return {"prompt": options.prompt, **seed, "unknown": list(model.unseen(options.prompt))}


# readers --------------------------------------------------------------------------------------------------------------


def _top(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # in JSON there is no other difference
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
        raise ValueError(f"must be a whole number from 1 to {MOST:,}")
    return value


def _temperature(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise ValueError("must be a number from 0 to 100")
    return float(value)


def _scored(value: Any) -> str:
    if len(asked.text(value)) > SCORED:
        raise ValueError(f"may have {SCORED:,} characters here")
    return str(value)


def _whole_number(value: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 19:
        raise ValueError("must be a whole number")
    return int(value)


def _number(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


READERS: dict[str, asked.Reader] = {
    "prompt": asked.text, "length": _whole_number, "temperature": _number, "top_k": _whole_number, "top_p": _number,
    "seed": _whole_number, "stop": asked.text, "count": _whole_number,
    "start_string": asked.text, "max_length": _whole_number,  # the classic names
}  # fmt: skip

ROUTES = [
    (f"{MODEL}/generate", GenerateHandler),
    (f"{MODEL}/sample", SampleHandler),
    (f"{MODEL}/predict", PredictHandler),
    (f"{MODEL}/score", ScoreHandler),
]
