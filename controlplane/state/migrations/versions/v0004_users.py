"""People and programs that use the management API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

OLDEST = "0001"
"""A program that knows nothing of users lets in nobody but by its own token."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", TEXT, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("token_hash", TEXT, nullable=False),
        sa.Column("revoked", sa.Boolean(), nullable=False),
        sa.Column("author", TEXT, nullable=False),
        sa.Column("description", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=True),
    )
