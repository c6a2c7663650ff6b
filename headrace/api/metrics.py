"""Metrics: what is asked of the store, and the figures that come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Within(StrEnum):
    """What one step of one series gives. `increase` and `rate` are of counters: a fall is a start from zero."""

    LAST = "last"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    INCREASE = "increase"
    RATE = "rate"


class Across(StrEnum):
    """How the series of a group become one line."""

    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    COUNT = "count"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMetricsRequest:
    """Asks for `QueryMetrics`."""

    name: str
    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    start: datetime | None = None
    end: datetime | None = None
    step_seconds: int = 0
    within: Within | None = None
    across: Across = Across.SUM
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """What a step gave; `at` is where it begins."""

    at: datetime
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLine:
    """One group of a query."""

    tags: Mapping[str, str] = field(default_factory=dict)
    points: tuple[MetricPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMetricsResponse:
    """Answers `QueryMetrics`."""

    lines: tuple[MetricLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestMetricsRequest:
    """Asks for `LatestMetrics`."""

    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    by: tuple[str, ...] = ()
    window_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What people ask of one group; a figure that cannot be told is not in `values`."""

    tags: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestMetricsResponse:
    """Answers `LatestMetrics`."""

    figures: tuple[Figures, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMetricsRequest:
    """Asks for `WatchMetrics`."""

    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    by: tuple[str, ...] = ()
    window_seconds: int = 0
    interval_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMetricsResponse:
    """Answers `WatchMetrics`."""

    figures: tuple[Figures, ...] = ()
