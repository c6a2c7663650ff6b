"""Batches of metrics on disk until the metric store has them: in order, within a bound, the oldest going first.

    spool/<sequence>.seg   frames; the name is the sequence of the first one
    spool/stored           everything up to this sequence is in the store

A batch is appended before it is sent, and so outlives a kill; it is not flushed to the disk, so a power cut may cost
the last few. A segment defines every series that it refers to. When the disk takes no writes, a batch is dropped and
counted, and the agent goes on. One event loop; blocks it for small reads and writes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from errno import EFBIG, ENOSPC
from pathlib import Path
from typing import NamedTuple

import structlog

from agent.reporting.frames import HEAD_BYTES, MAX_PAYLOAD, Frame, frame, frames
from headrace import codec
from headrace.errors import ProtocolError
from headrace.messages import ReportRequest, Samples, Series

log = structlog.get_logger(__name__)

SEGMENTS = 16
"""So many segments share the bound; dropping the oldest costs a sixteenth of what is kept."""
SMALLEST, LARGEST = 4 << 10, 4 << 20
_SUFFIX = ".seg"
_STORED = "stored"
_PIECE = 64 << 10


class Point(NamedTuple):
    """One number: its series' name and tags, in a form that can be a key, and its value."""

    name: str
    tags: tuple[tuple[str, str], ...]
    value: float


@dataclass(slots=True)
class _Segment:
    path: Path
    first: int
    last: int
    size: int


@dataclass(slots=True)
class _Cursor:
    """Where reading is: at a place of a segment, behind a sequence, with the definitions so far."""

    segment: _Segment
    after: int
    at: int = 0
    series: dict[int, Series] = field(default_factory=dict)


