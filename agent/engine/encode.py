"""Records as text, the way Fluent Bit's outputs write them (pure).

`json_text` is compact JSON, ASCII unless told otherwise; `plain_text` is the notation of its `stdout` and csv formats
(`{"key"=>"value", "n"=>1.500000}`), which quotes nothing inside strings.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import orjson

from agent.engine.record import NANOSECONDS, Batch, Record

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

DATE_FORMATS = ("double", "iso8601", "java_sql_timestamp", "epoch", "epoch_ms")
JSON_FORMATS = ("json", "json_lines", "json_stream")


def json_text(value: Any, *, escape_unicode: bool = True) -> bytes:
    """Compact JSON of a record."""
    data = orjson.dumps(value)
    return _escaped(data) if escape_unicode and not data.isascii() else data


def _escaped(data: bytes) -> bytes:
    return _NOT_ASCII.sub(_escape, data.decode()).encode()


def _escape(found: re.Match[str]) -> str:
    return "".join(f"\\u{unit:04x}" for unit in memoryview(found[0].encode("utf-16-le")).cast("H"))


def plain_text(value: Any) -> str:
    """A value in Fluent Bit's own notation."""
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:f}"
        case str():
            return f'"{value}"'
        case dict():
            return "{" + ", ".join(f"{plain_text(key)}=>{plain_text(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(plain_text, value)) + "]"
        case _:
            return str(value)


_SPECIAL = {"NaN": "nan", "+Inf": "inf", "-Inf": "-inf"}


def metrics_text(batch: Batch) -> bytes:
    """Points as Fluent Bit prints them: `2026-03-01T10:00:00.000000000Z name{label="value"} = 1`."""
    return "".join(map(_point_line, batch.times, batch.records)).encode("utf-8", "replace")


def _point_line(nanoseconds: int, point: Record) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // NANOSECONDS))
    labels = ",".join(f'{name}="{value}"' for name, value in point["labels"].items())
    shown = f"{{{labels}}}" if labels else ""
    return f"{whole}.{nanoseconds % NANOSECONDS:09d}Z {point['name']}{shown} = {_point_value(point)}\n"


def _point_value(point: Record) -> str:
    kind = "buckets" if "buckets" in point else "quantiles"
    steps = point.get(kind)
    if steps is None:
        return _SPECIAL.get(point["value"], str(point["value"]))
    parts = ", ".join(f"{step if step == '+Inf' else f'{float(step):g}'}={value}" for step, value in steps.items())
    return f"{{ {kind} = {{ {parts} }}, sum={point['sum']}, count={point['count']} }}"


def seconds_text(nanoseconds: int) -> str:
    """`1772359200.123000000`."""
    return f"{nanoseconds // NANOSECONDS}.{nanoseconds % NANOSECONDS:09d}"


def date_formatter(name: str) -> Callable[[int], str | int | float]:
    """How a time is written under the date key; `name` is one of DATE_FORMATS."""
    match name:
        case "double":
            return lambda ns: ns / NANOSECONDS
        case "epoch":
            return lambda ns: ns // NANOSECONDS
        case "epoch_ms":
            return lambda ns: ns // 1_000_000
        case "iso8601":
            return lambda ns: _date(ns, "%Y-%m-%dT%H:%M:%S", "Z")
        case _:
            return lambda ns: _date(ns, "%Y-%m-%d %H:%M:%S", "")


def _date(nanoseconds: int, layout: str, end: str) -> str:
    whole = time.strftime(layout, time.gmtime(nanoseconds // NANOSECONDS))
    return f"{whole}.{nanoseconds % NANOSECONDS // 1000:06d}{end}"


class JsonFormat:
    """A batch as `json` (one array), `json_lines` or `json_stream`; a record starts with its time (`date_key`)."""

    def __init__(self, layout: str, *, date_key: str | None, date_format: str, escape_unicode: bool) -> None:
        self._layout = layout
        self._date_key = date_key
        self._date = date_formatter(date_format)
        self._escape = escape_unicode

    def encode(self, batch: Batch) -> bytes:
        if self._layout == "json":
            return json_text([self._dated(batch, i) for i in range(len(batch))], escape_unicode=self._escape)
        end = b"\n" if self._layout == "json_lines" else b""
        return b"".join(json_text(self._dated(batch, i), escape_unicode=self._escape) + end for i in range(len(batch)))

    def _dated(self, batch: Batch, at: int) -> Record:
        dated: Record = {self._date_key: self._date(batch.times[at])} if self._date_key else {}
        if batch.metadata is not None and batch.metadata[at]:
            dated["__internal__"] = {"log_metadata": batch.metadata[at]}
        dated.update(batch.records[at])
        return dated
