"""`charrnn sample`: write like a trained model. NumPy on the model's file; nothing here loads TensorFlow."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from charrnn.cli.model_path import built_in_model, find_model
from charrnn.cli.quick import QuickCommand

app = typer.Typer(add_completion=False)

SHOW_EVERY = 0.03  # seconds between two writes: faster than an eye, and cheap
LENGTH = 1000


def classic(flag: str) -> Any:
    """An option of older scripts: accepted, not shown in --help."""
    return typer.Option(flag, hidden=True)


@app.command(cls=QuickCommand)
def sample(
    model: Annotated[
        str | None,
        typer.Argument(help="The model's file, or its folder. Without it: the small model that comes with charrnn."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="What the text begins with. Also --start_string.")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", help="How many characters to write. [default: 1000] Also --max_length.")
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 safer, above 1 wilder; 0 writes the likeliest character, always.")
    ] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Choose among the K likeliest characters only.")] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Choose among the likeliest characters that share this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed writes the same text.")] = None,
    stop: Annotated[str | None, typer.Option(help="End before this text.")] = None,
    count: Annotated[int | None, typer.Option(help="How many texts to write.")] = None,
    start_string: Annotated[str | None, classic("--start-string")] = None,
    max_length: Annotated[int | None, classic("--max-length")] = None,
    checkpoint_path: Annotated[str | None, classic("--checkpoint-path")] = None,
    converter_path: Annotated[str | None, classic("--converter-path")] = None,
    lstm_size: Annotated[str | None, classic("--lstm-size")] = None,
    rnn_size: Annotated[str | None, classic("--rnn-size")] = None,
    num_layers: Annotated[str | None, classic("--num-layers")] = None,
    embedding_size: Annotated[str | None, classic("--embedding-size")] = None,
    use_embedding: Annotated[str | None, classic("--use-embedding")] = None,
) -> None:
    """Write text like the one a model has learned: first the prompt, then what the model adds.

    The same seed gives the same text, alone or among others, on one machine. Example:

    charrnn sample shakespeare.safetensors --prompt "ROMEO:" --temperature 0.8 --seed 1
    """
    from charrnn.network.model import load

    not_needed = {
        "--converter_path": converter_path,
        "--lstm_size": lstm_size,
        "--rnn_size": rnn_size,
        "--num_layers": num_layers,
        "--embedding_size": embedding_size,
        "--use_embedding": use_embedding,
    }
    given = [name for name, value in not_needed.items() if value is not None]
    if given:
        verb = "is" if len(given) == 1 else "are"
        note(f"{', '.join(given)} {verb} not needed: the model's file knows its sizes and its vocabulary")
    place = one_of("MODEL", model, "--checkpoint_path", checkpoint_path)
    opening = one_of("--prompt", prompt, "--start_string", start_string) or ""
    characters = one_of("--length", length, "--max_length", max_length)
    writer = load(built_in_model() if place is None else find_model(Path(place)))
    unknown = writer.vocabulary.unknown_in(opening)
    if unknown:
        note(f"the model has never seen {' '.join(map(repr, unknown))}: read as unknown")
    settings: dict[str, Any] = {
        "length": LENGTH if characters is None else characters,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "stop": stop,
    }
    if count is None:
        write(opening, writer.stream(opening, **settings))
        return
    for number, text in enumerate(writer.generate(opening, count=count, **settings), 1):
        print(f"--- {number} of {count} ---")
        write(opening, [text])


def write(prompt: str, pieces: Iterable[str]) -> None:
    """Print the prompt and the pieces as they come, with an end of line after the last."""
    out = sys.stdout
    out.write(prompt)
    shown = time.monotonic()
    for piece in pieces:
        out.write(piece)
        now = time.monotonic()
        if now - shown > SHOW_EVERY:
            out.flush()
            shown = now
    out.write("\n")
    out.flush()


def one_of(name: str, value: Any, alias: str, other: Any) -> Any:
    """The value given by either name. Raises BadParameter where both were used."""
    if value is not None and other is not None:
        raise typer.BadParameter(f"{name} and {alias} are the same: give one", param_hint=alias)
    return other if value is None else value


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
