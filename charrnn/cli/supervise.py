"""`charrnn supervise`: train what is queued, here, until it is told to end."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.cli.quick import QuickCommand

app = typer.Typer(add_completion=False)


@app.command(cls=QuickCommand)
def supervise(
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is queued or running.")] = False,
) -> None:
    """Train what is queued, on this machine, until Ctrl-C or SIGTERM.

    Then what is trained is saved, and goes back to the queue for another supervisor, or this one later.

    CHARRNN_MAX_RUNNING says how many trainings run at a time, by default half as many as there are processors.
    """
    from charrnn.config import Settings
    from charrnn.jobs.supervisor import supervise as supervise_here

    settings = Settings()
    print(f"training what is queued, {settings.running_limit} at a time", flush=True)
    supervise_here(settings, until_idle=until_idle)
