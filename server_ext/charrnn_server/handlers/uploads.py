"""Files that are sent: the text of a model, a new model with its text, a model from elsewhere.

It knows how a body gets into a file without the event loop ever waiting for the disk, and that nothing is left of what
was not sent whole. It does not know what is in the files.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from jupyter_server.utils import url_path_join
from tornado.web import Finish, HTTPError

from charrnn.choices import NAME_LENGTH, checked_name
from charrnn.errors import InvalidOptions
from charrnn.lines import printable
from charrnn_server import asked, metrics
from charrnn_server.app import API
from charrnn_server.form import PlainBody, body_of
from charrnn_server.handlers.base import action
from charrnn_server.handlers.models import MODEL, ModelHandler, with_places

if TYPE_CHECKING:
    from asyncio import Future, Task

    from jupyter_server.auth import User

    from charrnn.jobs.records import ModelRecord
    from charrnn.received import Incoming
    from charrnn.workspace import Workspace

PIECE = 250_000  # bytes that wait for the disk while it is busy; no more is taken from the connection then


class UploadHandler(ModelHandler):
    """Takes in one file: of a form, in its field `file`, or as the whole body."""

    _incoming: Incoming | None = None
    _writing: Task[None] | None = None
    _counted: User | None = None  # as one whose file comes in
    _gone = False  # whoever sends, or waits for the answer
    _closing: ClassVar[set[Task[None]]] = set()  # so that nobody collects them before they are done

    def initialize(self) -> None:
        self._form = PlainBody()

    def place(self, workspace: Workspace) -> Incoming:
        """Where the file goes. What can be refused before the body comes is refused here, in a thread."""
        raise NotImplementedError

    async def before_body(self) -> None:
        if self.request.method != "POST":
            return
        self._form = body_of(self.request.headers.get("Content-Type", ""))
        self._waiting = bytearray()
        assert self.current_user is not None
        self.app.upload_begins(self.current_user)
        self._counted = self.current_user
        self._incoming = await self.run(self.place)

    def most_bytes(self) -> int:
        if self._incoming is None:
            return super().most_bytes()
        limit = self._incoming.limit
        return sys.maxsize if limit is None else limit + self._form.beside_file

    async def take(self, chunk: bytes) -> None:
        """A task writes what waits, while more of it comes in: in small pieces of somebody slow, else in large ones."""
        if self._incoming is None:  # a request that is none for a file
            await super().take(chunk)
            return
        self._waiting += self._form.feed(chunk)
        if self._form.file_name:
            self._incoming.name = printable(self._form.file_name)
        if self._waiting and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write(self._incoming))
        if self._writing is not None and len(self._waiting) >= PIECE:
            await self._writing

    async def _write(self, incoming: Incoming) -> None:
        try:
            while self._waiting and not self.answered:
                piece = bytes(self._waiting)
                self._waiting.clear()
                await self.app.run(incoming.write, piece)
        except Exception as error:
            if not self.answered:
                self._handle_request_exception(error)

    def fields(self) -> dict[str, str]:
        """What was given beside the file, in the address or in the form, where what is empty was not given.

        Raises InvalidOptions.
        """
        given = asked.parameters(self.request)
        in_form = {name: value for name, value in self._form.fields.items() if value and name != "_xsrf"}
        twice = dict.fromkeys(given.keys() & in_form.keys(), "given both in the address and in the form")
        if twice:
            raise InvalidOptions("; ".join(f"{name}: {problem}" for name, problem in twice.items()), twice)
        return given | in_form

    def filled_in(self) -> dict[str, str]:
        """The fields of the form that have come, as far as they have."""
        return dict(self._form.fields)

    async def received(self, work: Callable[[Workspace, Incoming], ModelRecord]) -> dict[str, Any]:
        """The model in JSON that `work` makes of the file, once that is there."""
        self._form.end()
        if self._writing is not None:
            await self._writing
        if self.answered:
            raise Finish
        incoming, self._incoming = self._incoming, None  # from here on it is no longer ours to close
        assert incoming is not None

        def hand_over(workspace: Workspace) -> dict[str, Any]:
            with incoming:
                (model,) = with_places(workspace, [work(workspace, incoming)])
            metrics.uploaded(incoming.size)
            return model

        return await self.run_long(hand_over)

    def go_on(self, _: float) -> None:
        """Give up a text that is read in when the server ends, or when nobody waits for the model any more."""
        if self._gone:
            raise HTTPError(499, "whoever sent it has hung up")
        if self.app.stopping:
            raise HTTPError(503, "the server is ending; send it again in a moment")

    async def reply_received(self, work: Callable[[Workspace, Incoming], ModelRecord], *, new: bool = True) -> None:
        """Answer with that model, a `new` one with its address."""
        model = await self.received(work)
        if new:
            self.set_header("Location", url_path_join(self.base_url, API, "models", model["id"]))
        self.reply(model, 201)

    # whatever the end is, nothing is left behind ----------------------------------------------------------------------

    def finish(self, *arguments: Any, **options: Any) -> Future[Any]:
        self._discard()
        return super().finish(*arguments, **options)

    def on_connection_close(self) -> None:
        self._gone = True
        self._discard()
        super().on_connection_close()

    def _discard(self) -> None:
        counted, self._counted = self._counted, None
        if counted is not None:
            self.app.upload_ends(counted)
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        self._waiting.clear()
        closing = asyncio.create_task(self._close(incoming))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self, incoming: Incoming) -> None:
        if self._writing is not None:
            await asyncio.wait([self._writing])
        await self.app.run(incoming.close)


class CorpusHandler(UploadHandler):
    def place(self, workspace: Workspace) -> Incoming:
        asked.query(self.request, name=checked_name)
        return workspace.receive_text(self.path_args[0])

    @action("write")
    async def post(self, id: str) -> None:
        name = asked.body(self.fields(), name=checked_name).get("name")
        await self.reply_received(
            lambda workspace, text: workspace.attach(id, text, name=name, progress=self.go_on), new=False
        )


@dataclass(frozen=True)
class Wanted:
    """What somebody wants of a model who sends the text for it."""

    name: str | None
    start: bool
    options: Mapping[str, Any]

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Wanted:
        """Raises InvalidOptions."""
        options = dict(fields)
        name, start = options.pop("name", None), options.pop("start", "true")
        if start not in ("true", "false"):
            problem = f"must be true or false, not {start[:40]!r}"
            raise InvalidOptions(f"start: {problem}", {"start": problem})
        trained = asked.training_words(options, "name", "start")
        return cls(None if name is None else checked_name(name), start == "true", trained)


class NewModelHandler(UploadHandler):
    """A text for a model that is not there yet."""

    def place(self, workspace: Workspace) -> Incoming:
        Wanted.read(asked.parameters(self.request))
        return workspace.receive_text()

    def create(self, workspace: Workspace, wanted: Wanted, text: Incoming) -> ModelRecord:
        """The new model, called like its file unless it has a name."""
        name = wanted.name or Path(text.name).stem.strip()[:NAME_LENGTH] or "text"
        record = workspace.create(name, text, start=wanted.start, progress=self.go_on, **wanted.options)
        return self.trained(record) if wanted.start else record


class UploadsHandler(NewModelHandler):
    @action("write")
    async def post(self) -> None:
        fields = self.fields()
        await self.reply_received(lambda workspace, text: self.create(workspace, Wanted.read(fields), text))


class ImportHandler(UploadHandler):
    def place(self, workspace: Workspace) -> Incoming:
        asked.query(self.request, name=checked_name)
        return workspace.receive_model()

    @action("write")
    async def post(self) -> None:
        name = asked.body(self.fields(), name=checked_name).get("name")
        await self.reply_received(lambda workspace, file: workspace.import_model(file, name))


ROUTES = [
    (rf"{MODEL}/corpus", CorpusHandler),
    (f"{API}/uploads", UploadsHandler),
    (f"{API}/models/import", ImportHandler),
]
