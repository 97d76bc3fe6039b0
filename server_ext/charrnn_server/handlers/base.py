"""What every handler does: judge a request before its body is read, take in a bounded body, tell errors in JSON.

It knows identity, authorization, sizes and status codes. It does not know models.

A request is judged in `prepare`, which Tornado awaits before it reads the body of a handler that streams: who is it,
may they, does the token against cross-site requests fit, is the body too large. Every handler streams, so that nothing
is kept in memory of somebody who may not send it; `json` is there for those that take a small document.
"""

from __future__ import annotations

import asyncio
import functools
import json
import math
import sys
from asyncio import Future
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import APIHandler
from tornado.web import HTTPError, stream_request_body

from charrnn import errors

if TYPE_CHECKING:
    from charrnn.workspace import Workspace
    from charrnn_server.app import CharRNNServer

__all__ = ["CharRNNHandler", "action", "allow_unauthenticated"]

Result = TypeVar("Result")
Method = TypeVar("Method", bound=Callable[..., Any])

JSON_LIMIT = 1_000_000  # bytes
REFUSED_SECONDS = 5.0  # that somebody who was refused has to stop sending and read why
DRAINED_BYTES = 16_000_000  # that may still come of them meanwhile
DOCUMENT_SILENCES = 10  # times as long as a client may be silent, a small document may take to come
QUOTA_SECONDS = 60  # when to try again if nobody knows better

STATUS: Mapping[type[errors.CharRNNError], int] = {
    errors.ModelNotFound: 404,
    errors.FileNotInStorage: 404,
    errors.NotAllowed: 403,
    errors.InvalidTransition: 409,
    errors.WouldOverwrite: 409,
    errors.AmbiguousName: 409,
    errors.NoText: 409,  # before their parents: texts and files are wrong, but a model is not there yet
    errors.NothingLearned: 409,
    errors.TooLarge: 413,
    errors.InvalidOptions: 422,
    errors.InvalidCorpus: 422,
    errors.InvalidModel: 422,
    errors.QuotaExceeded: 429,
    errors.DatabaseUnavailable: 503,
    errors.DatabaseOutdated: 503,
    errors.DatabaseTooNew: 503,
    errors.StorageUnavailable: 503,
    errors.InvalidSettings: 503,
}


def action(name: Literal["read", "write", "execute"]) -> Callable[[Method], Method]:
    """Say what a method does with models: who is not known, or may not do that, never gets there."""

    def mark(method: Method) -> Method:
        @functools.wraps(method)
        async def when_the_body_is_there(self: CharRNNHandler, *args: Any, **kwargs: Any) -> Any:
            self._patience(None)
            self._to_come = 0
            if not self.answered:
                await method(self, *args, **kwargs)

        when_the_body_is_there.action = name  # type: ignore[attr-defined]
        setattr(when_the_body_is_there, "__allow_unauthenticated", False)  # for Jupyter's own check
        return when_the_body_is_there  # type: ignore[return-value]

    return mark


