"""Writing texts: streams of one model that step together, and may join and leave between any two steps.

It knows prompts, lengths, stop texts and seeds. It does not know files or training, and leaves the arithmetic to
`batch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charrnn.network.batch import Batch, Floats, FoldedWeights, StreamState
from charrnn.network.sampling import Noise, SamplingOptions
from charrnn.network.threads import one_thread

if TYPE_CHECKING:
    from charrnn.network.model import Model

STEP = 32  # characters of one `Generator.step`
NOISE = 4 * 2**20  # numbers of noise that are drawn at once, at most
READ = 256  # characters of all prompts that are read in one `step`, so that nobody need wait long
READ_ALONE, READ_LEAST = 1024, 16  # of a prompt when nobody waits, and in any case


class Stream:
    """One text in the making. Made by `Generator.join`, moved on by `Generator.step`."""

    def __init__(self, options: SamplingOptions, index: int, vocab_size: int) -> None:
        self.options = options
        self.written = 0  # characters, a stop text included
        self.finished = False
        self.reason: str | None = None  # "length" or "stop", once finished
        seed, temperature = options.seed, options.temperature
        self._noise = None if seed is None else Noise(seed, index, vocab_size, temperature)  # else from the group
        self._held = ""  # could be the beginning of a stop text
        self._pieces: list[str] = []
        self._logits: Callable[[], Floats] | None = None

    def take(self) -> str:
        """What was written since the last call."""
        piece = "".join(self._pieces)
        self._pieces.clear()
        return piece

    @property
    def remaining(self) -> int:
        """Characters that it may still write."""
        return 0 if self.finished else self.options.length - self.written

    @property
    def logits(self) -> Floats | None:
        """A copy, float32 [V]: what the next character is drawn from; None before the prompt is read."""
        return self._logits() if self._logits else None

    def _end(self, reason: str) -> None:
        self.finished, self.reason = True, reason

    def _receive(self, text: str) -> None:
        """Take new characters in: hand out what cannot become a stop text, and end at the first one that is whole."""
        self.written += len(text)
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self.options.stop if (at := text.find(stop)) >= 0]
        if ends:  # the one that is whole first; of those that end together the longest
            end, start = min(ends)
            self.written -= len(text) - end
            self._held = ""
            self._pieces.append(text[:start])
            self._end("stop")
            return
        held = 0
        if self.written < self.options.length:
            for stop in self.options.stop:
                held = max(held, _overlap(text, stop))
        else:
            self._end("length")
        self._held = text[len(text) - held :]
        self._pieces.append(text[: len(text) - held])


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper beginning of `stop` that `text` ends with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


@dataclass
class _Prompt:
    """A prompt that is being read, once for all streams that came with it at the same time."""

    unread: NDArray[Any]
    streams: list[Stream]
    state: StreamState | None = None  # after what was read; None before


class Generator:
    """Writes with one model, any number of streams at once.

    Drive it from one thread at a time: `join`, `leave` and `step` are not guarded against one another. Generators
    share a model's folded weights, which never change, so several threads may each drive their own.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._folded = model.folded
        self._reading: list[_Prompt] = []
        self._groups = {seeded: _Group(self._folded, seeded) for seeded in (False, True)}

    @property
    def streams(self) -> list[Stream]:
        """The streams that are not finished."""
        reading = [stream for prompt in self._reading for stream in prompt.streams]
        return reading + [stream for group in self._groups.values() for stream in group.streams]

    def join(self, prompt: str | None = None, options: SamplingOptions | None = None, index: int = 0) -> Stream:
        """A new stream. `prompt` goes before that of `options`; `index` tells streams of the same seed apart.

        Characters of the prompt that the model has never seen are read as unknown; `Model.unseen` names them.
        """
        options = options or SamplingOptions()
        ids = self._model.prompt_ids(options.prompt if prompt is None else prompt)
        stream = Stream(options, index, self._folded.sizes.vocab_size)
        if not options.length:
            stream._end("length")
            return stream
        for waiting in self._reading:
            if waiting.state is None and np.array_equal(waiting.unread, ids):
                waiting.streams.append(stream)
                return stream
        self._reading.append(_Prompt(ids, [stream]))
        return stream

    def leave(self, stream: Stream) -> None:
        """Stop writing this stream; nothing happens if it has finished."""
        for prompt in self._reading:
            if stream in prompt.streams:
                prompt.streams.remove(stream)
        self._reading = [prompt for prompt in self._reading if prompt.streams]
        for group in self._groups.values():
            group.leave(stream)

    def step(self, characters: int = STEP) -> list[Stream]:
        """Move every stream on: read some of its prompt, or write up to `characters`; return the streams that wrote.

        Those that finish leave by themselves. No stream ever gets other characters for the company it is in if it
        has a seed.
        """
        with one_thread():
            if self._reading:
                self._read()
            wrote = []
            for group in self._groups.values():
                wrote += group.step(characters, self._model)
        return wrote

    def _read(self) -> None:
        """Read on in every prompt that is not read yet; the streams of those that are done get ready to write."""
        alone = len(self._reading) == 1 and not any(group.streams for group in self._groups.values())
        limit = READ_ALONE if alone else max(READ_LEAST, READ // len(self._reading))
        for prompt in self._reading:
            reader = Batch(self._folded, row_by_row=True)
            reader.add(prompt.state)
            reader.read(prompt.unread[:limit])
            prompt.unread, prompt.state = prompt.unread[limit:], reader.state(0)
            if not len(prompt.unread):
                for stream in prompt.streams:
                    self._groups[stream.options.seed is not None].join(stream, prompt.state)
        self._reading = [prompt for prompt in self._reading if len(prompt.unread)]


class _Group:
    """The streams that write, either all with seeds or all without, and their rows."""

    def __init__(self, folded: FoldedWeights, seeded: bool) -> None:
        self.streams: list[Stream] = []
        self._batch = Batch(folded, row_by_row=seeded)
        self._noise = None if seeded else Noise(None, 0, folded.sizes.vocab_size, 1.0)  # of all streams

    def join(self, stream: Stream, state: StreamState) -> None:
        self._batch.add(state)
        self.streams.append(stream)
        stream._logits = lambda: self._batch.logits(self.streams.index(stream))

    def leave(self, stream: Stream) -> None:
        if stream in self.streams:
            index = self.streams.index(stream)
            self._batch.remove(index)
            del self.streams[index]
            stream._logits = None

    def step(self, characters: int, model: Model) -> list[Stream]:
        if not self.streams:
            return []
        at_once = NOISE // (len(model.vocabulary) * len(self.streams))
        characters = max(1, min(characters, at_once, *(stream.remaining for stream in self.streams)))
        restricted = [
            (index, stream.options)
            for index, stream in enumerate(self.streams)
            if stream.options.top_k is not None or stream.options.top_p is not None
        ]
        ids = self._batch.write(self._draw(characters), restricted)
        wrote = list(self.streams)
        text = model.vocabulary.decode(ids.T)
        for index, stream in enumerate(wrote):
            stream._receive(text[index * characters : (index + 1) * characters])
        for stream in wrote:
            if stream.finished:
                self.leave(stream)
        return wrote

    def _draw(self, characters: int) -> Floats:
        """Noise [characters, streams, V], of each stream at its temperature."""
        if self._noise is None:
            return np.stack([stream._noise.draw(characters) for stream in self.streams if stream._noise], axis=1)
        noise = self._noise.draw(characters * len(self.streams)).reshape(characters, len(self.streams), -1)
        temperatures = np.array([[stream.options.temperature] for stream in self.streams], np.float32)
        if (temperatures != 1).any():
            noise *= temperatures
        return noise


def pieces(generator: Generator, stream: Stream, characters: int = STEP) -> Iterator[str]:
    """Drive a generator until `stream` is finished, and yield its text as it comes."""
    try:
        while not stream.finished:
            generator.step(characters)
            if piece := stream.take():
                yield piece
    finally:
        generator.leave(stream)


def pieces_together(
    generator: Generator, streams: Sequence[Stream], every_seconds: float, step_seconds: float = 0.01
) -> Iterator[list[str]]:
    """Drive a generator until all `streams` are finished, and yield what each has written since the last time.

    That is every so many seconds, whether anything was written or not, so that whoever wants no more of it is heard
    soon; a step takes about `step_seconds`.
    """
    characters, told = 1.0, time.monotonic()
    try:
        while not all(stream.finished for stream in streams):
            begin = time.monotonic()
            wrote = generator.step(int(characters))
            now = time.monotonic()
            if wrote:
                share = step_seconds / max(now - begin, 1e-6)
                characters = min(max(1.0, characters * min(share, 2.0)), 256.0)
            if now - told >= every_seconds:
                told = now
                yield [stream.take() for stream in streams]
        yield [stream.take() for stream in streams]
    finally:
        for stream in streams:
            generator.leave(stream)