class Spool:
    """The spool in one folder; `open` it first."""

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder = folder
        self.dropped = 0
        """Batches that were dropped unsent, since the start."""
        self.appended = asyncio.Event()
        """Set with each batch."""
        self._bound = bound
        self._segment_bytes = max(SMALLEST, min(LARGEST, bound // SEGMENTS))
        self._segments: list[_Segment] = []
        self._ids: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._stored = 0
        self._last = 0
        self._cursor: _Cursor | None = None
        self._is_failing = False

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments)

    @property
    def last(self) -> int:
        """The newest sequence."""
        return self._last

    @property
    def stored(self) -> int:
        """Everything up to this sequence is in the store, or was dropped."""
        return self._stored

    def open(self) -> None:
        """Take up what is there, cut to what is whole. Raises OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stored = _read_number(self.folder / _STORED)
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            data = path.read_bytes()
            first, last, end = 0, 0, 0
            for each in frames(data):
                first, last, end = first or each.sequence, each.sequence, each.end
            if end < len(data):
                os.truncate(path, end)
            if end:
                self._segments.append(_Segment(path, first, last, end))
            else:
                path.unlink()
        self._last = max([self._stored, *(segment.last for segment in self._segments)])
        self._forget()

    def append(self, at: datetime, points: Iterable[Point]) -> None:
        """Keep a batch; what the disk does not take is dropped and counted."""
        segment = self._segments[-1] if self._segments else None
        # A series' definition is known of a segment that was begun by this process only.
        if segment is None or not self._ids or segment.size >= self._segment_bytes:
            segment = None
            self._ids.clear()
        self._last = sequence = self._last + 1
        payload = self._encoded(sequence, at, points)
        try:
            if len(payload) > MAX_PAYLOAD:
                raise OSError(EFBIG, f"a batch of {len(payload)} bytes is larger than {MAX_PAYLOAD}")
            if segment is None:
                segment = _Segment(self.folder / f"{sequence:020d}{_SUFFIX}", sequence, sequence, 0)
                self._segments.append(segment)
            self._write(segment, frame(sequence, payload))
            segment.last = sequence
            self._is_failing = False
        except OSError as error:
            self._failed(segment, error)
            return
        while self.size > self._bound and len(self._segments) > 1:
            self._drop(self._segments[0])
        self.appended.set()

    def read(self, after: int, *, most: int, size: int) -> list[ReportRequest]:
        """The batches behind a sequence, at most so many and, but for the first, so many bytes of them.

        Each defines exactly the series of its samples.
        """
        after = max(after, self._stored)
        found: list[ReportRequest] = []
        cursor: _Cursor | None = self._at(after)
        while cursor is not None and len(found) < most and size > 0:
            each = _next(cursor)
            if each is None:
                cursor = self._further(cursor)
                continue
            cursor.at, cursor.after = cursor.at + each.end, each.sequence
            request = _resolved(cursor, each)
            if request is not None and each.sequence > after:
                found.append(request)
                size -= len(each.payload)
        if cursor is None and not found and after == self._stored:
            self.acknowledge(self._last)  # What was there is lost, and counted; nobody need wait for it.
        return found

    def acknowledge(self, sequence: int) -> None:
        """Everything up to here is in the store."""
        if not self._stored < sequence <= self._last:
            return
        self._stored = sequence
        try:
            _write_number(self.folder / _STORED, sequence)
        except OSError as error:
            log.warning("spool: what is stored is not on disk; it may be sent again", reason=error.strerror)
        self._forget()

    def _encoded(self, sequence: int, at: datetime, points: Iterable[Point]) -> bytes:
        series, ids, values = [], [], []
        for name, tags, value in points:
            id = self._ids.get((name, tags))
            if id is None:
                id = self._ids[name, tags] = len(self._ids) + 1
                series.append(Series(id=id, name=name, tags=dict(tags)))
            ids.append(id)
            values.append(value)
        samples = Samples(at=at, series=tuple(ids), values=tuple(values))
        return codec.encode(ReportRequest(sequence=sequence, series=tuple(series), samples=(samples,)))

    def _at(self, after: int) -> _Cursor | None:
        """A cursor from which all that comes behind a sequence is read."""
        cursor = self._cursor
        if cursor is None or cursor.after > after or cursor.segment not in self._segments:
            self._cursor = cursor = self._begin(after)
        return cursor

    def _begin(self, after: int) -> _Cursor | None:
        segment = next((each for each in self._segments if each.last > after), None)
        return _Cursor(segment, segment.first - 1) if segment is not None else None

    def _further(self, cursor: _Cursor) -> _Cursor | None:
        """At the next segment, or None at the end; what cannot be read of this one is dropped."""
        segment = cursor.segment
        if cursor.after < segment.last:
            lost = segment.last - max(cursor.after, self._stored)
            log.error("spool: a segment is damaged; what follows in it is lost", path=str(segment.path), batches=lost)
            self.dropped += lost
            segment.last = cursor.after
            self._ids.clear()  # Nothing more is written to it.
        self._cursor = self._begin(cursor.after)
        return self._cursor

    def _forget(self) -> None:
        """Delete the segments that the store has; the one that is written to stays until it is full."""
        while self._segments and self._segments[0].last <= self._stored:
            segment = self._segments[0]
            if len(self._segments) == 1 and self._ids and segment.size < self._segment_bytes:
                return
            self._delete(segment)

    def _drop(self, segment: _Segment) -> None:
        self.dropped += max(0, segment.last - max(segment.first - 1, self._stored))
        self._stored = max(self._stored, segment.last)
        self._delete(segment)

    def _delete(self, segment: _Segment) -> None:
        self._segments.remove(segment)
        if not self._segments:
            self._ids.clear()
        try:
            segment.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("spool: a segment cannot be deleted", path=str(segment.path), reason=error.strerror)

    def _write(self, segment: _Segment, data: bytes) -> None:
        with segment.path.open("ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(ENOSPC, "the disk is full")
        segment.size += len(data)

    def _failed(self, segment: _Segment | None, error: OSError) -> None:
        self.dropped += 1
        self._ids.clear()  # The next batch begins a segment of its own, whatever became of this one.
        if segment is not None:
            try:
                os.truncate(segment.path, segment.size)
            except OSError:
                pass  # Reading goes as far as the segment's size, and so does the next start.
            if not segment.size:
                self._delete(segment)
        if not self._is_failing:
            log.error("spool: batches are dropped", path=str(self.folder), reason=error.strerror)
        self._is_failing = True


def _next(cursor: _Cursor) -> Frame | None:
    """The frame at a cursor; None at the segment's end, and where it cannot be read."""
    left = cursor.segment.size - cursor.at
    try:
        for size in (_PIECE, HEAD_BYTES + MAX_PAYLOAD):
            with cursor.segment.path.open("rb") as file:
                file.seek(cursor.at)
                found = next(frames(file.read(min(size, left))), None)
            if found is not None or left <= size:
                return found
    except OSError as error:
        log.error("spool: a segment cannot be read", path=str(cursor.segment.path), reason=error.strerror)
    return None


def _resolved(cursor: _Cursor, each: Frame) -> ReportRequest | None:
    """The batch with all of its series; None, and a word in the log, for one that makes no sense."""
    try:
        request = codec.decode(ReportRequest, each.payload)
        cursor.series.update((series.id, series) for series in request.series)
        ids = dict.fromkeys(id for samples in request.samples for id in samples.series)
        return replace(request, sequence=each.sequence, series=tuple([cursor.series[id] for id in ids]))
    except (ProtocolError, KeyError) as error:
        log.error("spool: a batch cannot be read", path=str(cursor.segment.path), reason=repr(error))
        return None


def _read_number(path: Path) -> int:
    try:
        return int(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


def _write_number(path: Path, number: int) -> None:
    """In place: so few bytes are written at once or not at all, as far as a process can be killed in between."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(descriptor, f"{number:020d}".encode(), 0)
    finally:
        os.close(descriptor)
