"""Agents that wait for an operator's approval, and tokens that ask for one. Only expands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

OLDEST = "0001"
"""A program that knows nothing of approval lets in at once whoever has such a token: make them after the upgrade."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "applications",
        sa.Column("id", TEXT, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("facts", TEXT, nullable=False),
        sa.Column("token_id", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("claimed", TEXT, nullable=False),
        sa.Column("asked_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=False),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("replaces", TEXT, nullable=False),
        sa.Column("author", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
    )
    op.create_index("applications_by_public_key", "applications", ["public_key"])
    op.add_column("tokens", sa.Column("approve", sa.Boolean(), nullable=False, server_default=sa.false()))
