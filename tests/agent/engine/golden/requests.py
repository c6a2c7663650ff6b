"""Requests of OTLP that a real Fluent Bit 5.1.1 was given, as batches of this engine.

`golden/otlp` has requests in OTLP's JSON, and beside each what came out there: `sent` is the body of its request in
hexadecimal, `printed` what `stdout` wrote, `page` what `vivo_exporter` answered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.engine.otlp_metrics import read_points
from agent.engine.otlp_spans import read_spans
from agent.engine.record import Batch, Signal

GOLDEN = Path(__file__).parent / "otlp"


def taken(signal: Signal, found: Any) -> Batch:
    times, records, metadata = (list(column) for column in zip(*found, strict=True))
    return Batch("t", times, records, metadata, 1, signal)


def traces(body: bytes, *, is_json: bool = False) -> Batch:
    return taken("traces", read_spans(body, is_json=is_json, now=1))


def metrics(body: bytes, *, is_json: bool = False) -> Batch:
    return taken("metrics", read_points(body, is_json=is_json, now=1, source="s"))


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()
