"""What can be given: the options of training and of sampling as JSON Schema, and the texts to begin with."""

from __future__ import annotations

from typing import Any

from charrnn_server import asked, contract
from charrnn_server.app import API
from charrnn_server.handlers.base import CharRNNHandler, action


class SchemaHandler(CharRNNHandler):
    @action("read")
    async def get(self, kind: str) -> None:
        asked.query(self.request)
        self.reply(await self.app.run(contract.schema, kind))


class SampleTextsHandler(CharRNNHandler):
    @action("read")
    async def get(self) -> None:
        asked.query(self.request)
        self.reply({"samples": await self.app.run(_samples)})


def _samples() -> list[dict[str, Any]]:
    from charrnn.text.samples import SAMPLES, names

    found = [SAMPLES[name] for name in names()]
    return [
        {"name": sample.name, "description": sample.description, "needs_network": sample.url is not None}
        for sample in found
    ]


ROUTES = [(f"{API}/schemas/(training|sampling)", SchemaHandler), (f"{API}/samples", SampleTextsHandler)]
