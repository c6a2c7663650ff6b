"""What a record of signal `metrics` is: one point, that is what one series measured at one time (pure).

A point is plain data, so that it is buffered, kept on disk and shared as a log record is:

    {"name": "http_requests_total", "type": "counter", "help": "…", "labels": {"code": "200"}, "source": "prom.0",
     "value": 12}

`type` is `counter`, `gauge`, `histogram`, `summary` or `untyped`. In place of `value` a histogram has `buckets` (bound
as text -> how many values are not above it, "+Inf" last), a summary has `quantiles` (quantile as text -> value), and
both have `sum` and `count`. What is no number of JSON is the text "NaN", "+Inf" or "-Inf"; `float` reads both.

`source` names who measured. A batch has whole snapshots: what a source no longer measures is not in its newest one.
"""

from collections.abc import Iterable, Iterator
from math import isfinite, isnan
from typing import TypeAlias

from agent.engine.metrics import Histogram, Sample
from agent.engine.record import Batch, Record

METADATA = "otlp"
"""Key, in the metadata of a point, of what OTLP says and points have no place for."""

Number: TypeAlias = int | float | str
Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


def number(value: float) -> Number:
    """The value as JSON can hold it: whole where it is whole."""
    if not isfinite(value):
        return "NaN" if isnan(value) else "+Inf" if value > 0 else "-Inf"
    return int(value) if value == int(value) else value


def count_of(value: Number) -> int:
    """How many; what a page that was scraped has there may be no whole number."""
    return int(count) if isfinite(count := float(value)) and count > 0 else 0


def point(sample: Sample, source: str) -> Record:
    """The point of a sample, whose value is a number or a histogram."""
    name, kind, text, labels, value = sample
    made: Record = {"name": name, "type": kind, "help": text, "labels": labels, "source": source}
    if isinstance(value, Histogram):
        made |= {"buckets": dict(value.cumulative()), "sum": number(value.sum), "count": sum(value.counts)}
    else:
        made["value"] = number(value)
    return made


def snapshot(tag: str, when: int, points: list[Record]) -> Batch:
    """A batch of points that were all measured at one time."""
    return Batch(tag, [when] * len(points), points, None, size(points), "metrics")


def size(points: Iterable[Record]) -> int:
    """About how many bytes the points are: a measure for limits."""
    return sum(
        48 + len(one["name"]) + 32 * len(one["labels"]) + 16 * len(one.get("buckets") or one.get("quantiles") or ())
        for one in points
    )


def series(one: Record) -> Series:
    """What makes points those of one series."""
    return one["name"], tuple(sorted(one["labels"].items()))


def newest(batch: Batch) -> dict[str, dict[Series, tuple[int, Record]]]:
    """By source, the newest point of each series with its time, in the order in which they came."""
    found: dict[str, dict[Series, tuple[int, Record]]] = {}
    for when, one in zip(batch.times, batch.records, strict=True):
        known = found.setdefault(one.get("source", ""), {})
        key = series(one)
        if key not in known or known[key][0] <= when:
            known[key] = (when, one)
    return found


def flat(one: Record) -> Iterator[tuple[str, dict[str, str], Number]]:
    """A point as Prometheus has it: name, labels and value of each of its series."""
    name, own = one["name"], one["labels"]
    part, steps = ("le", one.get("buckets")) if one["type"] == "histogram" else ("quantile", one.get("quantiles"))
    if steps is None:
        yield name, own, one["value"]
        return
    for step, value in steps.items():
        yield name + ("_bucket" if part == "le" else ""), {part: step, **own}, value
    yield f"{name}_sum", own, one["sum"]
    yield f"{name}_count", own, one["count"]
