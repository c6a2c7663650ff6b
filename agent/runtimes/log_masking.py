"""Values of secrets in an engine's log, overwritten where they stand, with `*` for every byte of them.

The engine writes the file by itself and outlives the agent, so nothing may stand between them. It appends, and only the
agent cuts the file, so bytes stay where they are and can be overwritten while it writes: soon after they were written,
and those that were written while no agent lived, when the next one starts. The size never changes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from agent.runtimes import child_log
from headrace.masking import Mask

log = structlog.get_logger(__name__)

EVERY_S = 1.0
_CHUNK = 1 << 20
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How far a stream of bytes was looked at, and its end as it was written: a value may begin there. Pure."""

    position: int = 0
    tail: bytes = field(default=b"", repr=False)

    def feed(self, data: bytes, values: Sequence[bytes]) -> tuple[list[Span], Stream]:
        """Where values are that end in the next bytes, and the stream after those."""
        text = self.tail + data
        start = self.position - len(self.tail)
        found = [(start + here, start + there) for here, there in _spans(text, values, len(self.tail))]
        longest = max(map(len, values), default=1)
        return found, Stream(position=self.position + len(data), tail=text[max(0, len(text) - longest + 1) :])


class LogMasking:
    """Of one log and its older file. `mask` is asked for the values anew each time; event loop only."""

    def __init__(self, path: Path, mask: Callable[[], Mask]) -> None:
        self._path = path
        self._mask = mask
        self._older = _Follower(child_log.older(path))
        self._newer = _Follower(path)
        self._is_used = False
        self._has_failed = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look at what is there, and from now on at what is written."""
        self._is_used = True
        if self._timer is None:
            self._tick()

    def stop(self) -> None:
        """One last look at everything, if it was ever started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._finish()

    def trim(self, bound: int) -> None:
        """As `child_log.trim` does it; also what was not looked at yet is masked, in the older file then."""
        if child_log.size(self._path) > bound:
            child_log.trim(self._path, bound)
            self._older = _Follower(child_log.older(self._path), self._newer.stream)
            self._newer = _Follower(self._path)
            self._finish()

    def _tick(self) -> None:
        more = self._look()
        self._timer = asyncio.get_running_loop().call_later(0 if more else EVERY_S, self._tick)

    def _finish(self) -> None:
        # No more than what is there now: the engine may write faster than this reads.
        size = max(child_log.size(self._path), child_log.size(child_log.older(self._path)))
        for _ in range(size // _CHUNK + 1 if self._is_used else 0):
            if not self._look():
                return

    def _look(self) -> bool:
        """At a part; whether there is more."""
        values = [form.encode(errors="surrogateescape") for form in self._mask().forms]
        if not values:
            return False
        try:
            has_more = [follower.look(values) for follower in (self._older, self._newer)]
        except OSError as error:
            if not self._has_failed:
                log.error("secrets in an engine's log cannot be masked yet", file=str(self._path), reason=str(error))
            self._has_failed = True
            return False
        self._has_failed = False
        return any(has_more)


class _Follower:
    """One file, as far as it was looked at."""

    def __init__(self, path: Path, stream: Stream | None = None) -> None:
        self._path = path
        self.stream = stream or Stream()

    def look(self, values: Sequence[bytes]) -> bool:
        """At the next part; whether there is more. Raises OSError; then the part is looked at again."""
        size = child_log.size(self._path)
        if size < self.stream.position:  # somebody else cut it
            self.stream = Stream()
        if size == self.stream.position:
            return False
        # Not for appending: with that, Linux writes to the end, wherever it is told to.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            found, after = self.stream.feed(os.pread(descriptor, _CHUNK, self.stream.position), values)
            for start, end in found:
                os.pwrite(descriptor, b"*" * (end - start), start)
        finally:
            os.close(descriptor)
        self.stream = after
        return after.position < size


def _spans(text: bytes, values: Iterable[bytes], done: int) -> list[Span]:
    """Where values are that end after the first `done` bytes, those that overlap or touch as one."""
    found = []
    for value in values:
        at = text.find(value, max(0, done - len(value) + 1))
        while at >= 0:
            found.append((at, at + len(value)))
            at = text.find(value, at + 1)
    merged: list[Span] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
