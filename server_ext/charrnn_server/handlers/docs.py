"""The contract, for programs as JSON and for people as a page."""

from __future__ import annotations

import functools

from charrnn_server import asked, contract, manual
from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.handlers.page import Page, rendered


class ContractHandler(CharRNNHandler):
    @action("read")
    async def get(self) -> None:
        asked.query(self.request)
        self.reply(await self.app.run(contract.document, self.base_url))


class DocsPage(Page):
    @action("read")
    async def get(self) -> None:
        asked.query(self.request)
        self.show(await self.app.run(docs, self.base_url))


@functools.cache
def docs(base_url: str) -> str:
    """The page: made once, it takes a while."""
    return rendered("docs.html", base_url, manual=manual.read(contract.document(base_url)))


ROUTES = [(f"{API}/openapi.json", ContractHandler), ("/charrnn/api/docs", DocsPage)]
