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
from collections.abc import Awaitable, Callable, Mapping
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
SILENCE = 30.0  # seconds without data after which a request that still has to send some is dropped
REFUSED_SECONDS = 5.0  # that somebody who was refused has to stop sending and read why
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
            if not self._finished:
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

    # before the body --------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse a request before its body is read."""
        self._body = bytearray()
        try:
            await super().prepare()
            await self._authorize()
            self._refuse_large_body()
        except BaseException:
            self._patience(REFUSED_SECONDS)
            raise
        self._patience(REFUSED_SECONDS if self._finished else SILENCE)

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
        allowed = await ensure_async(self.authorizer.is_authorized(self, self.current_user, wanted, self.auth_resource))
        if not allowed:
            raise HTTPError(403, f"{self.current_user.username} may not {wanted} {self.auth_resource}")

    def turn_away(self) -> None:
        """Answer somebody who is not known."""
        raise HTTPError(403, "nobody is logged in, and no token was sent")

    def allowed_methods(self) -> str:
        """The methods of this handler, as in the header `Allow`."""
        methods = {name: getattr(self, name.lower()) for name in self.SUPPORTED_METHODS}
        return ", ".join(name for name, method in methods.items() if hasattr(method, "__allow_unauthenticated"))

    def _refuse_large_body(self) -> None:
        limit = self.most_bytes()
        length = self.request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > limit:
            raise errors.TooLarge(f"{int(length):,} bytes are too many: {limit:,} are the limit here")
        self.request.connection.set_max_body_size(limit + 1)  # type: ignore[union-attr]

    def most_bytes(self) -> int:
        """How large the body of this request may be."""
        return self.body_limit

    # the body ---------------------------------------------------------------------------------------------------------

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a piece of the body in."""
        self._patience(SILENCE)
        self._body += chunk
        return None

    def _patience(self, seconds: float | None) -> None:
        """Hang up when nothing happens for so long; None: there is nothing to wait for any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._hang_up)

    def _hang_up(self) -> None:
        stream = getattr(self.request.connection, "stream", None)
        if stream is not None:
            stream.close()

    def on_connection_close(self) -> None:
        """The client is gone."""
        self._patience(None)
        super().on_connection_close()

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
