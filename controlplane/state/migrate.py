"""The schema's history, run when a store opens.

Migrations expand first and contract a release later, so that the previous release runs on the new schema. The table
`schema_compatibility` says which schema a program must know at least to run here; a migration that contracts, or lets
a required field take a value that older programs do not know, raises it (`OLDEST` in the revision's file). Alembic is
imported only when there is something to do: it costs half a second.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from controlplane.state.tables import TABLES
from headrace.errors import ConflictError

KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""The revisions of the schema that this version knows, oldest first."""
MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(connection: sa.Connection) -> None:
    """Brings the schema to this version's, inside the caller's transaction and lock.

    Raises ConflictError for a database that is too new, or that holds tables of somebody else.
    """
    current = revision_of(connection)
    if current == KNOWN[-1]:
        return
    if current is None:
        _refuse_foreign_tables(connection)
    elif current not in KNOWN:
        _refuse_unless_compatible(connection, current)
        return
    _upgrade(connection)


def revision_of(connection: sa.Connection) -> str | None:
    """Of the schema in this database; None when there is none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _refuse_foreign_tables(connection: sa.Connection) -> None:
    strange = sorted({table.name for table in TABLES.values()} & set(sa.inspect(connection).get_table_names()))
    if strange:
        raise ConflictError(
            f"the database has a table {strange[0]!r} that Headrace did not make; give Headrace a database of its own"
        )


def _refuse_unless_compatible(connection: sa.Connection, current: str) -> None:
    oldest = connection.exec_driver_sql("SELECT oldest FROM schema_compatibility").scalar()
    if oldest not in KNOWN:
        raise ConflictError(
            f"the database has schema {current}, which needs a Headrace that knows schema {oldest}; "
            f"this one knows up to {KNOWN[-1]}: run the newer version, or restore an older backup into an empty place"
        )


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    # A percent sign in a path would start an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
