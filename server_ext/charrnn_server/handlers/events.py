"""Server-Sent Events of one model: its status, log lines, metrics and samples, as they happen.

It knows HTTP and who may listen. What is told, and in which order, the hub knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.web import HTTPError

from charrnn.errors import CharRNNError, ModelNotFound
from charrnn.jobs.records import Position
from charrnn_server import asked
from charrnn_server.events import STILL_HERE, Batch, Finding, Listener, event, position_of
from charrnn_server.handlers.base import action
from charrnn_server.handlers.models import MODEL
from charrnn_server.handlers.streaming import Gone, StreamingHandler

if TYPE_CHECKING:
    from charrnn.workspace import Workspace

AGAIN_MILLISECONDS = 2_000  # after which a browser that lost the connection comes back


class EventsHandler(StreamingHandler):
    """What happens to a model, for as long as somebody listens."""

    _listener: Listener | None = None

    @action("read")
    async def get(self, id: str) -> None:
        wanted = asked.query(self.request, last_event_id=position_of, until=asked.one_of("rest"))
        position = self._resumed() or wanted.get("last_event_id")
        workspace = await self.run(lambda workspace: workspace)
        self._listener = self.app.hub.listen(id, position or Position(), self._look)
        try:
            await self._tell(self._listener, workspace, until_rest="until" in wanted)
        except Gone:
            pass
        finally:
            self._listener.leave()

    def _resumed(self) -> Position | None:
        """What a browser says that it heard last. It counts more than the address, which is that of the first time."""
        header = self.request.headers.get("Last-Event-ID")
        if not header:
            return None
        resumed: Position = asked.body({"last_event_id": header}, last_event_id=position_of)["last_event_id"]
        return resumed

    async def _look(self, id: str, position: Position) -> Finding:
        return await self.run(lambda workspace: Finding.of(workspace.news(id, position)))

    async def _tell(self, listener: Listener, workspace: Workspace, until_rest: bool) -> None:
        begun = False
        try:
            async for batch in listener.batches():
                if not begun:
                    self.begin("text/event-stream")
                    await self.send(f"retry: {AGAIN_MILLISECONDS}\n\n".encode() + batch.events)
                    begun = True
                elif await self._may_listen(workspace, batch):
                    await self.send(batch.events)
                else:
                    await self._end("access", "you may not listen to this model any more")
                    return
                if until_rest and batch.level and not batch.record.active:
                    await self._end("rest", f"the model is {batch.record.status}")
                    return
        except ModelNotFound:
            if not begun:
                raise
            await self._end("deleted", "the model is not there any more")
        except CharRNNError:  # the database is away: whoever comes back goes on where this ended
            if not begun:
                raise

    async def _may_listen(self, workspace: Workspace, batch: Batch) -> bool:
        """Whether they still may: asked of the policy every time, of Jupyter when there is nothing else to do."""
        if batch.events is not STILL_HERE:
            return workspace.sees(batch.record)
        try:
            await self._authorize()
        except HTTPError:
            return False
        return True

    async def _end(self, reason: str, message: str) -> None:
        await self.send(event("end", {"reason": reason, "message": message}))

    def on_connection_close(self) -> None:
        """The client is gone: nobody listens."""
        if self._listener is not None:
            self._listener.leave()
        super().on_connection_close()


ROUTES = [(f"{MODEL}/events", EventsHandler)]
