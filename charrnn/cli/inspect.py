"""`charrnn inspect`: what a model's file says about itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charrnn.cli.model_path import find_model
from charrnn.cli.quick import QuickCommand
from charrnn.lines import printable

if TYPE_CHECKING:
    from charrnn.network.model import Model

app = typer.Typer(add_completion=False)

CHARACTERS_SHOWN = 100
POINTS_SHOWN = 12


@app.command(cls=QuickCommand)
def inspect(
    model: Annotated[str, typer.Argument(help="The model's file, or its folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show a model's options, its vocabulary and how it was trained, with its losses."""
    from charrnn.network.model import load

    path = find_model(Path(model))
    loaded = load(path)
    if as_json:
        print(json.dumps(everything(path, loaded), ensure_ascii=False, sort_keys=True))
        return
    for line in summary(path, loaded):
        print(line)


def everything(path: Path, model: Model) -> dict[str, Any]:
    """All that the file holds, but the weights' values."""
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "parameters": model.parameters,
        "finished": model.finished,
        "options": model.options,
        "vocabulary": model.vocabulary.to_json(),
        "weights": {name: list(array.shape) for name, array in model.weights.items()},
        "record": model.record,
    }


def summary(path: Path, model: Model) -> Iterable[str]:
    record = model.record
    state = "finished" if model.finished else "not finished"
    yield f"{path}: {path.stat().st_size:,} bytes, {model.parameters:,} parameters, training {state}"
    yield ""
    yield from table("options", model.options.items())
    yield from table("vocabulary", vocabulary_rows(model.vocabulary.characters))
    yield from table("training", training_rows(record))
    yield from losses(record.get("points") or [])
    for note in record.get("notes") or []:
        yield f"note: {printable(str(note))}"
    samples = record.get("samples") or []
    if samples:
        yield f"what it wrote at step {samples[-1]['step']:,}:"
        yield from ("  " + printable(line) for line in str(samples[-1]["text"]).splitlines())


def table(title: str, rows: Iterable[tuple[str, Any]]) -> Iterable[str]:
    """A title, then name and value one pair a line, and an empty line."""
    pairs = [(name, shown(value)) for name, value in rows if value is not None]
    if not pairs:
        return
    width = max(len(name) for name, _ in pairs)
    yield title
    yield from (f"  {name:<{width}}  {value}" for name, value in pairs)
    yield ""


def shown(value: Any) -> str:
    if isinstance(value, bool | str):
        return printable(str(value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)


def vocabulary_rows(characters: str) -> list[tuple[str, Any]]:
    first = json.dumps(characters[:CHARACTERS_SHOWN], ensure_ascii=False)[1:-1]
    more = "" if len(characters) <= CHARACTERS_SHOWN else " …"
    return [("characters", len(characters)), ("commonest first", first + more)]


TRAINING_NAMES = (
    *("source_name", "characters", "train_characters", "validation_characters"),
    *("step", "epochs", "seconds", "reason", "train_loss", "validation_loss", "best_validation_loss", "best_step"),
)


def training_rows(record: dict[str, Any]) -> list[tuple[str, Any]]:
    rows = [(name.replace("_", " "), record.get(name)) for name in TRAINING_NAMES]
    versions = record.get("versions") or {}
    return [*rows, ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()) or None)]


def losses(points: list[dict[str, Any]]) -> Iterable[str]:
    """The losses (nats per character) over the steps, at most a dozen rows: those with a validation loss first."""
    scored = [point for point in points if point.get("validation_loss") is not None] or points
    if not scored:
        return
    stride = max(1, -(-len(scored) // POINTS_SHOWN))
    rows = [*scored[:-1:stride], scored[-1]]
    yield f"{'step':>10}  {'train loss':>10}  {'validation':>10}"
    for point in rows:
        yield f"{point['step']:>10,}  {loss(point.get('train_loss')):>10}  {loss(point.get('validation_loss')):>10}"
    yield ""


def loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
