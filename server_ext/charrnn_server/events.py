"""What happens to models, told to all who listen: one question a tick finds those that have news, however many listen.

It knows ticks, positions, who listens, and how Server-Sent Events are written. It does not know HTTP, nor who may
listen to what.

A listener first reads what was before in pages of its own, until it is level with the feed of the model. From then on
it takes what the feed has found. Nothing is kept for a single listener: the feed keeps what it found last, and whoever
has fallen behind that reads pages again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from charrnn.errors import CharRNNError, ModelNotFound, QuotaExceeded
from charrnn.jobs.records import Glance, ModelRecord, News, Position

RECENT = 100  # findings that a feed keeps
LONGEST_PAUSE = 5.0  # seconds between two looks while the database does not answer
AGAIN_SECONDS = 10.0  # when to come back if too many listen
STILL_HERE = b": still here\n\n"  # a comment, so that nobody on the way thinks that the connection is dead

_ID = re.compile(r"([0-9]{1,9}):(-1|[0-9]{1,15}):(-1|[0-9]{1,15}):(-1|[0-9]{1,15})")


def position_of(event_id: str) -> Position:
    """The position that an event's id names. Raises ValueError for what is no such id."""
    found = _ID.fullmatch(event_id) if isinstance(event_id, str) else None
    if found is None:
        raise ValueError("must be the id of an event, such as 1:20:400:400")
    return Position(*map(int, found.groups()))


def event(name: str, data: Mapping[str, Any], position: Position | None = None) -> bytes:
    """One event, in JSON, which has no ends of lines in it."""
    return _event(name, _json(data), position)


def _event(name: str, data: str, position: Position | None) -> bytes:
    id = "" if position is None else f"id: {_id(position)}\n"
    return f"event: {name}\n{id}data: {data}\n\n".encode()


def _id(position: Position) -> str:
    return f"{position.attempt}:{position.log}:{position.metric}:{position.sample}"


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def rows(news: News) -> bytes:
    """Lines, metrics and samples as events. Each has the position after it as its id."""
    position, events = news.start, []
    for line in news.lines:
        position = dataclasses.replace(position, log=line.position)
        told = {"position": line.position, "created_at": line.created_at.isoformat(), "text": line.text}
        events.append(event("log", told, position))
    for metric in news.metrics:
        position = dataclasses.replace(position, metric=metric.step)
        events.append(event("metric", vars(metric), position))
    for sample in news.samples:
        position = dataclasses.replace(position, sample=sample.step)
        events.append(event("sample", vars(sample), position))
    return b"".join(events)


@dataclass(frozen=True)
class Finding:
    """What one look at a model has found."""

    news: News
    rows: bytes  # as events
    model: Mapping[str, Any]  # the model as JSON, but for the time of its last change: many of those change nothing
    status: str  # the model as JSON

    @classmethod
    def of(cls, news: News) -> Finding:
        """The finding, written down: this takes a while for many rows."""
        from charrnn_server.handlers.models import model_json

        model = model_json(news.record, news.place)
        status = _json(model)
        del model["updated_at"]
        return cls(news, rows(news), model, status)

    def moved(self, place: int | None) -> Finding:
        """The same model with another place in the queue, and nothing else that is new."""
        nothing: dict[str, Any] = {"lines": [], "metrics": [], "samples": [], "full": False}
        return Finding.of(dataclasses.replace(self.news, place=place, start=self.news.position, **nothing))

    def told(self, position: Position | None = None) -> bytes:
        """The status as an event, at a position or at the end of what was found."""
        return _event("status", self.status, position or self.news.position)


Look: TypeAlias = Callable[[str, Position], Awaitable[Finding]]
LookAtAll: TypeAlias = Callable[[Collection[str]], Awaitable[Mapping[str, Glance]]]


