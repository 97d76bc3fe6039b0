"""Writing for many at once: a model in use has a thread, in which all texts that are asked of it move on together.

It knows who waits for which texts, and how long a step may take so that nobody waits long for a first character. It
does not know HTTP, nor which model somebody may use; the arithmetic is the network's.

A thread belongs to one version of a model: what begins after a better one was saved is written with that, what was
begun is finished with the old one. Texts come to the event loop as they are written.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from charrnn.errors import InvalidOptions, QuotaExceeded
from charrnn_server import metrics

if TYPE_CHECKING:
    from charrnn.network.generator import Generator, Stream
    from charrnn.network.model import Model
    from charrnn.network.sampling import SamplingOptions

Result = TypeVar("Result")

PROMPT = 10_000  # characters that may be read before a text, or before a prediction
TOTAL = 10_000_000  # characters of all texts of one request
STEP_SECONDS = 0.01  # that a step of all texts may take, so that whoever comes is soon let in
FIRST_STEP, LONGEST_STEP = 16, 256  # characters
LINE = 256  # requests that may wait for their turn with one model
IDLE_SECONDS = 10.0  # that a thread waits for more to do
LOOKING = 2  # texts that are scored, or read for a prediction, at a time
LOOKING_LINE = 32  # and that wait for it
BUSY_SECONDS = 5.0  # when to come back if there is no room

# The answer says which characters a model has never seen; the server's log need not.
warnings.filterwarnings("ignore", "the model has never seen", UserWarning)


def check_size(options: SamplingOptions) -> None:
    """Raises InvalidOptions for more than is written, or read first, at once."""
    problems = {}
    if len(options.prompt) > PROMPT:
        problems["prompt"] = f"may have {PROMPT:,} characters here, not {len(options.prompt):,}"
    if options.length * (options.count or 1) > TOTAL:
        problems["length"] = f"{TOTAL:,} characters may be asked for at once, in all texts together"
    if problems:
        raise InvalidOptions("; ".join(f"{name}: {problem}" for name, problem in problems.items()), problems)


class Texts:
    """The texts of one request in the making, `options.count` of them. Made by `Writing.write`."""

    def __init__(self, options: SamplingOptions, writer: Writer, as_written: bool) -> None:
        self.options, self.as_written = options, as_written
        self.count = options.count or 1
        self.begun = 0  # of them; the writer's business
        self.reasons: list[str] = [""] * self.count  # why each has ended: "length" or "stop"
        self._writer = writer
        self._pieces: list[tuple[int, str]] = []
        self._unfinished = self.count
        self._error: BaseException | None = None
        self._left = False
        self._news, self._end = asyncio.Event(), asyncio.Event()

    async def gather(self, seconds: float) -> None:
        """Let more be written for a while, or until there is nothing more to write."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._end.wait(), seconds)

    async def pieces(self) -> AsyncIterator[list[tuple[int, str]]]:
        """What was written since the last time, as (index, text), one of each text at most, until all are finished, or
        nobody waits for them.

        Raises what stopped the writing.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if self._left:
                return
            if self._error is not None:
                raise self._error
            finished = not self._unfinished
            if self._pieces:
                yield self._take()
            if finished:
                return

    async def whole(self) -> list[str]:
        """All texts, when all are finished."""
        texts = [""] * self.count
        async for pieces in self.pieces():
            for index, text in pieces:
                texts[index] += text
        return texts

    def leave(self) -> None:
        """Nobody waits for them any more: writing them ends at once."""
        if self._unfinished and not self._left:
            self._writer.leave(self)
        self._left = True
        self._news.set()
        self._end.set()

    def _take(self) -> list[tuple[int, str]]:
        texts: dict[int, list[str]] = {}
        for index, piece in self._pieces:
            texts.setdefault(index, []).append(piece)
        self._pieces = []
        return [(index, "".join(pieces)) for index, pieces in sorted(texts.items())]

    def arrive(self, index: int, piece: str, reason: str | None) -> None:
        """Take in what was written of a text, and why it has ended, if it has."""
        if piece:
            self._pieces.append((index, piece))
        if reason is not None:
            self.reasons[index] = reason
            self._unfinished -= 1
            if not self._unfinished:
                self._end.set()
        if self.as_written or not self._unfinished:
            self._news.set()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        self._error = error
        self._news.set()
        self._end.set()


@dataclass
class _Text:
    """One of the texts that move on."""

    texts: Texts
    index: int
    written: int = 0  # characters
    pieces: list[str] = field(default_factory=list)  # that nobody was told yet


class Writer:
    """The thread of one model. It ends when there has been nothing to do for a while."""

    def __init__(self, model: Model, streams: int) -> None:
        self._model, self._streams = model, streams
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: deque[Texts] = deque()  # those with texts that are not begun, whose turn is next first
        self._leaving: list[Texts] = []
        self._texts: dict[Stream, _Text] = {}
        self._ending = False
        self.ended = False
        threading.Thread(target=self._run, name="charrnn-write", daemon=True).start()

    # on the event loop ------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is asked of it."""
        with self._changed:
            return not self._waiting and not self._texts

    def add(self, texts: Texts) -> bool:
        """Have texts written. False: the thread has ended. Raises QuotaExceeded when too many wait."""
        with self._changed:
            if self.ended or self._ending:
                return False
            if len(self._waiting) >= LINE:
                raise QuotaExceeded(f"{LINE} wait already for this model to write; try again soon", BUSY_SECONDS)
            self._waiting.append(texts)
            self._changed.notify()
            return True

    def leave(self, texts: Texts) -> None:
        """Write these no more."""
        with self._changed:
            if texts in self._waiting:
                self._waiting.remove(texts)
            self._leaving.append(texts)
            self._changed.notify()

    def end(self) -> None:
        """Let the thread end, whatever it does."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    # in the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._write()
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Tell everybody that nothing more will come."""
        with self._changed:
            self.ended = True
            failed = {text.texts for text in self._texts.values()} | set(self._waiting)
        metrics.writing(-len(self._texts))

        def tell() -> None:
            for texts in failed:
                texts.fail(error)

        self._on_loop(tell)

    def _write(self) -> None:
        from charrnn.network.generator import Generator

        generator, step = Generator(self._model), _StepLength()
        while self._wait():
            self._let_go(generator)
            self._let_in(generator)
            characters = step.next(len(self._texts))
            begin = time.perf_counter()
            wrote = generator.step(characters)
            seconds = time.perf_counter() - begin
            moved = max((stream.written - self._texts[stream].written for stream in wrote), default=0)
            metrics.stepped(moved)
            step.took(moved, seconds)
            self._hand_out(wrote)

    def _wait(self) -> bool:
        """Wait until there is something to do. False: the thread is to end."""
        with self._changed:
            if not self._texts:
                self._changed.wait_for(lambda: self._waiting or self._ending, IDLE_SECONDS)
            self.ended = self._ending or not (self._texts or self._waiting)
            return not self.ended

    def _let_go(self, generator: Generator) -> None:
        with self._changed:
            leaving, self._leaving = set(self._leaving), []
        for stream, text in [*self._texts.items()] if leaving else ():
            if text.texts in leaving:
                generator.leave(stream)
                self._forget(stream)

    def _let_in(self, generator: Generator) -> None:
        """Begin texts, of each request in turn, as long as there is room."""
        begun: list[tuple[Texts, int]] = []
        with self._changed:
            while self._waiting and len(self._texts) + len(begun) < self._streams:
                texts = self._waiting.popleft()
                begun.append((texts, texts.begun))
                texts.begun += 1
                if texts.begun < texts.count:
                    self._waiting.append(texts)
        for texts, index in begun:
            stream = generator.join(options=texts.options, index=index)
            self._texts[stream] = _Text(texts, index)
            metrics.writing(1)
            if stream.finished:  # it was to have no length
                self._hand_out([stream])

    def _hand_out(self, wrote: list[Stream]) -> None:
        """Tell what was written: of texts that are wanted as they are written at once, of others when they end."""
        arrived = []
        for stream in wrote:
            text = self._texts[stream]
            text.written = stream.written
            text.pieces.append(stream.take())
            if stream.finished or text.texts.as_written:
                arrived.append((text.texts, text.index, "".join(text.pieces), stream.reason))
                text.pieces = []
            if stream.finished:
                self._forget(stream)

        def tell() -> None:
            for texts, index, piece, reason in arrived:
                texts.arrive(index, piece, reason)

        if arrived:
            self._on_loop(tell)

    def _forget(self, stream: Stream) -> None:
        with self._changed:
            del self._texts[stream]
        metrics.writing(-1)
        metrics.wrote(stream.written)

    def _on_loop(self, work: Callable[[], object]) -> None:
        """Have something done on the event loop, if that is still there."""
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            self._ending = True


