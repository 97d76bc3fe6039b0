"""`charrnn upload`, `rename`, `delete`, `export`, `import`: the models of the workspace and their files.

It knows what is asked on a command line and how the answer reads. What is done is the workspace's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from charrnn.cli.quick import QuickCommand
from charrnn.cli.spelling import command
from charrnn.lines import printable

if TYPE_CHECKING:
    from charrnn.jobs.records import ModelRecord

upload_app, rename_app, delete_app, export_app, import_app = (typer.Typer(add_completion=False) for _ in range(5))

PATIENCE = 1.0  # seconds after which a person wonders

Name = Annotated[str, typer.Argument(help="The model's name, or its id.")]
Text = Annotated[
    str | None, typer.Argument(help="The text to learn: a UTF-8 file of any size; - reads standard input.")
]
SampleText = Annotated[
    str | None, typer.Option("--sample", help="A text to begin with instead of a file: python, tiny-shakespeare.")
]


def upload(
    name: Name,
    file: Text = None,
    sample: SampleText = None,
) -> None:
    """Give a model the text it will learn, or another one as long as it has not learned anything."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    if file is None and sample is None:
        raise typer.BadParameter("name the text to learn", param_hint="FILE")
    show_text(workspace.attach(workspace.find(name).id, source(file), sample=sample, progress=reading()))


def rename(name: Name, new_name: Annotated[str, typer.Argument(help="What to call it from now on.")]) -> None:
    """Give a model another name."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    print(f"it is called {workspace.rename(workspace.find(name).id, new_name).name} now")


def delete(name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a model, its text and its log for good."""
    from charrnn.workspace import Workspace

    workspace = Workspace()
    model = workspace.find(name)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"{model.name} would be gone for good: say so with --yes", param_hint="--yes")
        if not typer.confirm(f"Delete {model.name} ({model.status}, {model.step:,} steps) for good?"):
            print("it stays")
            raise typer.Exit(1)
    workspace.delete(model.id)
    print(f"{model.name} is deleted")


def export(
    name: Name,
    file: Annotated[str, typer.Argument(help="Where to write it: NAME.safetensors.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a model to a file, as it is now, also while it is trained."""
    from charrnn.workspace import Workspace

    if not file.endswith(".safetensors"):
        raise typer.BadParameter(f"{file} must end in .safetensors", param_hint="FILE")
    workspace = Workspace()
    workspace.export(workspace.find(name).id, file, force=force)
    print(f"the model is in {file}; write with it: {command('sample', file)}")


def import_(
    file: Annotated[str, typer.Argument(help="A .safetensors file that charrnn wrote.")],
    called: Annotated[str | None, typer.Option("--name", help="What to call it; by default as the file.")] = None,
) -> None:
    """Take a model's file into the workspace."""
    from charrnn.workspace import Workspace

    model = Workspace().import_model(file, called)
    print(f"{model.name} has the id {model.id}; write with it: {command('sample', model.name)}")


def source(file: str | None) -> str | BinaryIO | None:
    """What a file on the command line stands for."""
    return sys.stdin.buffer if file == "-" else file


def reading() -> Callable[[float], None] | None:
    """Shows in a terminal how much of a text is read; None where there is nobody to see it."""
    if not sys.stderr.isatty():
        return None
    began = time.monotonic()

    def show(done: float) -> None:
        if time.monotonic() - began > PATIENCE:
            shown = f"reading {done:.0%}" if done < 1 else " " * len("reading 100%") + "\r"
            print(f"\r{shown}", end="", file=sys.stderr, flush=True)

    return show


def show_text(model: ModelRecord) -> None:
    """What the model will learn, what is odd about it, and what to do next."""
    text = model.corpus
    if text is None:
        print(f"it needs a text: {command('upload', model.name, 'FILE')}")
        return
    known = "" if text.distinct == text.vocabulary_size - 1 else f", {text.vocabulary_size - 1:,} of them told apart"
    print(f"its text, {printable(text.name)}: {text.characters:,} characters, {text.distinct:,} distinct{known}")
    for warning in text.warnings:
        print(f"note: {printable(warning)}", file=sys.stderr)
    print(f"train it: {command('start', model.name)}")


upload_app.command(cls=QuickCommand)(upload)
rename_app.command(cls=QuickCommand)(rename)
delete_app.command(cls=QuickCommand)(delete)
export_app.command(cls=QuickCommand)(export)
import_app.command(cls=QuickCommand)(import_)
