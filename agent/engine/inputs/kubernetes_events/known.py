"""Which events were handed over, and in which version, so that a list that is read again gives the new ones alone.

With a path those that are delivered are in Fluent Bit's own database (table `in_kubernetes_events`), which both engines
read and write; without one all of it lives as long as the process. Shared by an input and its successor over a reload.
Used from the event loop's thread only.
"""

import logging
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.engine.database import open_database, transaction
from agent.engine.inputs.kubernetes_events.events import Event

_log = logging.getLogger("agent.engine.input.kubernetes_events")

_CREATE = (
    "CREATE TABLE IF NOT EXISTS in_kubernetes_events"
    " (id INTEGER PRIMARY KEY, uid TEXT NOT NULL, resourceVersion INTEGER NOT NULL, created INTEGER NOT NULL)"
)


class Known:
    """`version` is where a watch goes on after a list of `uri`, 0 before the first one."""

    def __init__(self, path: Path | None, *, sync: str, journal_mode: str, locking: bool) -> None:
        """Raises PluginError when the database cannot be opened."""
        self.version = 0
        self.uri = ""
        self._path = path
        self._handed_over: dict[str, tuple[int, int]] = {}  # uid: version, time
        self._database: sqlite3.Connection | None = None
        if path is not None:
            self._database, rows = open_database(
                path, _CREATE, _newest, sync=sync, journal_mode=journal_mode, locking=locking
            )
            self._handed_over = {uid: (version, when) for uid, version, when in rows}

    @property
    def durable(self) -> bool:
        """Whether what is delivered is known after a restart."""
        return self._database is not None

    def is_new(self, event: Event) -> bool:
        """Whether this version of the event was not handed over yet."""
        return event.version > self._handed_over.get(event.uid, (0, 0))[0]

    def hand_over(self, events: Iterable[Event]) -> Callable[[], None]:
        """These are handed over; call the result when they are delivered."""
        rows = [(event.uid, event.version, event.time) for event in events]
        self._handed_over |= {uid: (version, when) for uid, version, when in rows}

        def confirm() -> None:
            if self._database is None:
                return
            try:
                with transaction(self._database):
                    self._database.executemany(
                        "INSERT INTO in_kubernetes_events (uid, resourceVersion, created) VALUES (?, ?, ?)", rows
                    )
            except sqlite3.Error as error:
                _log.error(
                    "[input:kubernetes_events] database %s cannot be written, events may come again: %s",
                    self._path,
                    error,
                )

        return confirm

    def forget(self, before: int) -> None:
        """Events of that time or earlier are not handed over any more, so nothing needs to be known of them."""
        self._handed_over = {uid: known for uid, known in self._handed_over.items() if known[1] > before}
        if self._database is not None:
            try:
                with transaction(self._database):
                    self._database.execute("DELETE FROM in_kubernetes_events WHERE created <= ?", (before,))
            except sqlite3.Error as error:
                _log.error("[input:kubernetes_events] database %s cannot be cleaned: %s", self._path, error)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _newest(database: sqlite3.Connection) -> list[tuple[str, int, int]]:
    return database.execute(
        "SELECT uid, MAX(resourceVersion), MAX(created) FROM in_kubernetes_events GROUP BY uid"
    ).fetchall()
