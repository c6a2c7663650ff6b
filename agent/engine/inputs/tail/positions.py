"""How far each file was read, and how far its lines are delivered.

A track keeps both for one file (known by its inode). Deliveries may be confirmed in any order; the committed position
is the end of the unbroken run of confirmed pieces, so that what is read again after a crash includes everything
undelivered.

With a path the committed positions are in Fluent Bit's own offset database (table `in_tail_files`), which both engines
read and write; without one they live as long as the process. Shared by an input and its successor over a reload, so
that the new one goes on where the old one read to. Used from the event loop's thread only.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from agent.engine.confirmed import ConfirmedRun
from agent.engine.database import open_database, transaction

_log = logging.getLogger("agent.engine.input.tail")

_CREATE = (
    "CREATE TABLE IF NOT EXISTS in_tail_files"
    " (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, inode INTEGER, created INTEGER,"
    " rotated INTEGER DEFAULT 0)"
)


class Track:
    """One file's positions: `read` up to there, delivered up to `committed`."""

    def __init__(self, row: int | None, inode: int, name: str, offset: int, moved: Callable[["Track"], None]) -> None:
        self.row = row
        self.inode = inode
        self.name = name
        self.read = offset
        self.committed = offset
        self._moved = moved
        self._pieces_end = offset
        self._delivered = ConfirmedRun(self._commit)

    @property
    def settled(self) -> bool:
        """Whether everything that was read is delivered."""
        return self._delivered.is_empty

    def advance(self, end: int, safe: int | None = None) -> Callable[[], None]:
        """The lines up to `end` are read; call the result when they are delivered.

        `safe` is where to go on after a crash if that is earlier: before lines that wait for the rest of their message.
        """
        self.read = end
        self._pieces_end = safe if safe is not None else end
        return self._delivered.add(self._pieces_end)

    def rewind(self) -> None:
        """Forget the lines that wait for the rest of their message: whoever reads next begins before them."""
        self.read = self._pieces_end

    def skip(self, end: int) -> None:
        """Go on at `end` without a delivery."""
        self.advance(end)()

    def restart(self) -> None:
        """The file was truncated: start over, whatever older deliveries say later."""
        self._delivered.clear()
        self.read = self._pieces_end = 0
        self._commit(0)

    def _commit(self, end: int) -> None:
        self.committed = end
        self._moved(self)


class Positions:
    """The tracks of one offset database, or of one input without one.

    Raises PluginError when the database cannot be opened.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        sync: str = "normal",
        journal_mode: str = "WAL",
        locking: bool = False,
        by_name: bool = False,
    ) -> None:
        self._path = path
        self._by_name = by_name
        self._tracks: dict[int, Track] = {}
        self._changed: set[Track] = set()
        self._database: sqlite3.Connection | None = None
        self._has_marker = False
        if path is not None:
            self._database, columns = open_database(
                path,
                _CREATE,
                _columns,
                what="offset database",
                sync=sync,
                journal_mode=journal_mode,
                locking=locking,
            )
            self._has_marker = {"offset_marker", "offset_marker_size"} <= columns

    @property
    def durable(self) -> bool:
        """Whether positions outlive the process."""
        return self._database is not None

    def known(self, inode: int, name: str) -> Track | None:
        """The track of a file that was read before, by this process or an earlier one."""
        track = self._tracks.get(inode)
        if track is None and self._database is not None:
            row = self._database.execute(
                "SELECT id, name, offset FROM in_tail_files WHERE inode = ? ORDER BY id DESC", (inode,)
            ).fetchone()
            if row is not None and not (self._by_name and row[1] != name):
                track = self._tracks[inode] = Track(row[0], inode, row[1], row[2] or 0, self._note)
        return track

    def start(self, inode: int, name: str, offset: int) -> Track:
        """A track for a file that is not known."""
        row = None
        if self._database is not None:
            self._database.execute("DELETE FROM in_tail_files WHERE inode = ?", (inode,))
            row = self._database.execute(
                "INSERT INTO in_tail_files (name, offset, inode, created) VALUES (?, ?, ?, ?)",
                (name, offset, inode, int(time.time())),
            ).lastrowid
        track = self._tracks[inode] = Track(row, inode, name, offset, self._note)
        return track

    def rotated(self, track: Track, name: str) -> None:
        """The file has another name now."""
        track.name = name
        if self._database is not None:
            self._database.execute("UPDATE in_tail_files SET name = ?, rotated = 1 WHERE id = ?", (name, track.row))

    def forget(self, track: Track) -> None:
        """The file is gone and everything in it delivered."""
        self._tracks.pop(track.inode, None)
        self._changed.discard(track)
        if self._database is not None:
            self._database.execute("DELETE FROM in_tail_files WHERE id = ?", (track.row,))

    def rows(self) -> list[tuple[str, int]]:
        """(name, inode) of every file in the database."""
        if self._database is None:
            return []
        return list(self._database.execute("SELECT name, inode FROM in_tail_files").fetchall())

    def close(self) -> None:
        """Write what is not written and close the database."""
        self._write()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _note(self, track: Track) -> None:
        if self._database is None:
            return
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._write)  # one transaction for all confirmations of a turn
        self._changed.add(track)

    def _write(self) -> None:
        if self._database is None or not self._changed:
            return
        # A newer Fluent Bit keeps a checksum of the bytes before the offset; size 0 tells it that there is none to
        # compare.
        marker = ", offset_marker = 0, offset_marker_size = 0" if self._has_marker else ""
        try:
            with transaction(self._database):
                self._database.executemany(
                    f"UPDATE in_tail_files SET offset = ?{marker} WHERE id = ?",
                    [(track.committed, track.row) for track in self._changed],
                )
            self._changed.clear()
        except sqlite3.Error as error:
            _log.error(
                "[input:tail] offset database %s cannot be written, lines may be read again: %s", self._path, error
            )
            asyncio.get_running_loop().call_later(1, self._write)


def _columns(database: sqlite3.Connection) -> set[str]:
    return {row[1] for row in database.execute("PRAGMA table_info(in_tail_files)")}
