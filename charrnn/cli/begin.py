"""`charrnn new`, `start`, `fork`: what begins a training, with every option there is.

It knows how the answers of the workspace read. What the options do is the library's.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from charrnn.cli.models import Name, SampleText, Text, reading, show_text, source
from charrnn.cli.spelling import with_options
from charrnn.cli.train import training_options
from charrnn.cli.trainings import show_queued

new_app, start_app, fork_app = (typer.Typer(add_completion=False) for _ in range(3))


def new(
    name: Annotated[str, typer.Argument(help="What to call the model.")],
    file: Text = None,
    sample: SampleText = None,
    **options: Any,
) -> None:
    """Make a model, to be trained in the background once it is started.

    Example:

    charrnn new poems poems.txt --minutes 3
    """
    from charrnn.workspace import Workspace

    model = Workspace().create(name, source(file), sample=sample, progress=reading(), **given(options))
    print(f"{model.name} has the id {model.id}")
    show_text(model)


def start(
    name: Name,
    over: Annotated[bool, typer.Option("--over", help="Forget what it has learned, and begin anew.")] = False,
    **options: Any,
) -> None:
    """Train a model in the background, or go on where it stopped.

    It goes on when this terminal is closed. Example:

    charrnn start poems --minutes 10
    """
    from charrnn.workspace import Workspace

    workspace = Workspace()
    id = workspace.find(name).id
    begin = workspace.start_over if over else workspace.start
    show_queued(workspace, begin(id, **given(options)))


def fork(
    name: Name,
    file: Text = None,
    sample: SampleText = None,
    called: Annotated[str | None, typer.Option("--name", help="What to call the new model.")] = None,
    **options: Any,
) -> None:
    """Make a new model that begins with what this one has learned, for another text or for the same.

    Example:

    charrnn fork poems more-poems.txt --name "more poems"
    """
    from charrnn.workspace import Workspace

    workspace = Workspace()
    model = workspace.fork(workspace.find(name).id, called, source(file), sample=sample, **given(options))
    print(f"{model.name} has the id {model.id}")
    show_text(model)


def given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


new_app.command()(with_options(new, training_options()))
start_app.command()(with_options(start, training_options()))
fork_app.command()(with_options(fork, training_options()))
