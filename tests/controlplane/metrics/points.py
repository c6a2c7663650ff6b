"""Points one by one, as tests write them down, and the blocks that stores take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from controlplane.metrics.vocabulary import Block, Layout, Series


class Point(NamedTuple):
    """A value of a series at a time, in milliseconds since 1970."""

    series: Series
    at_ms: int
    value: float


def packed(points: Iterable[Point]) -> list[Block]:
    """The same points in the same order."""
    return [
        Block(Layout(point.series for point in run), at_ms, [float(point.value) for point in run])
        for at_ms, some in groupby(points, lambda point: point.at_ms)
        for run in [list(some)]
    ]


def unpacked(blocks: Iterable[Block]) -> Iterator[Point]:
    """The points of blocks."""
    for layout, at_ms, values in blocks:
        yield from (Point(series, at_ms, value) for series, value in zip(layout.series, values, strict=True))


def grouped(points: Iterable[Point]) -> dict[Series, list[Point]]:
    """Points by series, in the order in which they come."""
    by_series: dict[Series, list[Point]] = {}
    for point in points:
        by_series.setdefault(point.series, []).append(point)
    return by_series
