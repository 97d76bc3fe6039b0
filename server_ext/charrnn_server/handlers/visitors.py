"""Tokens for scripts of visitors, in the public launch only."""

from __future__ import annotations

from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.public import VISITOR, Visitors, new_visitor


class VisitorsHandler(CharRNNHandler):
    """A visitor's own token; somebody who is known by an address only becomes a new visitor."""

    @action("read")
    async def post(self) -> None:
        assert isinstance(self.identity_provider, Visitors)
        assert self.current_user is not None
        known: str = self.current_user.username
        visitor = known if VISITOR.fullmatch(known.encode()) else new_visitor()
        self.reply({"visitor": visitor, "token": self.identity_provider.token_of(visitor)}, 201)


ROUTES = [(f"{API}/visitors", VisitorsHandler)]
