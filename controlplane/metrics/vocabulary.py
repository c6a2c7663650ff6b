"""What metric stores and their readers speak of: series, points, queries and what they answer. Pure.

A series is a metric name and its tags. A point is idempotent: the same series at the same millisecond is the same
point, and the value that came last stands. A query cuts time into steps from `start` on; each step of each series gives
one value (`within`), and the series of a group give one line (`across`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.api import Across as Across
from headrace.api import Within as Within
from headrace.errors import InvalidError, LimitError, UnavailableError

MAX_STEPS = 5_000
"""How many steps a query may have."""


@dataclass(frozen=True, slots=True)
class Series:
    """A metric name and its tags, sorted by key: `Series.of` sorts."""

    name: str
    tags: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, name: str, tags: Mapping[str, str]) -> Series:
        """From tags in any order; an empty value is no tag."""
        return cls(name, tuple(sorted((key, value) for key, value in tags.items() if value)))

    def tag(self, key: str) -> str:
        """The value of a tag, empty when there is none."""
        return dict(self.tags).get(key, "")


class Layout:
    """Some series in an order. Equal only to itself: who writes the same series again and again keeps one layout of
    them, and by it a store finds at once what it knows of all of them."""

    __slots__ = ("__weakref__", "series")

    def __init__(self, series: Iterable[Series]) -> None:
        self.series = tuple(series)


class Block(NamedTuple):
    """A finite value for each series of a layout, at one time in milliseconds since 1970: so many points."""

    layout: Layout
    at_ms: int
    values: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The series of these names, whose tags each have one of the values given; an empty value is a missing tag."""

    names: tuple[str, ...]
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def matches(self, series: Series) -> bool:
        """Whether a series is one of them."""
        return series.name in self.names and self.matches_tags(dict(series.tags))

    def matches_tags(self, tags: Mapping[str, str]) -> bool:
        """The same by tags alone."""
        return all(tags.get(key, "") in values for key, values in self.tags.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A range of time, in milliseconds, `end_ms` excluded, cut into steps, and how to fold what is in it."""

    selection: Selection
    start_ms: int
    end_ms: int
    step_ms: int
    within: Within = Within.LAST
    across: Across = Across.SUM
    by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises InvalidError and LimitError."""
        if not self.selection.names:
            raise InvalidError("a query of metrics needs the name of one")
        if self.step_ms <= 0 or self.end_ms <= self.start_ms:
            raise InvalidError("a query of metrics needs a step above zero, and an end after its start")
        if self.end_ms - self.start_ms > self.step_ms * MAX_STEPS:
            raise LimitError(f"a query of metrics has at most {MAX_STEPS} steps; make the step longer")

    @property
    def is_of_counters(self) -> bool:
        """Whether it needs to know what came before a step."""
        return self.within in (Within.INCREASE, Within.RATE)

    @property
    def read_from_ms(self) -> int:
        """Where to begin to read: the first step of a counter needs the one before it."""
        return self.start_ms - self.step_ms if self.is_of_counters else self.start_ms


class Bucket(NamedTuple):
    """What is in one step of one series; `at_ms` is where the step begins."""

    at_ms: int
    size: float
    sum: float
    min: float
    max: float
    last: float


@dataclass(frozen=True, slots=True)
class Line:
    """One group of a query, and its values by where their step begins."""

    tags: tuple[tuple[str, str], ...]
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Recent:
    """A series' first and last point in a window; the same one when there is one only."""

    series: Series
    first_ms: int
    first: float
    last_ms: int
    last: float


@dataclass(frozen=True, slots=True)
class Written:
    """What became of points that a store was given; what is not refused is stored."""

    stored: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    """How many, by why."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a store is doing, in words when it is not well."""

    ok: bool
    message: str = ""


class StoreUnavailableError(UnavailableError):
    """The store can't be reached, or does not want more now; `retry_after_s` is its own wish, or 0."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def size_of(blocks: Iterable[Block]) -> int:
    """How many points they are."""
    return sum(len(block.values) for block in blocks)


def buckets(samples: Iterable[tuple[int, float]], *, start_ms: int, step_ms: int) -> Iterator[Bucket]:
    """The steps of a series that have something in them, from its samples in order of time."""
    current: Bucket | None = None
    for at_ms, value in samples:
        begin = start_ms + (at_ms - start_ms) // step_ms * step_ms
        if current is None or current.at_ms != begin:
            if current is not None:
                yield current
            current = Bucket(begin, 1, value, value, value, value)
        else:
            current = Bucket(
                begin,
                current.size + 1,
                current.sum + value,
                min(current.min, value),
                max(current.max, value),
                value,
            )
    if current is not None:
        yield current


def growth(earlier: float, later: float) -> float:
    """By how much a counter grew; one that fell has begun from zero in between."""
    return later - earlier if later >= earlier else later