@stream_request_body
class CharRNNHandler(APIHandler):
    """A handler of ours. Its methods are marked with `action`, or with `allow_unauthenticated`."""

    auth_resource = "charrnn"
    body_limit: ClassVar[int] = JSON_LIMIT
    _timer: asyncio.TimerHandle | None = None
    _to_come: float = 0  # bytes of the body
    _came = _drained = 0  # bytes; the second of what nobody needed any more
    _answered = False
    _preparing = True

    @property
    def app(self) -> CharRNNServer:
        """The extension."""
        return self.settings["charrnn"]  # type: ignore[no-any-return]

    @property
    def workspace(self) -> Workspace:
        """The models, as the one who asks may see them. To be used in `run` only."""
        return self.app.workspace_of(self.current_user)

    async def run(self, work: Callable[[Workspace], Result]) -> Result:
        """What `work` returns, called in a thread with the workspace."""
        return await self.app.run(lambda: work(self.workspace))

    async def run_long(self, work: Callable[[Workspace], Result]) -> Result:
        """The same for what takes more than a moment."""
        return await self.app.run_long(lambda: work(self.workspace))

    # before the body --------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse a request before its body is read."""
        self._body = bytearray()
        self._to_come = self._announced()
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]  # we count ourselves
        try:
            await super().prepare()
            await self._authorize()
            if not self.answered:
                await self.before_body()
                self._refuse_large_body()
        except BaseException:
            if self.request.headers.get("Expect", "").lower() == "100-continue":
                self._to_come = 0  # nothing is on its way: it waits for our word
            raise
        if self.answered:
            return
        self._preparing = False
        if self.current_user is not None and (not self.token_authenticated or self.wants_html()):
            _ = self.xsrf_token  # which sets the cookie that a browser needs for its next POST
        self._patience(self.app.silence)
        if self.most_bytes() <= JSON_LIMIT:  # a document comes at once, not drop by drop
            self.request.connection.set_body_timeout(DOCUMENT_SILENCES * self.app.silence)  # type: ignore[union-attr]

    def _announced(self) -> float:
        """Bytes of the body; infinite where only its end will tell."""
        length = self.request.headers.get("Content-Length", "")
        if length.isascii() and length.isdecimal():
            return int(length)
        return math.inf if length or "Transfer-Encoding" in self.request.headers else 0

    async def _authorize(self) -> None:
        method = getattr(self, str(self.request.method).lower())
        if getattr(method, "__allow_unauthenticated", False):
            return
        if self.current_user is None:
            self.turn_away()
            return
        wanted = getattr(method, "action", None)
        if wanted is None:
            raise HTTPError(405, f"{self.request.method} cannot be done here; {self.allowed_methods()} can")
        if not await self.may(wanted):
            raise HTTPError(403, f"{self.current_user.username} may not {wanted} {self.auth_resource}")

    async def may(self, wanted: str) -> bool:
        """Whether Jupyter lets whoever asks do that with models."""
        user, resource = self.current_user, self.auth_resource
        return bool(await ensure_async(self.authorizer.is_authorized(self, user, wanted, resource)))

    def wants_html(self) -> bool:
        """Whether this is a browser that opens a page."""
        return "text/html" in self.request.headers.get("Accept", "")

    def turn_away(self) -> None:
        """Answer somebody who is not known."""
        raise HTTPError(403, "nobody is logged in, and no token was sent")

    def allowed_methods(self) -> str:
        """The methods of this handler, as in the header `Allow`."""
        methods = {name: getattr(self, name.lower()) for name in self.SUPPORTED_METHODS}
        return ", ".join(name for name, method in methods.items() if hasattr(method, "__allow_unauthenticated"))

    async def before_body(self) -> None:
        """What a handler wants to know or to have before the body comes of somebody who may send it."""

    def _refuse_large_body(self) -> None:
        limit = self.most_bytes()
        if limit < self._to_come < math.inf:
            raise errors.TooLarge(f"{self._to_come:,} bytes are too many: {limit:,} are the limit here")

    def most_bytes(self) -> int:
        """How large the body of this request may be."""
        return self.body_limit

    # the body ---------------------------------------------------------------------------------------------------------

    async def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body in, or let it go if the answer is there already."""
        self._came += len(chunk)
        self._to_come -= len(chunk)
        if self.answered:
            self._let_go(len(chunk))
            return
        self._patience(None)
        try:
            if self._came > self.most_bytes():
                raise errors.TooLarge(f"more than {self.most_bytes():,} bytes came, which is the limit here")
            await self.take(chunk)
        except Exception as error:
            self._handle_request_exception(error)
        if not self.answered:
            self._patience(self.app.silence)

    async def take(self, chunk: bytes) -> None:
        """Keep a piece of the body. What is raised is the answer to the request, at once."""
        self._body += chunk

    def _patience(self, seconds: float | None, then: Callable[[], None] | None = None) -> None:
        """Hang up when nothing happens for so long, or do something else; None: there is nothing to wait for."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, then or self._hang_up)

    def _hang_up(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    def on_connection_close(self) -> None:
        """The client is gone."""
        self._patience(None)
        if self._answered and not self._finished:
            self._enough()
        super().on_connection_close()

    # an answer before the end of the body -----------------------------------------------------------------------------

    @property
    def answered(self) -> bool:
        """Whether the answer was given, and nothing more is to be done."""
        return self._finished or self._answered

    def finish(self, *arguments: Any, **options: Any) -> Future[Any]:
        """Answer. Somebody who still sends gets the answer at once, and has a while to read it and to stop.

        To hang up on what was sent and not read would make the other system throw the answer away.
        """
        if self._to_come <= 0:
            self._patience(None)
            if self._preparing:  # Tornado hangs up after an answer before the body, be that empty: say so
                self.set_header("Connection", "close")
            return super().finish(*arguments, **options)
        if not self._answered:
            self._answered = True
            self._patience(REFUSED_SECONDS, self._enough)
            self._write_whole(*arguments, **options)
            self.flush()
        done: Future[Any] = Future()
        done.set_result(None)
        return done

    def _write_whole(self, chunk: str | bytes | None = None, *, set_content_type: str = "application/json") -> None:
        body = chunk.encode() if isinstance(chunk, str) else chunk or b""
        self.set_header("Content-Type", set_content_type)
        self.set_header("Content-Length", len(body))
        self.set_header("Connection", "close")
        self.write(body)

    def _let_go(self, size: int) -> None:
        self._drained += size
        if self._to_come <= 0 or self._drained > DRAINED_BYTES:
            self._enough()

    def _enough(self) -> None:
        """End a request that was answered before its body; the connection with it, if there is more of that."""
        self._to_come = 0
        if not self._finished:
            self.finish()

    # a small document -------------------------------------------------------------------------------------------------

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; without a body an empty one. Raises HTTPError 400."""
        if not self._body:
            return {}
        try:
            document = json.loads(self._body, parse_constant=_no_number)
            json.dumps(document, ensure_ascii=False).encode()  # fails where half of a surrogate pair was escaped
        except (ValueError, RecursionError) as error:
            raise HTTPError(400, f"the body is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise HTTPError(400, 'the body must be a JSON object, such as {"name": "…"}')
        return document

    # answers ----------------------------------------------------------------------------------------------------------

    def reply(self, document: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.set_status(status)
        self.finish(json.dumps(document, ensure_ascii=False, allow_nan=False))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Give the errors of charrnn their status, in this one place."""
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, errors.CharRNNError):
            status_code = next(status for kind, status in STATUS.items() if isinstance(error, kind))
        super().send_error(status_code, **kwargs)

    def _request_summary(self) -> str:
        """A request in the server's log. There may be a token in its query."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"

    def log_exception(self, kind: Any, error: Any, traceback: Any) -> None:
        """What a user can do something about is no event in the server's log."""
        if not isinstance(error, errors.CharRNNError) or STATUS_OF_SERVER & {STATUS.get(type(error))}:
            super().log_exception(kind, error, traceback)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what was wrong: `message` for people, `reason` for programs, `fields` for forms."""
        error = kwargs.get("exc_info", (None, None))[1]
        reply: dict[str, Any] = {"message": self._reason, "reason": self._reason}
        if isinstance(error, HTTPError):
            reply["message"] = (error.log_message or self._reason) % error.args
        elif isinstance(error, errors.CharRNNError):
            reply = {"message": str(error), "reason": type(error).__name__}
        if isinstance(error, errors.InvalidOptions) and error.fields:
            reply["fields"] = error.fields
        if isinstance(error, errors.QuotaExceeded) and status_code == 429:
            self.set_header("Retry-After", str(math.ceil(error.seconds or QUOTA_SECONDS)))
        if status_code == 503:
            self.set_header("Retry-After", "5")
        if status_code == 405:
            self.set_header("Allow", self.allowed_methods())
        self.tell(reply)

    def tell(self, problem: dict[str, Any]) -> None:
        """Answer with what was wrong; the status is set."""
        self.finish(json.dumps(problem, ensure_ascii=False).encode("utf-8", "replace"))

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """A part of the address as text. What is not UTF-8 stands for nothing that is there."""
        return value.decode("utf-8", "replace")


STATUS_OF_SERVER = {503}


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number in JSON")
