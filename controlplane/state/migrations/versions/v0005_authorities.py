"""The authorities of agents' certificates, and which of them signed each. Only expands."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

OLDEST = "0001"
"""A program that knows one authority only goes on with the one whose files it has."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "authorities",
        sa.Column("fingerprint", TEXT, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("number", INTEGER, nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("added_at", INTEGER, nullable=False),
        sa.Column("ended_at", INTEGER, nullable=True),
    )
    op.add_column("certificates", sa.Column("authority", TEXT, nullable=False, server_default=""))
    op.create_index("certificates_by_authority", "certificates", ["authority"])
