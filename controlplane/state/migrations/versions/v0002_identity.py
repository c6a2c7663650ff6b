"""What tokens allow, agents' keys and certificates, and by what an agent showed who it is. Only expands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OLDEST = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# Each with the value that rows of before have, and those that the previous release writes.
_ADDED: Mapping[str, tuple[tuple[str, sa.types.TypeEngine[Any], str], ...]] = {
    "agents": tuple(
        (name, TEXT, "") for name in ("scope", "public_key", "serial", "next_hash", "next_key", "next_serial")
    ),
    "sessions": (("shown", TEXT, ""),),
    "tokens": (("max_agents", INTEGER, "0"), ("scope", TEXT, ""), ("networks", TEXT, "[]")),
}


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, kind, before in columns:
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=before))
    op.create_table(
        "certificates",
        sa.Column("serial", TEXT, primary_key=True, autoincrement=False, nullable=False),
        sa.Column("agent_id", TEXT, nullable=False),
        sa.Column("issued_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=False),
        sa.Column("revoked_at", INTEGER, nullable=True),
        sa.Column("reason", TEXT, nullable=False),
    )
    op.create_index("certificates_by_agent_id", "certificates", ["agent_id"])
