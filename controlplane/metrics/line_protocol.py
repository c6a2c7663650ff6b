"""InfluxDB's line protocol: a point as a line. Pure, but for what `Heads` remembers.

What a line cannot hold as it is, is refused rather than changed: there is no escape for a line break that every version
reads, nor for a backslash at the end of a name or value, which would swallow what separates it from the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakKeyDictionary

from controlplane.metrics.vocabulary import Block, Layout, Series
from headrace.errors import InvalidError

FIELD = "value"
"""The one field of every measurement."""

_IN_MEASUREMENTS = str.maketrans({",": r"\,", " ": r"\ "})
_IN_TAGS = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})
_MEASUREMENT = re.compile(r"(?:\\[, ]|[^, ])*")
_LONGEST = 64 << 10
"""Of a series' key, as InfluxDB 1.x has it."""


def key_of(series: Series) -> str:
    """The part before the first blank: measurement and tags. Raises InvalidError."""
    parts = [_escaped(series.name, _IN_MEASUREMENTS, what="name")]
    if series.name.startswith("#"):
        raise InvalidError("name begins with #, which begins a comment")
    for key, value in series.tags:
        name = _escaped(key, _IN_TAGS, what="tag's name")
        parts.append(f"{name}={_escaped(value, _IN_TAGS, what='tag')}")
    found = ",".join(parts)
    if len(found.encode()) >= _LONGEST:
        raise InvalidError(f"series is longer than {_LONGEST} bytes")
    return found


def number_of(value: float) -> str:
    """A value as a field of floating point, whatever its value. Raises InvalidError."""
    if not math.isfinite(value):
        raise InvalidError("value is no finite number")
    return repr(value).removesuffix(".0")


class Heads:
    """What lines begin with, by layout: the key of each series, or why it has none. Gone with the layout."""

    def __init__(self) -> None:
        self._heads: WeakKeyDictionary[Layout, tuple[list[str], dict[int, str]]] = WeakKeyDictionary()

    def of(self, layout: Layout) -> tuple[list[str], dict[int, str]]:
        """A head for each series, and by place why one is refused."""
        known = self._heads.get(layout)
        if known is None:
            heads, refused = [], {}
            for place, series in enumerate(layout.series):
                try:
                    heads.append(f"{key_of(series)} {FIELD}=")
                except InvalidError as error:
                    heads.append("")
                    refused[place] = error.message
            known = self._heads[layout] = heads, refused
        return known


def lines_of(blocks: Iterable[Block], refuse: Callable[[str], None], *, heads: Heads | None = None) -> list[str]:
    """The lines of points as they come; `refuse` is told why of each that has none.

    `heads` remembers from call to call.
    """
    known = heads or Heads()
    lines: list[str] = []
    for layout, at_ms, values in blocks:
        begins, refused = known.of(layout)
        if not refused and all(map(math.isfinite, values)):
            tail = f" {at_ms}"
            lines += [
                begin + repr(value).removesuffix(".0") + tail for begin, value in zip(begins, values, strict=True)
            ]
            continue
        for place, value in enumerate(values):
            try:
                if place in refused:
                    raise InvalidError(refused[place])
                lines.append(f"{begins[place]}{number_of(value)} {at_ms}")
            except InvalidError as error:
                refuse(error.message)
    return lines


def by_series(lines: Iterable[str]) -> list[str]:
    """Lines by series, and of one series as they came."""
    return sorted(lines, key=lambda line: line.rpartition(f" {FIELD}=")[0])


def cut_of(lines: Sequence[str]) -> int:
    """Where to cut a batch of at least two lines in their order: between two metrics, near the middle, if it can be."""
    middle = len(lines) // 2
    for distance in range(middle + 1):
        for at in (middle - distance, middle + distance):
            if 0 < at < len(lines) and measurement_of(lines[at - 1]) != measurement_of(lines[at]):
                return at
    return middle


def measurement_of(line: str) -> str:
    """The metric of a line, as it is written there."""
    match = _MEASUREMENT.match(line)
    return match[0] if match else ""


def _escaped(text: str, table: dict[int, str], *, what: str) -> str:
    if not text:
        raise InvalidError(f"{what} is empty")
    if not text.isprintable():
        raise InvalidError(f"{what} has a character that cannot be printed")
    if text.endswith("\\"):
        raise InvalidError(f"{what} ends with a backslash")
    return text.translate(table)
