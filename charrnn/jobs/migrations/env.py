"""What Alembic runs to migrate. `charrnn.jobs.database` calls it, and hands it the connection."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from charrnn.jobs.schema import Base

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    transactional_ddl=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
