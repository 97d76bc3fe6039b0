"""`charrnn sample`: write like a trained model. NumPy on the model's file; nothing here loads TensorFlow."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from charrnn.cli.model_path import find_model, is_file
from charrnn.cli.quick import QuickCommand
from charrnn.cli.spelling import parameter, with_options
from charrnn.errors import ModelNotFound
from charrnn.network.sampling import SAMPLING_ALIASES, SamplingOptions
from charrnn.shipped import built_in_model

if TYPE_CHECKING:
    from charrnn.network.model import Model

app = typer.Typer(add_completion=False)

SHOW_EVERY = 0.03  # seconds between two writes: faster than an eye, and cheap

# Options of older scripts that have nothing to say any more.
NOT_NEEDED = ("converter_path", "lstm_size", "rnn_size", "num_layers", "embedding_size", "use_embedding")


def sample(
    model: Annotated[
        str | None,
        typer.Argument(
            help="The model's file or folder, or its name or id in the workspace. "
            "Without it: the small model that comes with charrnn."
        ),
    ] = None,
    checkpoint_path: Annotated[str | None, typer.Option("--checkpoint-path", hidden=True)] = None,
    **options: Any,
) -> None:
    """Write like the text that a model has learned: first the prompt, then what the model adds.

    The same seed writes the same text, alone or among others, on one machine. Example:

    charrnn sample shakespeare.safetensors --prompt "ROMEO:" --temperature 0.8 --seed 1
    """
    from charrnn.network.model import load

    warnings.showwarning = lambda message, *where, **more: note(str(message))
    given = {name: value for name, value in options.items() if value is not None}
    surplus = [f"--{name}" for name in NOT_NEEDED if given.pop(name, None) is not None]
    if surplus:
        note(f"{', '.join(surplus)} not needed: the model's file knows its sizes and its vocabulary")
    wanted = SamplingOptions.from_dict(given)
    if model is not None and checkpoint_path is not None:
        raise typer.BadParameter("MODEL and --checkpoint_path are the same: give one", param_hint="--checkpoint_path")
    if model is not None and not is_file(model):
        writer, wanted = from_workspace(model, given)
    else:
        place = model or checkpoint_path
        writer = load(built_in_model() if place is None else find_model(Path(place)))
    if wanted.count is None:
        settings = {field.name: getattr(wanted, field.name) for field in dataclasses.fields(wanted)}
        del settings["count"]
        write(wanted.prompt, writer.stream(**settings))
        return
    for number, text in enumerate(writer.write(wanted), 1):
        print(f"--- {number} of {wanted.count} ---")
        write(wanted.prompt, [text])


def from_workspace(name: str, given: dict[str, Any]) -> tuple[Model, SamplingOptions]:
    """A model of the workspace, and how it writes: as asked for, else as was set for it."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    try:
        model = workspace.find(name)
    except ModelNotFound:
        raise ModelNotFound(f"there is neither a file nor a model {name!r}; charrnn list shows the models") from None
    return workspace.to_write(model.id, **given)


def write(prompt: str, pieces: Iterable[str]) -> None:
    """Print the prompt and the pieces as they come, with an end of line after the last."""
    out = sys.stdout
    out.write(prompt)
    shown = time.monotonic()
    try:
        for piece in pieces:
            out.write(piece)
            now = time.monotonic()
            if now - shown > SHOW_EVERY:
                out.flush()
                shown = now
    except KeyboardInterrupt:
        print(flush=True)
        raise
    print(flush=True)


def note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def option_parameters() -> Iterator[inspect.Parameter]:
    """One parameter for each field of SamplingOptions, and the names that older scripts use, hidden."""
    types = get_type_hints(SamplingOptions)
    types["stop"] = str
    for field in dataclasses.fields(SamplingOptions):
        default = f" (default: {field.default})" if field.default else ""
        yield parameter(field.name, types[field.name], help=field.metadata["description"] + default)
    for alias, name in SAMPLING_ALIASES.items():
        yield parameter(alias, types[name], hidden=True)
    for name in NOT_NEEDED:
        yield parameter(name, str, hidden=True)


app.command(cls=QuickCommand)(with_options(sample, option_parameters()))
