"""Runs migrations on the connection that `controlplane.state.migrate` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from controlplane.state.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite alters a table by making a new one.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
