"""How far the journal was read, and how far its entries are delivered.

Deliveries may be confirmed in any order; the cursor that is kept is the end of the unbroken run of confirmed ones. With
a path it is in Fluent Bit's own database (table `in_systemd_cursor`), which both engines read and write; without one it
lives as long as the process. Shared by an input and its successor over a reload. Used from the event loop's thread
only.
"""

import asyncio
import logging
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.engine.confirmed import ConfirmedRun
from agent.engine.database import open_database

_log = logging.getLogger("agent.engine.input.systemd")

_CREATE = "CREATE TABLE IF NOT EXISTS in_systemd_cursor (cursor TEXT NOT NULL, updated INTEGER)"
_CURSOR = re.compile(r"[a-z]=[0-9a-f]+(;[a-z]=[0-9a-f]+)*")
"""Fluent Bit keeps `(null)` before it has read anything."""


class Cursors:
    """`read` is the cursor of the last entry that was handed over, or empty."""

    def __init__(self, path: Path | None, *, sync: str | None = None) -> None:
        """Raises PluginError when the database cannot be opened."""
        self.read = ""
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._delivered = ConfirmedRun(self._commit)
        self._committed = ""
        self._is_dirty = False
        if path is not None:
            self._database, row = open_database(path, _CREATE, _newest, sync=sync)
            if row is not None and _CURSOR.fullmatch(str(row[0])):
                self.read = str(row[0])

    @property
    def durable(self) -> bool:
        """Whether the cursor outlives the process."""
        return self._database is not None

    def advance(self, cursor: str) -> Callable[[], None]:
        """Entries up to this one are read; call the result when they are delivered."""
        self.read = cursor
        return self._delivered.add(cursor)

    def close(self) -> None:
        """Write what is not written and close the database."""
        self._write()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _commit(self, cursor: str) -> None:
        self._committed = cursor
        if self._database is not None and not self._is_dirty:
            asyncio.get_running_loop().call_soon(self._write)  # once for all confirmations of a turn
            self._is_dirty = True

    def _write(self) -> None:
        if self._database is None or not self._is_dirty:
            return
        row = (self._committed, int(time.time()))
        try:
            if not self._database.execute("UPDATE in_systemd_cursor SET cursor = ?, updated = ?", row).rowcount:
                self._database.execute("INSERT INTO in_systemd_cursor (cursor, updated) VALUES (?, ?)", row)
            self._is_dirty = False
        except sqlite3.Error as error:
            _log.error(
                "[input:systemd] database %s cannot be written, entries may be read again: %s", self._path, error
            )
            asyncio.get_running_loop().call_later(1, self._write)


def _newest(database: sqlite3.Connection) -> Any:
    return database.execute("SELECT cursor FROM in_systemd_cursor ORDER BY rowid DESC").fetchone()
