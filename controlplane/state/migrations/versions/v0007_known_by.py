"""By what people are known, and from where they called. Only expands."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

OLDEST = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# Each with the value that rows of before have, and those that the previous release writes; None is none.
_ADDED: Mapping[str, Mapping[str, str | None]] = {
    "users": {"known_by": "token", "subject": ""},
    "revisions": {"author_known_by": None},
    "events": {"actor_known_by": None, "source": ""},
}


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, before in columns.items():
            op.add_column(table, sa.Column(name, TEXT, nullable=before is None, server_default=before))
