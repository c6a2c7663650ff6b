"""InfluxQL for reading: statements from queries, and what the answers say. Pure.

Only what InfluxDB 1.x, 2.x and 3.x have in common: SELECT with selectors and aggregates, by time and by all tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controlplane.metrics.line_protocol import FIELD
from controlplane.metrics.vocabulary import (
    Bucket,
    Query,
    Recent,
    Selection,
    Series,
    StoreUnavailableError,
    Within,
)
from headrace.errors import InvalidError

MOST_VALUES = 100
"""Of one tag in a statement; with more, the answer is filtered instead."""

_VALUE = f'"{FIELD}"'
_LAST_ALONE = frozenset({Within.LAST, Within.INCREASE, Within.RATE})


def name(text: str) -> str:
    """A quoted identifier. Raises InvalidError."""
    return f'"{_escaped(text, chr(34))}"'


def literal(text: str) -> str:
    """A quoted string. Raises InvalidError."""
    return f"'{_escaped(text, chr(39))}'"


def steps_statement(query: Query) -> str:
    """Every step of every series of a query that has something in it."""
    base, step = query.read_from_ms, query.step_ms
    what = f"last({_VALUE})"
    if query.within not in _LAST_ALONE:
        what = f"count({_VALUE}), sum({_VALUE}), min({_VALUE}), max({_VALUE})"
    times = f"time >= {base}ms AND time < {query.end_ms}ms"
    cut = f"time({step}ms, {base % step}ms), *"
    return f"SELECT {what} FROM {_from(query.selection)} WHERE {times}{_and(query.selection)} GROUP BY {cut} fill(none)"


def latest_statement(selection: Selection, *, since_ms: int) -> str:
    """The first and the last point since then of every series: two statements."""
    rest = f"FROM {_from(selection)} WHERE time >= {since_ms}ms{_and(selection)} GROUP BY *"
    return f"SELECT first({_VALUE}) {rest}; SELECT last({_VALUE}) {rest}"


def series_statement(selection: Selection) -> str:
    """One row of every series."""
    where = _and(selection).removeprefix(" AND ")
    return f"SELECT last({_VALUE}) FROM {_from(selection)}{f' WHERE {where}' if where else ''} GROUP BY *"


def steps(query: Query, answer: Mapping[str, Any]) -> Iterator[tuple[Series, list[Bucket]]]:
    """What `steps_statement` asked for."""
    for series, rows in _rows(query.selection, _result(answer, 0)):
        yield series, [_bucket(query, row) for row in rows if row[1] is not None]


def latest(selection: Selection, answer: Mapping[str, Any]) -> tuple[Recent, ...]:
    """What `latest_statement` asked for."""
    first = {series: rows[0] for series, rows in _rows(selection, _result(answer, 0)) if rows}
    found = []
    for series, rows in _rows(selection, _result(answer, 1)):
        if series in first and rows:
            (first_ms, begin), (last_ms, end) = first[series], rows[0]
            found.append(Recent(series, int(first_ms), float(begin), int(last_ms), float(end)))
    return tuple(sorted(found, key=lambda recent: (recent.series.name, recent.series.tags)))


def series(selection: Selection, answer: Mapping[str, Any]) -> tuple[Series, ...]:
    """What `series_statement` asked for."""
    found = {series for series, _ in _rows(selection, _result(answer, 0))}
    return tuple(sorted(found, key=lambda series: (series.name, series.tags)))


def first_column(answer: Mapping[str, Any]) -> list[str]:
    """Of a SHOW statement."""
    return [str(row[0]) for part in _result(answer, 0).get("series", ()) for row in part.get("values", ())]


def check(answer: Mapping[str, Any]) -> None:
    """Raises StoreUnavailableError with what the server says, when one of the statements failed."""
    errors = [answer.get("error"), *(result.get("error") for result in answer.get("results", ()))]
    for error in filter(None, errors):
        raise StoreUnavailableError(f"InfluxDB: {error}")


def _result(answer: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    check(answer)
    results = answer.get("results", ())
    found: Mapping[str, Any] = results[number] if number < len(results) else {}
    if found.get("partial") or any(part.get("partial") for part in found.get("series", ())):
        raise StoreUnavailableError("InfluxDB cut its answer short (max-row-limit); ask for less, or raise its limit")
    return found


def _rows(selection: Selection, result: Mapping[str, Any]) -> Iterator[tuple[Series, list[list[Any]]]]:
    for part in result.get("series", ()):
        series = Series.of(part["name"], part.get("tags") or {})
        if selection.matches(series):
            yield series, part["values"]


def _bucket(query: Query, row: list[Any]) -> Bucket:
    at_ms, *values = row
    if query.within in _LAST_ALONE:
        (last,) = values
        return Bucket(int(at_ms), 1, last, last, last, last)
    size, total, least, most = values
    return Bucket(int(at_ms), size, total, least, most, most)


def _from(selection: Selection) -> str:
    return ", ".join(name(measurement) for measurement in selection.names)


def _and(selection: Selection) -> str:
    return "".join(f" AND {condition}" for condition in _conditions(selection.tags))


def _conditions(tags: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for key, given in tags.items():
        values = tuple(given)
        if 0 < len(values) <= MOST_VALUES:
            yield "(" + " OR ".join(f"{name(key)} = {literal(value)}" for value in values) + ")"


def _escaped(text: str, quote: str) -> str:
    if text and not text.isprintable():
        raise InvalidError(f"{text!r} has a character that cannot be printed, and no series has such a one")
    return text.replace("\\", "\\\\").replace(quote, f"\\{quote}")
