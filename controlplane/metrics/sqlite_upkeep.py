"""What the SQLite metric store does in the background: rolling up, deleting what is old, and keeping the file small.

`upkeep` is a generator that yields after each small transaction, so that writes come in between; it goes on where it
was whenever it is started again. Nothing is deleted from a tier before the next one has it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.metrics.sqlite_file import HOUR, HOUR_MS, MINUTE, MINUTE_MS, RAW, SeriesIds, kept_from, transaction

ROLL_DELAY_MS = 15_000
"""How long after its end a step is rolled up; what comes later rolls it up again."""
SERIES_A_TIME = 5_000
_DELETE_EVERY_MS = 5 * MINUTE_MS
_SHRINK = 8
"""By which part of its span the finest tier is cut when the file is too large."""

_ROLL = {
    MINUTE: (
        "SELECT s.id, ?1, count(*), sum(value), min(value), max(value),"
        " (SELECT value FROM raw WHERE series = s.id AND ts < ?2 ORDER BY ts DESC LIMIT 1)"
        " FROM series s CROSS JOIN raw ON series = s.id AND ts >= ?1 AND ts < ?2"
        " WHERE s.id > ?3 AND s.id <= ?4 GROUP BY s.id"
    ),
    HOUR: (
        "SELECT s.id, ?1, sum(count), sum(sum), min(min), max(max),"
        " (SELECT last FROM minute WHERE series = s.id AND ts < ?2 ORDER BY ts DESC LIMIT 1)"
        " FROM series s CROSS JOIN minute ON series = s.id AND ts >= ?1 AND ts < ?2"
        " WHERE s.id > ?3 AND s.id <= ?4 GROUP BY s.id"
    ),
}
_SIZE_MS = {MINUTE: MINUTE_MS, HOUR: HOUR_MS}
_FINER = {MINUTE: RAW, HOUR: MINUTE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long each tier is kept, in milliseconds, and how large the file may grow."""

    raw_ms: int = 6 * HOUR_MS
    minute_ms: int = 7 * 24 * HOUR_MS
    hour_ms: int = 90 * 24 * HOUR_MS
    max_bytes: int = 2 << 30

    def of(self, tier: str) -> int:
        """How long that tier is kept."""
        return {RAW: self.raw_ms, MINUTE: self.minute_ms, HOUR: self.hour_ms}[tier]


@dataclass(slots=True)
class Cut:
    """What had to go before its time, since the file was too large."""

    tier: str = ""
    up_to_ms: int = 0


def upkeep(
    connection: sqlite3.Connection, ids: SeriesIds, retention: Retention, *, now_ms: int, cut: Cut
) -> Iterator[None]:
    """All that is to be done now, one transaction for each step."""
    for tier in (MINUTE, HOUR):
        yield from _roll_up(connection, tier, before_ms=now_ms - ROLL_DELAY_MS)
    has_deleted = False
    for tier in (RAW, MINUTE, HOUR):
        # By whole hours but for the raw ones: a coarser row stands for all that is in it.
        unit = _DELETE_EVERY_MS if tier == RAW else HOUR_MS
        horizon = (now_ms - retention.of(tier)) // unit * unit
        if horizon > kept_from(connection, tier) and not _is_due(connection, tier, horizon):
            has_deleted = True
            yield from _delete(connection, tier, horizon)
    while used_bytes(connection) > retention.max_bytes and (chosen := _to_cut(connection, now_ms)):
        has_deleted = True
        cut.tier, cut.up_to_ms = chosen
        yield from _roll_up(connection, MINUTE, before_ms=now_ms)
        yield from _delete(connection, *chosen)
    if has_deleted:
        yield from _forget_series(connection, ids)
        yield from _give_back(connection)


