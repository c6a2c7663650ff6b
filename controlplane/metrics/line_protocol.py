"""InfluxDB's line protocol: a point as a line. Pure.

What a line cannot hold as it is, is refused rather than changed: there is no escape for a line break that every version
reads, nor for a backslash at the end of a name or value, which would swallow what separates it from the next.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from operator import itemgetter

from controlplane.metrics.vocabulary import Point, Series
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
    return repr(float(value)).removesuffix(".0")


def lines_of(
    points: Sequence[Point], refuse: Callable[[str], None], *, keys: dict[Series, str] | None = None
) -> list[str]:
    """The lines of points by series, and of one series as they came; `refuse` is told why of each that has none.

    `keys` remembers the keys of series from call to call, for as long as its owner likes.
    """
    known = {} if keys is None else keys
    lines: list[tuple[str, str]] = []
    for series, at_ms, value in points:
        try:
            key = known.get(series)
            if key is None:
                key = known[series] = key_of(series)
            lines.append((key, f"{key} {FIELD}={number_of(value)} {at_ms}"))
        except InvalidError as error:
            refuse(error.message)
    lines.sort(key=itemgetter(0))
    return [line for _, line in lines]


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
