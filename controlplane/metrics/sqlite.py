"""The metric store in a SQLite file of its own, for one control plane: raw points, then minutes, then hours.

`sqlite`, or `sqlite:///PATH`, with `?raw=6h&minute=7d&hour=90d&size=2GiB` after either. Writing is done in one thread
and reading in another, so that neither waits for the other nor the event loop for any of them.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

import structlog

from controlplane.metrics import aggregation, sqlite_file
from controlplane.metrics.sqlite_upkeep import Cut, Retention, upkeep
from controlplane.metrics.vocabulary import (
    Block,
    Health,
    Line,
    Query,
    Recent,
    Selection,
    Series,
    StoreUnavailableError,
    Written,
    size_of,
)
from headrace.errors import InvalidError

T = TypeVar("T")

UPKEEP_S = 15.0

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_READONLY: "it is read-only; let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; let this user read and write the file and its folder",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; look at the disk",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away, a new one is made",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; move it away, or name another file",
}
_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SMALLEST = 1 << 20

log = structlog.get_logger(__name__)


def store(url: str, *, data_dir: Path) -> SqliteMetricStore:
    """The store of a URL. Raises InvalidError."""
    place, _, options = url.partition("?")
    path = place.removeprefix("sqlite").removeprefix("://")
    if (path and not path.startswith("/")) or path == "/":
        raise InvalidError(f"metric store {url!r} is not understood: give sqlite, or sqlite:/// and the path of a file")
    # As with --state, a path is relative after three slashes, and absolute after four.
    return SqliteMetricStore(Path(path[1:]) if path else data_dir / "metrics.db", retention=_retention(options))


class SqliteMetricStore:
    """See `MetricStore`."""

    def __init__(self, path: Path, *, retention: Retention | None = None, now: Callable[[], float] = time.time) -> None:
        self._path = path.absolute()
        self._retention = retention or Retention()
        self._now = now
        self._ids = sqlite_file.SeriesIds()
        self._trouble = "it is not open"
        self._is_open = False
        self._writer: sqlite3.Connection
        self._reader: sqlite3.Connection
        self._writing: ThreadPoolExecutor
        self._reading: ThreadPoolExecutor

    @property
    def description(self) -> str:
        """The kind and the path."""
        return f"sqlite {self._path}"

    async def open(self) -> None:
        """Makes the file where there is none."""
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="metrics writer")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="metrics reader")
        try:
            self._writer = await self._in(self._writing, lambda: sqlite_file.connect(self._path, write=True))
            self._reader = await self._in(self._reading, lambda: sqlite_file.connect(self._path, write=False))
        except BaseException:
            if hasattr(self, "_writer"):
                self._writer.close()
            self._end_threads()
            raise
        self._is_open = True

    async def run(self) -> None:
        """Upkeep, every now and then."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            try:
                await self.keep_up()
            except StoreUnavailableError as error:
                log.warning("upkeep of metrics has to wait", error=error.message)
            except Exception:  # of metrics alone; the control plane has more to do
                log.exception("upkeep of metrics failed")

    async def keep_up(self) -> None:
        """All that is due now is rolled up and deleted, transaction by transaction."""
        cut = Cut()
        steps = upkeep(self._writer, self._ids, self._retention, now_ms=round(self._now() * 1000), cut=cut)
        done = object()
        while await self._in(self._writing, lambda: next(steps, done)) is not done:
            pass
        if cut.tier:
            up_to = datetime.fromtimestamp(cut.up_to_ms / 1000, UTC).isoformat()
            log.warning("metrics removed: the file is too large", tier=cut.tier, up_to=up_to, file=str(self._path))

    async def close(self) -> None:
        """The last connection folds the log into the file."""
        if not self._is_open:
            return
        self._is_open = False
        self._trouble = "it is closed"
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._reader.close)
        await loop.run_in_executor(self._writing, self._writer.close)
        self._end_threads()

    async def write(self, blocks: Sequence[Block]) -> Written:
        """One transaction."""
        await self._in(self._writing, lambda: sqlite_file.write(self._writer, self._ids, blocks))
        return Written(stored=size_of(blocks))

    async def query(self, query: Query) -> tuple[Line, ...]:
        """From the finest tier that still has each part of the range."""
        return await self._in(self._reading, lambda: aggregation.lines(query, sqlite_file.read(self._reader, query)))

    async def latest(self, selection: Selection, *, since_ms: int) -> tuple[Recent, ...]:
        """Two look-ups for each series."""
        return tuple(await self._in(self._reading, lambda: sqlite_file.latest(self._reader, selection, since_ms)))

    async def series(self, selection: Selection) -> tuple[Series, ...]:
        """Those of which any tier has something."""
        found = await self._in(self._reading, lambda: sqlite_file.series_of(self._reader, selection))
        return tuple(found.values())

    async def health(self) -> Health:
        """As the last call found it."""
        return Health(ok=not self._trouble, message=self._trouble and f"{self.description}: {self._trouble}")

    async def _in(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(threads, work)
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorcode", None)
            if isinstance(error, sqlite3.Error) and (code is None or code & 0xFF not in _REASONS):
                raise  # a defect of ours, not a state of the file
            self._trouble = _REASONS[code & 0xFF] if code is not None else str(getattr(error, "strerror", error))
            raise StoreUnavailableError(f"metrics {self._path}: {self._trouble}") from error
        self._trouble = ""
        return answer

    def _end_threads(self) -> None:
        self._writing.shutdown(wait=False)
        self._reading.shutdown(wait=False)


def _retention(options: str) -> Retention:
    given = dict(parse_qsl(options, keep_blank_values=True))
    try:
        default = Retention()
        found = Retention(
            raw_ms=_duration(given.pop("raw", ""), default.raw_ms),
            minute_ms=_duration(given.pop("minute", ""), default.minute_ms),
            hour_ms=_duration(given.pop("hour", ""), default.hour_ms),
            max_bytes=_size(given.pop("size", ""), default.max_bytes),
        )
    except ValueError as error:
        raise InvalidError(f"metric store: {error}") from None
    if given:
        raise InvalidError(f"metric store: {next(iter(given))!r} is not understood; there are raw, minute, hour, size")
    if not sqlite_file.HOUR_MS <= found.raw_ms <= found.minute_ms <= found.hour_ms:
        raise InvalidError("metric store: raw is kept for an hour or more, minute for as long, hour for as long again")
    if found.max_bytes < _SMALLEST:
        raise InvalidError(f"metric store: size must be {_SMALLEST >> 20} MiB or more")
    return found


def _duration(text: str, default: int) -> int:
    if not text:
        return default
    if not (match := re.fullmatch(r"(\d{1,6})([smhd])", text)):
        raise ValueError(f"{text!r} is no duration; write 6h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _size(text: str, default: int) -> int:
    if not text:
        return default
    if not (match := re.fullmatch(r"(\d{1,6})([KMGT]iB)", text)):
        raise ValueError(f"{text!r} is no size; write 500MiB or 2GiB")
    return int(match[1]) * _SIZES[match[2]]
