"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}

OLDEST = ${repr(down_revision)}
"""The schema that a program must know at least to run on this one."""


def upgrade() -> None:
    ${upgrades if upgrades else "..."}
    op.execute(sa.text("UPDATE schema_compatibility SET oldest = :oldest").bindparams(oldest=OLDEST))
