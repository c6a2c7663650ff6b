"""Counters of plugin instances, and the window that decides whether the engine is healthy (pure; the clock is an
argument).

An instance keeps its counters as long as it runs, also over reloads that leave it alone.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias


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


@dataclass(slots=True)
class Histogram:
    """How often a value was not above each of some growing bounds; `counts` has one more for the rest."""

    bounds: tuple[float, ...] = (0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 30.0)
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0

    def __post_init__(self) -> None:
        self.bounds = tuple(self.bounds)
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> list[tuple[str, int]]:
        """(bound as text, how many values are not above it), ending with all of them."""
        return list(zip((*map(str, self.bounds), "+Inf"), accumulate(self.counts), strict=True))


Sample: TypeAlias = tuple[str, str, str, dict[str, str], float | Histogram]
"""Metric name, type, help, labels, value."""


@dataclass(slots=True)
class Flow:
    """What log records one output took of one input, and how many seconds after its first one a chunk was taken."""

    records: int = 0
    bytes: int = 0
    latency: Histogram = field(default_factory=Histogram)

    def add(self, records: int, size: int, seconds: float) -> None:
        self.records += records
        self.bytes += size
        self.latency.add(seconds)


@dataclass(slots=True)
class Accounts:
    """What else happens to log records between the counters of instances, so that each of them can be accounted for.

    Counted in copies: behind the filters a record is one, and at its outputs as many as take it. `is_exact` ends with
    the first processor of an input, since those have no counters.
    """

    emitted: int = 0
    """By filters, beside their results."""
    copied: int = 0
    """More than one at the outputs; less where some have theirs and the rest is kept for the next start."""
    unrouted: int = 0
    dropped: int = 0
    returned: int = 0
    """At a stop, to where they are read again."""
    resumed: int = 0
    """From the disk, of a run whose counters are lost."""
    standing: int = 0
    """In line before a filter that waits, now."""
    is_exact: bool = True


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
