"""What is known of a model's text and of its training: the report on the text, the log, the curves, the samples.

It knows how each of them reads in JSON, and the log also as plain text. Nothing is computed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charrnn_server import asked
from charrnn_server.accept import preferred
from charrnn_server.handlers.base import CharRNNHandler, action
from charrnn_server.handlers.models import MODEL

if TYPE_CHECKING:
    from charrnn.jobs.records import LogLine, Metric, Sample

ROWS = 1_000
MOST_ROWS = 10_000


class TextReportHandler(CharRNNHandler):
    @action("read")
    async def get(self, id: str) -> None:
        asked.query(self.request)
        report = await self.run(lambda workspace: workspace.report(id))
        self.reply(dataclasses.asdict(report))


class LogHandler(CharRNNHandler):
    @action("read")
    async def get(self, id: str) -> None:
        wanted = asked.query(self.request, format=asked.one_of("json", "text"), **ROWS_WANTED)
        form = wanted.get("format") or FORMS[preferred(self.request.headers.get("Accept", ""), *FORMS)]
        after, limit = wanted.get("after", -1), wanted.get("limit", ROWS if form == "json" else MOST_ROWS)
        told = _lines if form == "json" else _text
        answer = await self.run(lambda workspace: told(workspace.logs(id, after, limit), after))
        self.set_header("Vary", "Accept")
        if form == "json":
            self.reply(answer)
        else:
            self.finish(answer, set_content_type="text/plain; charset=UTF-8")


class MetricsHandler(CharRNNHandler):
    @action("read")
    async def get(self, id: str) -> None:
        wanted = asked.query(self.request, **ROWS_WANTED)
        self.reply({"metrics": await self.run(lambda workspace: _rows(workspace.metrics(id, **wanted)))})


class SamplesHandler(CharRNNHandler):
    @action("read")
    async def get(self, id: str) -> None:
        wanted = asked.query(self.request, **ROWS_WANTED)
        self.reply({"samples": await self.run(lambda workspace: _rows(workspace.samples(id, **wanted)))})


def _lines(lines: Sequence[LogLine], after: int) -> dict[str, Any]:
    """The lines, and the position to ask on from."""
    told = [{"position": line.position, "created_at": line.created_at.isoformat(), "text": line.text} for line in lines]
    return {"lines": told, "next": lines[-1].position if lines else after}


def _text(lines: Sequence[LogLine], _: int) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _rows(rows: Sequence[Metric | Sample]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(row) for row in rows]


FORMS = {"application/json": "json", "text/plain": "text"}
ROWS_WANTED: dict[str, asked.Reader] = {"after": asked.whole(-1, asked.LARGEST), "limit": asked.whole(1, MOST_ROWS)}

ROUTES = [
    (f"{MODEL}/report", TextReportHandler),
    (f"{MODEL}/log", LogHandler),
    (f"{MODEL}/metrics", MetricsHandler),
    (f"{MODEL}/samples", SamplesHandler),
]
