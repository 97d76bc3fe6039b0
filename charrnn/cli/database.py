"""`charrnn db`: the tables of the database."""

from __future__ import annotations

import typer

from charrnn.cli.quick import QuickCommand, QuickGroup

app = typer.Typer(cls=QuickGroup, add_completion=False)


@app.callback()
def db() -> None:
    """Look after the database of the workspace (CHARRNN_DATABASE_URL)."""


@app.command(cls=QuickCommand)
def upgrade() -> None:
    """Make the tables, or bring those of an older charrnn up to date. It may be run any number of times."""
    from charrnn.config import Settings
    from charrnn.jobs.database import Database

    settings = Settings()
    database = Database(settings.database_url.get_secret_value(), settings.database_tls, settings.database_tls_ca)
    before = database.revision()
    database.upgrade()
    after = database.revision()
    what = "is up to date" if before == after else f"is upgraded from {before}" if before else "is ready"
    print(f"the database {database} {what}, revision {after}")