class Hub:
    """Who listens to which model. To be used on the event loop only."""

    def __init__(self, look: Look, glance: LookAtAll, *, tick: float, heartbeat: float, most: int) -> None:
        """`look` asks for what happened to a model after a position, `glance` which of many may have news.

        Seconds; `most` may listen at a time.
        """
        self.look, self.glance, self.tick, self.heartbeat, self.most = look, glance, tick, heartbeat, most
        self.feeds: dict[str, Feed] = {}
        self.listeners: set[Listener] = set()
        self.closed = False
        self._task: asyncio.Task[None] | None = None

    def listen(self, id: str, position: Position, look: Look) -> Listener:
        """Somebody who listens to a model from a position on; `look` is theirs, and may refuse.

        Raises QuotaExceeded when too many do already.
        """
        if len(self.listeners) >= self.most:
            raise QuotaExceeded(f"{self.most} listen here already, which is the most; try again soon", AGAIN_SECONDS)
        listener = Listener(self, id, position, look)
        self.listeners.add(listener)
        return listener

    def feed(self, id: str, finding: Finding) -> Feed:
        """The feed of a model; `finding` is what was found last by whoever comes first."""
        feed = self.feeds.get(id)
        if feed is None:
            feed = self.feeds[id] = Feed(self, id, finding)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return feed

    def close(self) -> None:
        """Let all listeners end; they can go on elsewhere."""
        self.closed = True
        if self._task is not None:
            self._task.cancel()
        for feed in [*self.feeds.values()]:
            feed.end()
        for listener in self.listeners:
            listener.woken.set()

    async def _run(self) -> None:
        """Look at all models that somebody listens to, once a tick."""
        pause = self.tick
        while self.feeds:
            await asyncio.sleep(pause)
            for feed in [*self.feeds.values()]:
                if not feed.listeners:
                    feed.end()
            try:
                glances = await self.glance([*self.feeds])
            except CharRNNError:  # the database is away
                pause = min(2 * pause, max(LONGEST_PAUSE, self.tick))
                continue
            except Exception as error:
                logging.getLogger(__name__).exception("nobody looks at any model any more")
                for feed in [*self.feeds.values()]:
                    feed.end(error)
                return
            pause = self.tick
            for feed in [*self.feeds.values()]:
                feed.glanced_at(glances.get(feed.id))


class Feed:
    """One model that somebody listens to, and what was found of it."""

    def __init__(self, hub: Hub, id: str, finding: Finding) -> None:
        self.hub, self.id, self.last = hub, id, finding
        self.recent: deque[Finding] = deque(maxlen=RECENT)
        self.count = 0  # of findings so far
        self.listeners: set[Listener] = set()
        self.error: Exception | None = None  # why it has ended
        self._is_settled = False  # the last look has found nothing that was new
        self._looking: asyncio.Task[None] | None = None

    def since(self, count: int) -> list[Finding] | None:
        """The findings after so many; None: they are not kept any more."""
        missed = self.count - count
        return None if missed > len(self.recent) else list(self.recent)[len(self.recent) - missed :]

    def glanced_at(self, glance: Glance | None) -> None:
        """Look at the model itself where it may have news; None: there seems to be no such model any more.

        After news it is looked at once more: two changes may have been made within one tick of the database's clock.
        """
        if self._looking is not None:
            return
        last = self.last.news
        if glance is None or glance.updated_at != last.record.updated_at or not self._is_settled:
            self._looking = asyncio.create_task(self._look())
        elif glance.place != last.place:
            self._take(self.last.moved(glance.place))

    def end(self, error: Exception | None = None) -> None:
        """Look no more."""
        self.error = error
        if self._looking is not None:
            self._looking.cancel()
        if self.hub.feeds.get(self.id) is self:
            del self.hub.feeds[self.id]
        self._wake()

    async def _look(self) -> None:
        error: Exception | None = None
        try:
            is_full = True
            while is_full:
                self._is_settled = not self._take(await self.hub.look(self.id, self.last.news.position))
                is_full = self.last.news.full
        except ModelNotFound as gone:
            error = gone
        except CharRNNError:  # the database is away: the next glance tells when it is back
            self._is_settled = False
        except Exception as unexpected:
            logging.getLogger(__name__).exception("nobody looks at the model %s any more", self.id)
            error = unexpected
        finally:
            self._looking = None
        if error is not None:
            self.end(error)

    def _take(self, finding: Finding) -> bool:
        """Keep what was found. Whether it is news."""
        if finding.model == self.last.model:
            finding = dataclasses.replace(finding, model=self.last.model)
        is_news = bool(finding.rows) or finding.model is not self.last.model
        self.last = finding
        if is_news:
            self.recent.append(finding)
            self.count += 1
            self._wake()
        return is_news

    def _wake(self) -> None:
        for listener in self.listeners:
            listener.woken.set()


