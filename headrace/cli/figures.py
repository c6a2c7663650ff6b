"""How figures of metrics are written for people: heads of columns, short numbers, and a line of blocks. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

HEADS: Mapping[str, str] = {
    "records_in": "IN/S",
    "bytes_in": "BYTES IN/S",
    "records_out": "OUT/S",
    "bytes_out": "BYTES OUT/S",
    "records_in_total": "IN",
    "records_out_total": "OUT",
    "filtered_total": "FILTERED",
    "dropped": "DROPPED",
    "errors": "ERRORS",
    "retries": "RETRIES",
    "retries_failed": "GIVEN UP",
    "known_loss": "KNOWN LOSS",
    "unaccounted": "UNACCOUNTED",
    "backlog_chunks": "BACKLOG",
    "lag_seconds": "LAG S",
}
"""Figures in the order in which they are shown, and what stands above each."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_UNITS = ("", "k", "M", "G", "T", "P")


def cell(figure: str, value: float | None) -> str:
    """`n/a` for what cannot be told; rates and times with a decimal where they are small; counts whole, never cut."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if figure.startswith("bytes_"):
        return _short(value)
    if value == int(value) and abs(value) < 1e18:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1e15 else f"{value:.3g}"


def sparkline(values: Sequence[float], *, width: int = 30) -> str:
    """The newest values as blocks, from zero or the least up to the most."""
    newest = [value for value in values[-width:] if math.isfinite(value)]
    if not newest:
        return ""
    least, most = min(0.0, *newest), max(newest)
    span = most - least
    if span <= 0:
        return _BLOCKS[0] * len(newest)
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, int((value - least) / span * len(_BLOCKS)))] for value in newest)


def _short(value: float) -> str:
    unit = 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.0f}{_UNITS[unit]}" if value >= 100 or not unit else f"{value:.1f}{_UNITS[unit]}"
