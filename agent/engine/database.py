"""Fluent Bit's own small databases of what was delivered, which both engines read and write: their options and opening.

Every statement commits by itself, unless it stands in a `transaction`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.engine.config import BOOLEAN, STRING, option
from agent.engine.plugin import PluginError

T = TypeVar("T")

_SYNC = {"off": 0, "normal": 1, "full": 2, "extra": 3}
SYNC = ("extra", "full", "normal", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """How a database is kept."""

    sync: str = option(STRING, "normal", name="db.sync", choices=SYNC, help="how safely it is written")
    journal_mode: str = option(
        STRING,
        "WAL",
        name="db.journal_mode",
        choices=("DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"),
        help="SQLite's journal mode",
    )
    locking: bool = option(BOOLEAN, False, name="db.locking", help="keep the database to this process")


def open_database(
    path: Path,
    create: str,
    read: Callable[[sqlite3.Connection], T],
    *,
    what: str = "database",
    sync: str | None = None,
    journal_mode: str | None = None,
    locking: bool = False,
) -> tuple[sqlite3.Connection, T]:
    """The database with its table, and what was read of it. Raises PluginError."""
    try:
        database = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            database.execute(create)
            if sync is not None:
                database.execute(f"PRAGMA synchronous = {_SYNC[sync]}")
            if locking:
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
            if journal_mode is not None:
                database.execute(f"PRAGMA journal_mode = {journal_mode}")
            return database, read(database)
        except sqlite3.Error:
            database.close()
            raise
    except sqlite3.Error as error:
        raise PluginError(f"{what} {str(path)!r} cannot be opened: {error}") from error


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing. Raises sqlite3.Error."""
    database.execute("BEGIN")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
