"""`charrnn list`, `show`, `logs`: what is in the workspace. Tables in a terminal, plain lines in a pipe, or JSON.

It knows how records read. It does not know where they come from.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli import fail
from charrnn.cli.inspect import table
from charrnn.cli.models import Name
from charrnn.cli.quick import QuickCommand
from charrnn.cli.spelling import command
from charrnn.cli.trainings import note_unsupervised
from charrnn.lines import duration, one_line, printable

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord, Page
    from charrnn.workspace import Workspace

list_app, show_app, logs_app = (typer.Typer(add_completion=False) for _ in range(3))

COLUMNS = ("id", "status", "step", "done", "loss", "left", "name")
RIGHT = ("step", "done", "loss", "left")
ERROR_SHOWN = 400  # characters, the last ones: a training process that failed may have said much
STYLES = {"running": "green", "queued": "yellow", "failed": "red", "complete": "bold"}


@list_app.command(cls=QuickCommand)
def list_models(
    prefix: Annotated[str | None, typer.Argument(help="How the names begin.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="draft, ready, queued, running, complete, stopped or failed.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many.")] = 50,
    after: Annotated[str | None, typer.Option("--after", help="Go on after the model with this id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models of the workspace, newest first, with their best validation losses in nats per character."""
    from charrnn.workspace import Workspace

    page = Workspace().list(status=status, prefix=prefix, after=after, limit=limit)
    if as_json:
        print_json(page_json(page))
        return
    if not page.models:
        filtered = prefix or status or after
        print("there is no such model" if filtered else f"there is none yet: {command('new', 'NAME', 'FILE')}")
        return
    print_table([row(model) for model in page.models])
    if page.next is not None:
        total = f"{page.total:,}" if page.exact else f"{page.total:,}+"
        print(f"{len(page.models)} of {total}; go on with --after {page.next}", file=sys.stderr)


@show_app.command(cls=QuickCommand)
def show(
    name: Name, as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False
) -> None:
    """Show a model: its text, its options, how far its training is, and what it wrote last."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    model = workspace.find(name)
    if as_json:
        print_json({**model.to_json(), "place_in_queue": workspace.place_in_queue(model.id)})
        return
    print("\n".join(description(workspace, model)))


@logs_app.command(cls=QuickCommand)
def logs(
    name: Name,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on until the training ends. Ctrl-C leaves it alone.")
    ] = False,
    lines: Annotated[int | None, typer.Option("-n", "--lines", help="The last so many lines only.")] = None,
) -> None:
    """Print what a model's training has said so far, and with -f what it will say."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    model = workspace.find(name)
    if follow and model.active:
        note_unsupervised(workspace)
    nothing = True
    for line in workspace.log_lines(model.id, last=lines, follow=follow):
        print(printable(line.text), flush=follow)
        nothing = False
    if follow or nothing:
        model = workspace.get(model.id)
        if follow and model.status == "failed":
            raise typer.Exit(fail(f"{model.name} failed: {(model.error or '')[-ERROR_SHOWN:]}"))
        print(f"{model.name} is {model.status}", file=sys.stderr)


def print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, sort_keys=True))


def page_json(page: Page) -> dict[str, Any]:
    models = [model.to_json() for model in page.models]
    return {"models": models, "next": page.next, "total": page.total, "exact": page.exact}


def row(model: ModelRecord) -> tuple[str, ...]:
    """A model in the list: what COLUMNS says."""
    trained = model.step > 0
    best = model.best_validation_loss if model.best_validation_loss is not None else model.loss
    return (
        model.id,
        str(model.status),
        f"{model.step:,}" if trained else "",
        f"{model.progress:.0%}" if trained and model.progress is not None and model.status != "queued" else "",
        f"{best:.4f}" if best is not None else "",
        duration(model.seconds_left) if model.status == "running" and model.seconds_left is not None else "",
        model.name,
    )


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    if sys.stdout.isatty():
        print_rich_table(rows)
        return
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for values in (COLUMNS, *rows):
        cells = (
            value.rjust(width) if name in RIGHT else value.ljust(width)
            for name, value, width in zip(COLUMNS, values, widths, strict=True)
        )
        print("  ".join(cells).rstrip())


def print_rich_table(rows: Sequence[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    screen = Console(highlight=False)
    widths = [max(map(len, column)) for column in zip(COLUMNS[:-1], *(values[:-1] for values in rows), strict=True)]
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name, width in zip(COLUMNS[:-1], widths, strict=True):
        grid.add_column(name, justify="right" if name in RIGHT else "left", min_width=width, no_wrap=True)
    left = screen.width - sum(widths) - 2 * len(widths)  # two spaces between columns
    grid.add_column(COLUMNS[-1], max_width=max(10, left), no_wrap=True, overflow="ellipsis")
    for values in rows:
        grid.add_row(*(Text(value, style=STYLES.get(value, "")) for value in values))
    screen.print(grid)


def description(workspace: Workspace, model: ModelRecord) -> Iterable[str]:
    yield from table(model.name, model_rows(workspace, model))
    if model.error is not None:
        yield from ("error", *("  " + printable(line) for line in model.error.splitlines()), "")
    if model.corpus is not None:
        yield from table("text", text_rows(model))
    yield from table("options", model.options.items())
    yield from table("sampling", model.sampling.items())
    for warning in model.corpus.warnings if model.corpus else ():
        yield f"note: {printable(warning)}"
    samples = workspace.samples(model.id, limit=10_000)
    if samples:
        yield f"what it wrote at step {samples[-1].step:,}:"
        yield from ("  " + printable(line) for line in samples[-1].text.splitlines())


def model_rows(workspace: Workspace, model: ModelRecord) -> list[tuple[str, Any]]:
    place = workspace.place_in_queue(model.id)
    return [
        ("id", model.id),
        ("status", f"{model.status}, number {place} in the queue" if place else str(model.status)),
        ("owner", model.owner or None),
        ("made", local(model.created_at)),
        ("forked from", model.parent_id),
        ("step", model.step or None),
        ("done", None if model.progress is None else f"{model.progress:.0%}"),
        ("epochs", model.epoch),
        ("trained for", duration(model.seconds) if model.seconds else None),
        ("left", duration(model.seconds_left) if model.seconds_left is not None else None),
        ("loss", model.loss),
        ("validation loss", model.validation_loss),
        ("best validation loss", model.best_validation_loss),
        ("characters a second", model.characters_per_second),
    ]


def text_rows(model: ModelRecord) -> list[tuple[str, Any]]:
    text = model.corpus
    assert text is not None
    return [
        ("name", text.name),
        ("bytes", text.bytes),
        ("characters", text.characters),
        ("distinct", text.distinct),
        ("unknown", text.unknown or None),
        ("commonest first", json.dumps("".join(character for character, _ in text.commonest), ensure_ascii=False)),
        ("begins", one_line(text.preview, 80)),
    ]


def local(moment: Any) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
