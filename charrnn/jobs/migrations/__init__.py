"""How the tables came to be what they are: Alembic's steps, each in a file under `versions`."""
