"""The file of the SQLite metric store: its tables, and the statements that write and read them, in the calling thread.

Raw points, and what was rolled up of them by the minute and by the hour, are clustered by (series, time). `due` names
the steps that have changed since they were rolled up. Where two tiers know a time, exactly one is read: `_pieces` cuts.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from pathlib import Path
from weakref import WeakKeyDictionary

from controlplane.metrics.vocabulary import Block, Bucket, Layout, Query, Recent, Selection, Series, Within

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
RAW, MINUTE, HOUR = "raw", "minute", "hour"
BUSY_S = 10.0

_ROLLED = "(series INTEGER, ts INTEGER, count REAL, sum REAL, min REAL, max REAL, last REAL, PRIMARY KEY (series, ts))"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, name TEXT NOT NULL, tags TEXT NOT NULL, UNIQUE (name, tags));
CREATE TABLE IF NOT EXISTS raw (series INTEGER, ts INTEGER, value REAL, PRIMARY KEY (series, ts)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS minute {_ROLLED} WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS hour {_ROLLED} WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS due (tier TEXT, ts INTEGER, changes INTEGER, PRIMARY KEY (tier, ts)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept_from (tier TEXT PRIMARY KEY, ts INTEGER NOT NULL) WITHOUT ROWID;
"""
_MARK_DUE = "INSERT INTO due VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET changes = changes + 1"
_UNIT_MS = {RAW: 1, MINUTE: MINUTE_MS, HOUR: HOUR_MS}
_LAST_ALONE = frozenset({Within.LAST, Within.INCREASE, Within.RATE})


@dataclass(frozen=True, slots=True)
class _Piece:
    """One tier, from a time up to another, excluded."""

    tier: str
    start_ms: int
    end_ms: int


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """A connection for one thread; the writer's makes what is not there yet. Raises sqlite3.Error and OSError."""
    if write:
        # Made here for its mode: SQLite gives that to the files beside it.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        if write:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.executescript(_SCHEMA)
        else:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Committed at the end of the block, rolled back when it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class SeriesIds:
    """The ids of series as the writer knows them, in memory; it forgets what a failed transaction gave."""

    def __init__(self) -> None:
        self._ids: dict[Series, int] = {}
        self._laid_out: WeakKeyDictionary[Layout, tuple[int, ...]] = WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, connection: sqlite3.Connection, layouts: Iterable[Layout]) -> dict[Layout, tuple[int, ...]]:
        """The ids of each; new ones are made, and remembered by `remember` once they are committed."""
        found: dict[Layout, tuple[int, ...]] = {}
        made: dict[Series, int] = {}
        for layout in layouts:
            ids = self._laid_out.get(layout)
            if ids is None:
                for series in layout.series:
                    if series not in self._ids and series not in made:
                        made[series] = _id_of(connection, series)
                ids = tuple([self._ids.get(series) or made[series] for series in layout.series])
            found[layout] = ids
        return found

    def remember(self, found: dict[Layout, tuple[int, ...]]) -> None:
        """Committed."""
        for layout, ids in found.items():
            if layout not in self._laid_out:
                self._ids.update(zip(layout.series, ids, strict=True))
                self._laid_out[layout] = ids

    def forget(self) -> None:
        """Asks the file again, after series were deleted."""
        self._ids.clear()
        self._laid_out.clear()