class _StepLength:
    """How many characters a step may have, so that all texts together take the time that it should take."""

    def __init__(self) -> None:
        self._characters, self._texts = float(FIRST_STEP), 1

    def next(self, texts: int) -> int:
        """The next step, of so many texts: when there are more than before, they might take that much longer."""
        if texts > self._texts:
            self._characters *= self._texts / texts
        self._texts = max(1, texts)
        return max(1, int(min(self._characters, LONGEST_STEP)))

    def took(self, characters: int, seconds: float) -> None:
        """Learn from a step of so many characters."""
        if characters:
            self._characters = min(max(1.0, STEP_SECONDS * characters / seconds), 2 * self._characters, LONGEST_STEP)


class Writing:
    """All models that write. To be used on the event loop only."""

    def __init__(self, streams: int) -> None:
        """`streams`: texts that one model writes at a time."""
        self._streams = streams
        self._writers: dict[Model, Writer] = {}
        self._pool = ThreadPoolExecutor(LOOKING, "charrnn-look")
        self._looking = 0

    def write(self, model: Model, options: SamplingOptions, *, most_models: int, as_written: bool) -> Texts:
        """Begin to write texts, to be told `as_written`, or at their ends only.

        Raises QuotaExceeded when `most_models` write already, or too many wait for this one.
        """
        while True:
            writer = self._writers.get(model)
            if writer is None or writer.ended:
                self._make_room(most_models)
                writer = self._writers[model] = Writer(model, self._streams)
            texts = Texts(options, writer, as_written)
            if writer.add(texts):
                return texts
            del self._writers[model]

    async def look(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, called in a thread for what takes long and is not written: predictions and scores.

        Raises QuotaExceeded when too many wait.
        """
        if self._looking >= LOOKING + LOOKING_LINE:
            raise QuotaExceeded("too many wait already for predictions and scores; try again soon", BUSY_SECONDS)
        self._looking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._looking -= 1

    def close(self) -> None:
        """Let all threads end."""
        for writer in self._writers.values():
            writer.end()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make_room(self, most: int) -> None:
        self._writers = {model: writer for model, writer in self._writers.items() if not writer.ended}
        for model, writer in [*self._writers.items()]:
            if len(self._writers) >= most and writer.idle:
                writer.end()
                del self._writers[model]
        if len(self._writers) >= most:
            raise QuotaExceeded(f"{most} models write already, which is the most; try again soon", BUSY_SECONDS)
