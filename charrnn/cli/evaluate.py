"""`charrnn evaluate`: how well a model predicts a text it has not learned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from charrnn.cli.model_path import find_model
from charrnn.cli.quick import QuickCommand

app = typer.Typer(add_completion=False)


@app.command(cls=QuickCommand)
def evaluate(
    model: Annotated[str, typer.Argument(help="The model's file, or its folder.")],
    file: Annotated[str, typer.Argument(help="A text the model has not learned.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a text: how surprised the model is by each character, on average. Lower is better.

    The perplexity is the number of characters among which the model is as undecided as among equally likely ones.
    """
    from charrnn.network.model import load

    score = load(find_model(Path(model))).evaluate(Path(file))
    if as_json:
        print(json.dumps(dataclasses.asdict(score)))
        return
    print(f"{score.nats_per_character:.4f} nats per character")
    print(f"{score.bits_per_character:.4f} bits per character")
    print(f"{score.perplexity:.3f} perplexity")
    print(f"{score.characters:,} characters scored")
    if score.unknown:
        print(f"{score.unknown:,} characters left out: the model has never seen them")
