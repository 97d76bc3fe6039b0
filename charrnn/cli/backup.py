"""`charrnn backup` and `charrnn restore`: the whole workspace in one file, and back."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from charrnn.cli.quick import QuickCommand
from charrnn.errors import WouldOverwrite

backup_app = typer.Typer(add_completion=False)
restore_app = typer.Typer(add_completion=False)

FILE = typer.Argument(metavar="FILE", help="A tar file; - is standard output or input.")


@backup_app.command(cls=QuickCommand)
def backup(file: Annotated[str, FILE]) -> None:
    """Copy all models with their texts, logs and curves into one file, whatever database and storage hold them.

    Trainings may run meanwhile. The secret behind visitors' cookies is not in it.
    """
    from charrnn.backup import back_up
    from charrnn.config import Settings
    from charrnn.files import complete_or_absent

    with contextlib.ExitStack() as stack:
        if file == "-":
            if sys.stdout.isatty():
                raise WouldOverwrite("a backup is nothing to look at: name a file, or send it on with > or |")
            output: BinaryIO = sys.stdout.buffer
        else:
            if Path(file).exists():
                raise WouldOverwrite(f"{file} is there already; name another file")
            output = stack.enter_context(complete_or_absent(Path(file)))
        copied = back_up(Settings(), output)
        output.flush()
    print(f"{copied.models:,} models with {copied.files:,} files, {copied.bytes:,} bytes", file=sys.stderr)
    for key in copied.missing:
        print(f"warning: the storage has no {key}, which the database names", file=sys.stderr)


@restore_app.command(cls=QuickCommand)
def restore(file: Annotated[str, FILE]) -> None:
    """Make the workspace again that was copied into the file. The database must have no models in it.

    It may be another kind of database or storage than the copy was made from. Trainings that ran go on.
    """
    from charrnn import backup
    from charrnn.config import Settings

    with sys.stdin.buffer if file == "-" else Path(file).open("rb") as source:
        copied = backup.restore(Settings(), source)
    print(f"{copied.models:,} models with {copied.files:,} files, {copied.bytes:,} bytes", file=sys.stderr)
