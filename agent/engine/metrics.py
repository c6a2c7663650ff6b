"""Counters of plugin instances, and the window that decides whether the engine is healthy (pure; the clock is an
argument).

An instance keeps its counters as long as it runs, also over reloads that leave it alone.
"""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class InputMetrics:
    """What an input handed over, before filters."""

    records: int = 0
    bytes: int = 0


@dataclass(slots=True)
class FilterMetrics:
    """What a filter was given, and how its results differ in number and size."""

    records: int = 0
    bytes: int = 0
    add_records: int = 0
    drop_records: int = 0
    drop_bytes: int = 0

    def count(self, records_in: int, records_out: int, size_in: int, size_out: int) -> None:
        self.records += records_in
        self.bytes += size_in
        self.add_records += max(0, records_out - records_in)
        self.drop_records += max(0, records_in - records_out)
        self.drop_bytes += max(0, size_in - size_out)


@dataclass(slots=True)
class OutputMetrics:
    """What became of the chunks that an output was given."""

    proc_records: int = 0
    proc_bytes: int = 0
    errors: int = 0
    retries: int = 0
    retries_failed: int = 0
    dropped_records: int = 0
    retried_records: int = 0


@dataclass(slots=True, kw_only=True)
class Health:
    """Errors and given-up chunks of the last `period` seconds against limits, as `hc_*` service keys set them."""

    error_limit: int = 5
    retry_failure_limit: int = 5
    period: int = 60
    _samples: deque[tuple[float, int, int]] = field(default_factory=deque)

    def look(self, now: float, errors: int, retries_failed: int) -> tuple[bool, int, int]:
        """(healthy, errors, given-up chunks) in the period that ends `now`, given the totals since the start."""
        if not self._samples:
            self._samples.append((now, 0, 0))
        while len(self._samples) > 1 and self._samples[1][0] <= now - self.period:
            self._samples.popleft()
        _, errors_then, failed_then = self._samples[0]
        if self._samples[-1][1:] != (errors, retries_failed):
            self._samples.append((now, errors, retries_failed))
        recent_errors, recent_failed = max(0, errors - errors_then), max(0, retries_failed - failed_then)
        healthy = recent_errors <= self.error_limit and recent_failed <= self.retry_failure_limit
        return healthy, recent_errors, recent_failed
