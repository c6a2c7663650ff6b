"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

OLDEST = "0001"
"""The schema that a program must know at least to run on this one."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "schema_compatibility",
        sa.Column("oldest", TEXT, nullable=False),
    )
    op.create_table(
        "plane",
        *_key(INTEGER, "id"),
        *_columns(TEXT, "instance_id"),
        *_columns(INTEGER, "epoch", "fleet_revision", "generation"),
    )
    op.create_table(
        "pipelines",
        *_key(TEXT, "name"),
        *_columns(INTEGER, "revision", "generation"),
        *_columns(TEXT, "sha256", "engine", "selector", "labels", "description"),
        *_columns(sa.Boolean(), "deleted", "purge"),
        *_columns(INTEGER, "created_at", "updated_at"),
    )
    op.create_table(
        "revisions",
        *_key(TEXT, "pipeline"),
        *_key(INTEGER, "number"),
        *_columns(INTEGER, "generation"),
        *_columns(TEXT, "sha256", "selector", "labels", "description", "action", "author", "reason"),
        *_columns(INTEGER, "at"),
    )
    op.create_table(
        "blobs",
        *_key(TEXT, "sha256"),
        *_columns(sa.LargeBinary(), "data"),
        *_columns(INTEGER, "at"),
    )
    op.create_table(
        "agents",
        *_key(TEXT, "id"),
        *_columns(TEXT, "name", "state", "facts", "token_labels", "operator_labels", "credential_hash", "token_id"),
        *_columns(INTEGER, "enrolled_at"),
        *_columns(INTEGER, "last_seen", nullable=True),
        *_columns(INTEGER, "state_since"),
    )
    op.create_table(
        "sessions",
        *_key(TEXT, "agent_id"),
        *_columns(TEXT, "session_id", "boot_id"),
        *_columns(INTEGER, "session_number"),
        *_columns(TEXT, "replica"),
        *_columns(INTEGER, "lease_until", "opened_at"),
        *_columns(TEXT, "superseded"),
    )
    op.create_table(
        "observed",
        *_key(TEXT, "agent_id", "pipeline"),
        *_columns(TEXT, "observed", "phase"),
        *_columns(INTEGER, "changed_at"),
    )
    op.create_table(
        "transitions",
        *_key(INTEGER, "revision"),
        *_columns(INTEGER, "at"),
        *_columns(TEXT, "agent_id", "pipeline"),
        *_columns(INTEGER, "generation"),
        *_columns(TEXT, "before", nullable=True),
        *_columns(TEXT, "after", "message"),
    )
    op.create_table(
        "tokens",
        *_key(TEXT, "id"),
        *_columns(TEXT, "secret_hash"),
        *_columns(INTEGER, "created_at", "expires_at", "uses", "max_uses"),
        *_columns(TEXT, "labels"),
        *_columns(sa.Boolean(), "revoked"),
        *_columns(TEXT, "author", "description"),
    )
    op.create_table(
        "variables",
        *_key(TEXT, "name", "selector"),
        *_columns(TEXT, "value"),
    )
    op.create_table(
        "commands",
        *_key(TEXT, "id"),
        *_columns(TEXT, "agent_id", "kind", "pipeline"),
        *_columns(INTEGER, "lines"),
        *_columns(TEXT, "sha256"),
        *_columns(INTEGER, "deadline"),
        *_columns(sa.Boolean(), "done", "ok"),
        *_columns(TEXT, "message"),
        *_columns(sa.LargeBinary(), "output"),
    )
    op.create_table(
        "changes",
        *_key(INTEGER, "revision"),
        *_columns(TEXT, "topic", "key"),
        *_columns(INTEGER, "at"),
    )
    op.create_table(
        "events",
        *_key(INTEGER, "revision"),
        *_columns(INTEGER, "at"),
        *_columns(TEXT, "kind"),
        *_columns(TEXT, "severity", nullable=True),
        *_columns(TEXT, "actor", "pipeline", "agent_id"),
        *_columns(INTEGER, "generation"),
        *_columns(TEXT, "message"),
    )
    for table, *columns in (
        ("revisions", "sha256"),
        ("agents", "name"),
        ("sessions", "replica"),
        ("observed", "pipeline"),
        ("transitions", "pipeline", "revision"),
        ("transitions", "agent_id", "revision"),
        ("commands", "agent_id"),
        ("events", "pipeline", "revision"),
        ("events", "agent_id", "revision"),
    ):
        op.create_index(f"{table}_by_{'_'.join(columns)}", table, columns)
    op.execute(sa.text("INSERT INTO schema_compatibility (oldest) VALUES (:oldest)").bindparams(oldest=OLDEST))


def _key(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, primary_key=True, autoincrement=False, nullable=False) for name in names]


def _columns(kind: sa.types.TypeEngine[Any], *names: str, nullable: bool = False) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=nullable) for name in names]
