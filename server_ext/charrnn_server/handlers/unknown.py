"""What is not there, told in JSON."""

from __future__ import annotations

from tornado.web import HTTPError

from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action


class UnknownHandler(CharRNNHandler):
    @action("read")
    async def get(self, *_: str) -> None:
        raise HTTPError(404, f"there is nothing at {self.request.path}; {API}/openapi.json says what there is")

    post = put = patch = delete = get


ROUTES = [(rf"{API}(?:/.*)?", UnknownHandler)]