@dataclass(frozen=True)
class Batch:
    """Events to be sent together, and the model as they leave it."""

    events: bytes
    record: ModelRecord
    level: bool  # there is nothing more to tell now


class Listener:
    """Somebody who listens to one model. Made by `Hub.listen`."""

    def __init__(self, hub: Hub, id: str, position: Position, look: Look) -> None:
        self.woken = asyncio.Event()
        self._hub, self._id, self._position, self._look = hub, id, position, look
        self._left = False
        self._feed: Feed | None = None  # while it listens to one
        self._finding: Finding
        self._model: Mapping[str, Any] = {}  # that was told last

    def leave(self) -> None:
        """It does not listen any more."""
        self._left = True
        self._hub.listeners.discard(self)
        self._leave_feed()
        self.woken.set()

    def _leave_feed(self) -> None:
        if self._feed is not None:
            self._feed.listeners.discard(self)
            self._feed = None

    async def batches(self) -> AsyncIterator[Batch]:
        """All that has happened, then what happens, without an end; from time to time only that we are still here.

        Ends when the listener leaves or the hub closes. Raises what `look` raises, ModelNotFound once the model is
        deleted, and what happens when nobody can look at it any more.
        """
        while not self._over:
            async for batch in self._before():
                yield batch
            async for batch in self._as_it_happens():
                yield batch

    @property
    def _over(self) -> bool:
        return self._left or self._hub.closed

    async def _before(self) -> AsyncIterator[Batch]:
        """Pages, up to where the feed is, if there is one."""
        while not self._over:
            finding = await self._look(self._id, self._position)
            yield self._take(finding, finding.rows, level=not finding.news.full)
            if finding.news.full:
                continue
            feed = self._hub.feeds.get(self._id)
            if feed is None or _is_level(finding, feed.last):
                return
            await asyncio.sleep(self._hub.tick / 5)

    async def _as_it_happens(self) -> AsyncIterator[Batch]:
        """What the feed finds, until this listener has fallen behind."""
        if self._over:
            return
        feed = self._hub.feed(self._id, self._finding)
        feed.listeners.add(self)
        self._feed = feed
        count, is_first = feed.count, True
        while not self._over:
            self.woken.clear()
            findings = feed.since(count)
            if findings is None:
                break
            for finding in findings:
                count += 1  # the first finding may begin with what was in the last page
                events = rows(finding.news.beyond(self._position)) if is_first else finding.rows
                is_first = False
                yield self._take(finding, events, level=finding is findings[-1])
            if findings or self._over:
                continue
            if feed.error is not None:
                raise feed.error
            try:
                await asyncio.wait_for(self.woken.wait(), self._hub.heartbeat)
            except TimeoutError:
                yield Batch(STILL_HERE, self._finding.news.record, level=False)
        self._leave_feed()

    def _take(self, finding: Finding, events: bytes, *, level: bool) -> Batch:
        """Rows and the model, if it is another one by now: before them the first time, to be told at once, then after
        them, so that an end comes last."""
        if not self._model:
            events = finding.told(finding.news.start) + events
        elif finding.model is not self._model and finding.model != self._model:
            events += finding.told()
        self._finding, self._model, self._position = finding, finding.model, finding.news.position
        return Batch(events, finding.news.record, level)


def _is_level(mine: Finding, feeds: Finding) -> bool:
    """Whether what was read is as new as what the feed has found, so that all it finds from now on is newer."""
    my_time, its_time = mine.news.record.updated_at, feeds.news.record.updated_at
    is_as_new = my_time > its_time or (my_time == its_time and mine.model == feeds.model)
    return is_as_new and mine.news.position.reaches(feeds.news.position.as_of(mine.news.record))
