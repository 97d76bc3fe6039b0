"""Models, their logs, metrics and samples, the accounts of users, and supervisors.

Every step is left out if it was taken before: MySQL cannot undo tables, so an upgrade that was cut short begins again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
    "if_not_exists": True,
}


def ascii_char(length: int) -> Any:
    return sa.CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql")


def ascii_text(length: int) -> Any:
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql")


def exact() -> Any:
    return sa.LargeBinary().with_variant(mysql.VARBINARY(800), "mysql")


def long() -> Any:
    return sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")


def moment() -> Any:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")


def of_model() -> Any:
    return sa.Column("model_id", ascii_char(26), sa.ForeignKey("model.id", ondelete="CASCADE"), primary_key=True)


def number(name: str) -> Any:
    return sa.Column(name, sa.BigInteger(), primary_key=True, autoincrement=False)


def upgrade() -> None:
    create_model()
    index("model_by_name", "stretch", "name_key")
    index("model_by_status", "status", "stretch", "name_key")
    index("model_by_owner", "owner", "stretch", "name_key", "status")
    index("model_queue", "status", "queued_at", "id")
    create_what_models_have()
    create_counters()


def create_model() -> None:
    op.create_table(
        "model",
        sa.Column("id", ascii_char(26), primary_key=True),
        sa.Column("stretch", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", exact(), nullable=False),
        sa.Column("owner", exact(), nullable=False),
        sa.Column("status", ascii_text(16), nullable=False),
        sa.Column("options", long(), nullable=False),
        sa.Column("sampling", long(), nullable=False),
        sa.Column("corpus", long()),
        sa.Column("corpus_bytes", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", ascii_char(26)),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("progress", sa.Double()),
        sa.Column("epoch", sa.Double()),
        sa.Column("loss", sa.Double()),
        sa.Column("validation_loss", sa.Double()),
        sa.Column("best_validation_loss", sa.Double()),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("seconds_left", sa.Double()),
        sa.Column("characters_per_second", sa.Double()),
        sa.Column("error", long()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("worker_host", sa.String(255)),
        sa.Column("worker_pid", sa.Integer()),
        sa.Column("lease_until", moment()),
        sa.Column("stop_requested", sa.Integer(), nullable=False),
        sa.Column("checkpoint", sa.String(255)),
        sa.Column("model_file", sa.String(255)),
        sa.Column("queued_at", moment()),
        sa.Column("started_at", moment()),
        sa.Column("finished_at", moment()),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        **TABLE,
    )


def index(name: str, *columns: str) -> None:
    """MySQL has no `IF NOT EXISTS` for indexes."""
    if name not in {found["name"] for found in sa.inspect(op.get_bind()).get_indexes("model")}:
        op.create_index(name, "model", columns)


def create_what_models_have() -> None:
    op.create_table(
        "model_log",
        of_model(),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("chunk", long(), nullable=False),
        **TABLE,
    )
    op.create_table(
        "model_metric",
        of_model(),
        number("step"),
        sa.Column("seconds", sa.Double()),
        sa.Column("epoch", sa.Double()),
        sa.Column("train_loss", sa.Double()),
        sa.Column("validation_loss", sa.Double()),
        sa.Column("learning_rate", sa.Double()),
        sa.Column("characters_per_second", sa.Double()),
        **TABLE,
    )
    op.create_table("model_sample", of_model(), number("step"), sa.Column("text", long(), nullable=False), **TABLE)


def create_counters() -> None:
    op.create_table(
        "model_counter",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("models", sa.BigInteger(), nullable=False),
        sa.Column("last_id", ascii_char(26), nullable=False),
        **TABLE,
    )
    op.create_table(
        "account",
        sa.Column("owner", exact(), primary_key=True),
        sa.Column("text_bytes", sa.BigInteger(), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("generations", sa.Integer(), nullable=False),
        **TABLE,
    )
    op.create_table(
        "supervisor",
        sa.Column("id", ascii_text(64), primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("max_running", sa.Integer(), nullable=False),
        sa.Column("seen_at", moment(), nullable=False),
        **TABLE,
    )