def write(connection: sqlite3.Connection, ids: SeriesIds, blocks: Sequence[Block]) -> None:
    """All their points in one transaction; a point that is there already is replaced."""
    with transaction(connection):
        found = ids.of(connection, dict.fromkeys(block.layout for block in blocks))
        rows: list[tuple[int, int, float]] = []
        for layout, at_ms, values in blocks:
            rows += zip(found[layout], repeat(at_ms), values, strict=False)
        # By place in the file; of points that are the same one, the last stays last.
        rows.sort(key=itemgetter(0, 1))
        connection.executemany("INSERT OR REPLACE INTO raw VALUES (?, ?, ?)", rows)
        minutes = {block.at_ms // MINUTE_MS * MINUTE_MS for block in blocks}
        connection.executemany(_MARK_DUE, [(MINUTE, minute) for minute in sorted(minutes)])
    ids.remember(found)


def series_of(connection: sqlite3.Connection, selection: Selection) -> dict[int, Series]:
    """The series of a selection by id, in the order of names and tags."""
    names = json.dumps(selection.names)
    statement = "SELECT id, name, tags FROM series WHERE name IN (SELECT value FROM json_each(?))"
    found = {id: _series(name, tags) for id, name, tags in connection.execute(statement, (names,))}
    chosen = [(id, series) for id, series in found.items() if selection.matches(series)]
    return dict(sorted(chosen, key=lambda pair: (pair[1].name, pair[1].tags)))


def read(connection: sqlite3.Connection, query: Query) -> list[tuple[Series, list[Bucket]]]:
    """The steps of each series of a query that have something in them."""
    connection.execute("BEGIN")
    try:
        chosen = series_of(connection, query.selection)
        found: dict[int, dict[int, Bucket]] = {}
        for piece in _pieces(connection, query):
            for id, bucket in _read_piece(connection, query, piece, list(chosen)):
                steps = found.setdefault(id, {})
                known = steps.get(bucket.at_ms)
                steps[bucket.at_ms] = bucket if known is None else _merged(known, bucket)
    finally:
        connection.execute("COMMIT")
    return [(series, sorted(found[id].values())) for id, series in chosen.items() if id in found]


def latest(connection: sqlite3.Connection, selection: Selection, since_ms: int) -> list[Recent]:
    """The first and the last raw point since then of each series."""
    statement = (
        "SELECT (SELECT min(ts) FROM raw WHERE series = wanted.value AND ts >= ?1) AS first,"
        " (SELECT max(ts) FROM raw WHERE series = wanted.value AND ts >= ?1) AS last, wanted.value"
        " FROM json_each(?2) AS wanted"
    )
    value = "SELECT value FROM raw WHERE series = ? AND ts = ?"
    connection.execute("BEGIN")
    try:
        chosen = series_of(connection, selection)
        recent = []
        for first, last, id in connection.execute(statement, (since_ms, json.dumps(list(chosen)))).fetchall():
            if first is None:
                continue
            ((begin,),) = connection.execute(value, (id, first))
            ((end,),) = connection.execute(value, (id, last))
            recent.append(Recent(chosen[id], first, begin, last, end))
    finally:
        connection.execute("COMMIT")
    return recent


def kept_from(connection: sqlite3.Connection, tier: str) -> int:
    """What is older was deleted from a tier; 0 when nothing was."""
    row = connection.execute("SELECT ts FROM kept_from WHERE tier = ?", (tier,)).fetchone()
    return int(row[0]) if row else 0


def _pieces(connection: sqlite3.Connection, query: Query) -> Iterator[_Piece]:
    """Which tier tells which part of a query: what is deleted from a finer one, or serves as well, a coarser one."""
    start, end = query.read_from_ms, query.end_ms
    raw_from, minute_from = kept_from(connection, RAW), kept_from(connection, MINUTE)
    if query.step_ms % MINUTE_MS == 0 and start % MINUTE_MS == 0:
        (first_due,) = connection.execute("SELECT min(ts) FROM due WHERE tier = ?", (MINUTE,)).fetchone()
        raw_from = max(raw_from, end // MINUTE_MS * MINUTE_MS if first_due is None else first_due)
    cuts = ((HOUR, start, minute_from), (MINUTE, max(start, minute_from), raw_from), (RAW, max(start, raw_from), end))
    for tier, begin, until in cuts:
        if begin < min(until, end):
            yield _Piece(tier, begin, min(until, end))


def _read_piece(
    connection: sqlite3.Connection, query: Query, piece: _Piece, ids: list[int]
) -> Iterator[tuple[int, Bucket]]:
    last = "points.value" if piece.tier == RAW else "last"
    folded = "count(*), sum(points.value), min(points.value), max(points.value)"
    if piece.tier != RAW:
        folded = "sum(count), sum(sum), min(min), max(max)"
    # With max(ts) as the only extreme, a bare column is that of its row.
    what = f"max(ts), {last}" if query.within in _LAST_ALONE else folded
    statement = (
        f"SELECT series, (ts - ?1) / ?2 AS step, {what} FROM json_each(?3) AS wanted"
        f" CROSS JOIN {piece.tier} AS points ON series = wanted.value AND ts >= ?4 AND ts < ?5 GROUP BY series, step"
    )
    base, step_ms = query.read_from_ms, query.step_ms
    # A coarse row that began before the first step is told by that step.
    unit = _UNIT_MS[piece.tier]
    begin = piece.start_ms // unit * unit
    for id, step, *values in connection.execute(statement, (base, step_ms, json.dumps(ids), begin, piece.end_ms)):
        at_ms = base + max(0, step) * step_ms
        if query.within in _LAST_ALONE:
            yield id, Bucket(at_ms, 1, values[1], values[1], values[1], values[1])
        else:
            count, total, least, most = values
            yield id, Bucket(at_ms, count, total, least, most, most)


def _merged(earlier: Bucket, later: Bucket) -> Bucket:
    return Bucket(
        earlier.at_ms,
        earlier.size + later.size,
        earlier.sum + later.sum,
        min(earlier.min, later.min),
        max(earlier.max, later.max),
        later.last,
    )


def _id_of(connection: sqlite3.Connection, series: Series) -> int:
    key = (series.name, json.dumps(series.tags, ensure_ascii=False))
    connection.execute("INSERT OR IGNORE INTO series (name, tags) VALUES (?, ?)", key)
    ((id,),) = connection.execute("SELECT id FROM series WHERE name = ? AND tags = ?", key)
    return int(id)


def _series(name: str, tags: str) -> Series:
    return Series(name, tuple((key, value) for key, value in json.loads(tags)))