def used_bytes(connection: sqlite3.Connection) -> int:
    """What is in use of the file."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _roll_up(connection: sqlite3.Connection, tier: str, *, before_ms: int) -> Iterator[None]:
    size = _SIZE_MS[tier]
    statement = "SELECT ts, changes FROM due WHERE tier = ? AND ts <= ? ORDER BY ts"
    for ts, changes in connection.execute(statement, (tier, before_ms - size)).fetchall():
        # Of a time whose finer rows are gone, what was rolled up then is more than what came late.
        how = "REPLACE" if ts >= kept_from(connection, _FINER[tier]) else "IGNORE"
        for low, high in _series_ranges(connection):
            with transaction(connection):
                connection.execute(f"INSERT OR {how} INTO {tier} {_ROLL[tier]}", (ts, ts + size, low, high))
            yield
        with transaction(connection):
            connection.execute("DELETE FROM due WHERE tier = ? AND ts = ? AND changes = ?", (tier, ts, changes))
            if tier == MINUTE:
                connection.execute(
                    "INSERT INTO due VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET changes = changes + 1",
                    (HOUR, ts // HOUR_MS * HOUR_MS),
                )
        yield


def _is_due(connection: sqlite3.Connection, tier: str, before_ms: int) -> bool:
    """Whether something that is about to go is yet to be rolled up."""
    coarser = {RAW: MINUTE, MINUTE: HOUR}.get(tier)
    if coarser is None:
        return False
    row = connection.execute("SELECT 1 FROM due WHERE tier = ? AND ts < ? LIMIT 1", (coarser, before_ms)).fetchone()
    return row is not None


def _delete(connection: sqlite3.Connection, tier: str, before_ms: int) -> Iterator[None]:
    """First nobody reads it any more, then it goes: a reader never sees a half of it."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO kept_from VALUES (?, ?) ON CONFLICT DO UPDATE SET ts = max(ts, excluded.ts)", (tier, before_ms)
        )
    yield
    for low, high in _series_ranges(connection):
        with transaction(connection):
            ids = connection.execute("SELECT id FROM series WHERE id > ? AND id <= ?", (low, high)).fetchall()
            connection.executemany(
                f"DELETE FROM {tier} WHERE series = ? AND ts < ?", [(id, before_ms) for (id,) in ids]
            )
        yield


def _to_cut(connection: sqlite3.Connection, now_ms: int) -> tuple[str, int] | None:
    """The tier to shorten, and up to when: the finest that still holds more than two hours, or what there is."""
    for tier, least_ms, unit in ((RAW, 2 * HOUR_MS, MINUTE_MS), (MINUTE, 2 * HOUR_MS, HOUR_MS), (HOUR, 0, HOUR_MS)):
        oldest = connection.execute(
            f"SELECT min((SELECT min(ts) FROM {tier} WHERE series = s.id)) FROM series s"
        ).fetchone()[0]
        if oldest is None or now_ms - oldest <= least_ms:
            continue
        up_to = (oldest + max(unit, (now_ms - oldest) // _SHRINK)) // unit * unit
        return tier, max(up_to, oldest // unit * unit + unit)
    oldest = connection.execute("SELECT min((SELECT min(ts) FROM raw WHERE series = s.id)) FROM series s").fetchone()[0]
    if oldest is None or now_ms - oldest < 2 * MINUTE_MS:
        return None
    return RAW, (oldest + now_ms) // 2 // MINUTE_MS * MINUTE_MS


def _forget_series(connection: sqlite3.Connection, ids: SeriesIds) -> Iterator[None]:
    """A series of which no tier has anything is gone; agents come and go, and the list stays bounded."""
    for low, high in _series_ranges(connection):
        with transaction(connection):
            deleted = connection.execute(
                "DELETE FROM series WHERE id > ? AND id <= ?"
                " AND NOT EXISTS (SELECT 1 FROM raw WHERE series = id)"
                " AND NOT EXISTS (SELECT 1 FROM minute WHERE series = id)"
                " AND NOT EXISTS (SELECT 1 FROM hour WHERE series = id)",
                (low, high),
            ).rowcount
        if deleted:
            ids.forget()
        yield


def _give_back(connection: sqlite3.Connection) -> Iterator[None]:
    """Free pages go back to the file system, some at a time."""
    while connection.execute("PRAGMA freelist_count").fetchone()[0] > 1_000:
        connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        yield
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _series_ranges(connection: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Ids in ranges of so many; (above, up to)."""
    (highest,) = connection.execute("SELECT coalesce(max(id), 0) FROM series").fetchone()
    return ((low, low + SERIES_A_TIME) for low in range(0, highest, SERIES_A_TIME))
