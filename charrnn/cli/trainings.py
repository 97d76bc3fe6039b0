"""`charrnn stop`, `continue`: training in the background, from the command line.

It knows how the answers of the workspace read. What is done, and by whom, is the workspace's.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from charrnn.cli.models import Name
from charrnn.cli.quick import QuickCommand
from charrnn.cli.spelling import command

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord
    from charrnn.workspace import Workspace

stop_app, continue_app = (typer.Typer(add_completion=False) for _ in range(2))


def stop(name: Name) -> None:
    """Save what a model has learned and end its training; a second time, end it at once."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    model = workspace.find(name)
    after = workspace.stop(model.id)
    if after.active:
        print(f"{after.name} saves what it has learned and stops: {command('logs', '-f', after.name)}")
    elif model.active:
        print(f"{after.name} is out of the queue; put it back: {command('start', after.name)}")
    else:
        print(f"{after.name} is not being trained: it is {after.status}")


def continue_(
    name: Name,
    minutes: Annotated[float | None, typer.Option("--minutes", help="So many minutes more.")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps", help="So many steps more.")] = None,
    max_epochs: Annotated[float | None, typer.Option("--max-epochs", help="So many passes over the text more.")] = None,
) -> None:
    """Train a model for more, in addition to what it was trained for.

    Example:

    charrnn continue poems --minutes 10
    """
    from charrnn.workspace import Workspace

    workspace = Workspace()
    id = workspace.find(name).id
    show_queued(workspace, workspace.continue_(id, minutes=minutes, max_steps=max_steps, max_epochs=max_epochs))


def show_queued(workspace: Workspace, model: ModelRecord) -> None:
    """Where the training stands now, how to follow it, and that somebody is there to do it."""
    place = workspace.place_in_queue(model.id)
    print(f"{model.name} is {model.status}" + (f", number {place} in the queue" if place else ""))
    note_unsupervised(workspace)
    print(f"follow it: {command('logs', '-f', model.name)}")


def note_unsupervised(workspace: Workspace) -> None:
    """See that somebody trains what is queued, or say that nobody does."""
    if not workspace.ensure_supervised():
        note = f"nobody trains what is queued in this database: run {command('supervise')} where it shall be trained"
        print(f"note: {note}", file=sys.stderr)


stop_app.command(cls=QuickCommand)(stop)
continue_app.command(cls=QuickCommand)(continue_)
