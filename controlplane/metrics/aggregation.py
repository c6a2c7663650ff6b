"""From the steps of each series to the lines of a query: the same for every store. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from statistics import fmean

from controlplane.metrics.vocabulary import Across, Bucket, Line, Query, Series, Within, growth

_ACROSS: Mapping[Across, Callable[[Sequence[float]], float]] = {
    Across.SUM: sum,
    Across.MEAN: fmean,
    Across.MIN: min,
    Across.MAX: max,
    Across.COUNT: len,
}
_WITHIN: Mapping[Within, Callable[[Bucket], float]] = {
    Within.LAST: lambda bucket: bucket.last,
    Within.MEAN: lambda bucket: bucket.sum / bucket.size,
    Within.MIN: lambda bucket: bucket.min,
    Within.MAX: lambda bucket: bucket.max,
    Within.SUM: lambda bucket: bucket.sum,
    Within.COUNT: lambda bucket: bucket.size,
}


def lines(query: Query, found: Iterable[tuple[Series, Iterable[Bucket]]]) -> tuple[Line, ...]:
    """One line for each group, by tags; the buckets of a series come in order, from `query.read_from_ms` on."""
    groups: dict[tuple[tuple[str, str], ...], dict[int, list[float]]] = {}
    for series, steps in found:
        tags = dict(series.tags)
        key = tuple((name, tags.get(name, "")) for name in query.by)
        group = groups.setdefault(key, {})
        for at_ms, value in _values(query, steps):
            group.setdefault(at_ms, []).append(value)
    fold = _ACROSS[query.across]
    return tuple(
        Line(key, tuple((at_ms, float(fold(values))) for at_ms, values in sorted(group.items())))
        for key, group in sorted(groups.items())
        if group
    )


def _values(query: Query, steps: Iterable[Bucket]) -> Iterator[tuple[int, float]]:
    if not query.is_of_counters:
        take = _WITHIN[query.within]
        yield from ((step.at_ms, take(step)) for step in steps)
        return
    per = query.step_ms / 1000 if query.within is Within.RATE else 1.0
    before: Bucket | None = None
    for step in steps:
        if before is not None and step.at_ms >= query.start_ms:
            # Over a gap the growth is that of the whole gap: a rate is spread over it, an increase is not lost.
            gap = (step.at_ms - before.at_ms) / query.step_ms if query.within is Within.RATE else 1.0
            yield step.at_ms, growth(before.last, step.last) / (per * gap)
        before = step
