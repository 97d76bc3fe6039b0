"""Routes that are there at once, and their handlers when somebody asks for one: most servers that load us never do.

It knows Tornado's routing. It does not know which routes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application


class FirstUse(Router):
    """Adds the real routes with the first request that comes here, and finds the handler among them."""

    SUPPORTED_METHODS: ClassVar[tuple[str, ...]] = ()  # Jupyter looks at all handlers that are added: there is none yet

    def __init__(self, application: Application, add: Callable[[], None]) -> None:
        self._application = application
        self._add: Callable[[], None] | None = add

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate | None:
        if self._add is None:
            return None
        self._add()
        self._add = None
        return self._application.find_handler(request)
