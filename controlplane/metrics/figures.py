"""The figures that people ask for, from the first and last point of each series in a window. Pure.

Rates are of one series' own two points, then summed, so that agents that report at different moments are counted
right. A figure of which a group has no series, or for a rate no two points, is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from controlplane.metrics.vocabulary import Recent, growth

_INPUT, _FILTER, _OUTPUT = "fluentbit_input_", "fluentbit_filter_", "fluentbit_output_"
_LATENCY = "fluentbit_output_latency_seconds_"

RATES: Mapping[str, str] = {
    "records_in": f"{_INPUT}records_total",
    "bytes_in": f"{_INPUT}bytes_total",
    "records_out": f"{_OUTPUT}proc_records_total",
    "bytes_out": f"{_OUTPUT}proc_bytes_total",
    "filtered": f"{_FILTER}drop_records_total",
}
"""By the second."""
TOTALS: Mapping[str, tuple[str, ...]] = {
    "records_in_total": (f"{_INPUT}records_total",),
    "bytes_in_total": (f"{_INPUT}bytes_total",),
    "records_out_total": (f"{_OUTPUT}proc_records_total",),
    "bytes_out_total": (f"{_OUTPUT}proc_bytes_total",),
    "filtered_total": (f"{_FILTER}drop_records_total",),
    "errors": (f"{_OUTPUT}errors_total",),
    "retries": (f"{_OUTPUT}retries_total",),
    "retries_failed": (f"{_OUTPUT}retries_failed_total",),
    "dropped": (f"{_OUTPUT}dropped_records_total",),
    # Fluent Bit counts the records of a chunk whose retries ran out as dropped by the output, too.
    "known_loss": (f"{_OUTPUT}dropped_records_total", f"{_INPUT}ring_buffer_retry_failures_total"),
    "backlog_chunks": ("fluentbit_storage_chunks",),
    "backlog_bytes": (f"{_INPUT}storage_memory_bytes",),
}
"""As they stand."""
_LAG = (f"{_LATENCY}sum", f"{_LATENCY}count")
_UNACCOUNTED = "headrace_engine_unaccounted_records"
_OWNER = ("agent", "pipeline")
NAMES: tuple[str, ...] = tuple(
    dict.fromkeys([*RATES.values(), *(name for names in TOTALS.values() for name in names), *_LAG, _UNACCOUNTED])
)
"""All metrics that figures are made of."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some tags, and the figures of all series that have them."""

    tags: tuple[tuple[str, str], ...]
    at_ms: int
    values: Mapping[str, float]


def groups(found: Iterable[Recent], by: Sequence[str], *, labels: Sequence[str] = ()) -> tuple[Group, ...]:
    """The figures by tags. `labels` are the tags that say nothing of which series it is: of two that differ by them
    alone, since a label has changed, the newest counts."""
    members: dict[tuple[tuple[str, str], ...], list[Recent]] = {}
    for recent in current(found, frozenset(labels)):
        tags = dict(recent.series.tags)
        members.setdefault(tuple((key, tags.get(key, "")) for key in by), []).append(recent)
    return tuple(
        Group(key, max(recent.last_ms for recent in recents), _figures(recents))
        for key, recents in sorted(members.items())
    )


def current(found: Iterable[Recent], labels: frozenset[str]) -> Iterable[Recent]:
    """Of series that differ by these labels alone, the newest."""
    newest: dict[tuple[str, tuple[tuple[str, str], ...]], Recent] = {}
    for recent in found:
        key = (recent.series.name, tuple(tag for tag in recent.series.tags if tag[0] not in labels))
        if key not in newest or newest[key].last_ms < recent.last_ms:
            newest[key] = recent
    return newest.values()


def _figures(recents: Sequence[Recent]) -> dict[str, float]:
    by_name: dict[str, list[Recent]] = {}
    for recent in recents:
        by_name.setdefault(recent.series.name, []).append(recent)
    figures: dict[str, float] = {}
    for figure, name in RATES.items():
        if (rate := _sum(by_name.get(name, ()), _rate)) is not None:
            figures[figure] = rate
    for figure, names in TOTALS.items():
        if (total := _sum([one for name in names for one in by_name.get(name, ())], lambda one: one.last)) is not None:
            figures[figure] = total
    seconds, records = (_sum(by_name.get(name, ()), _grown) for name in _LAG)
    if seconds is not None and records:
        figures["lag_seconds"] = seconds / records
    # Of all that has inputs here every one must be able to tell: a part of the truth would look like all of it.
    known = by_name.get(_UNACCOUNTED, [])
    if known and _owners(by_name.get(RATES["records_in"], ())) <= _owners(known):
        figures["unaccounted"] = sum(one.last for one in known)
    return figures


def _owners(recents: Iterable[Recent]) -> set[tuple[str, ...]]:
    return {tuple(recent.series.tag(key) for key in _OWNER) for recent in recents}


def _sum(recents: Sequence[Recent], value: Callable[[Recent], float | None]) -> float | None:
    values = [found for recent in recents if (found := value(recent)) is not None]
    return sum(values) if values else None


def _grown(recent: Recent) -> float | None:
    return growth(recent.first, recent.last) if recent.last_ms > recent.first_ms else None


def _rate(recent: Recent) -> float | None:
    grown = _grown(recent)
    return None if grown is None else grown / ((recent.last_ms - recent.first_ms) / 1000)
