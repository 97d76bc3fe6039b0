"""Where models come from, for limits that hold for all who come from one place.

Every step is left out if it was taken before: MySQL cannot undo tables, so an upgrade that was cut short begins again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    model_id = sa.CHAR(26).with_variant(mysql.CHAR(26, charset="ascii", collation="ascii_bin"), "mysql")
    exact = sa.LargeBinary().with_variant(mysql.VARBINARY(800), "mysql")
    op.create_table(
        "model_origin",
        sa.Column("model_id", model_id, sa.ForeignKey("model.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("origin", exact, nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        if_not_exists=True,
    )
    if "model_by_origin" not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes("model_origin")}:
        op.create_index("model_by_origin", "model_origin", ("origin",))
