"""The fleet's workload metrics for Prometheus, as they are in the metric store now: `/metrics/fleet`, if asked for.

One question to the store at a time, and its answer is good for a while, whoever asks; so many scrapers cost as one.
Each sample keeps the time at which its agent took it. What is over the bound is left out, and said in a comment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice
from operator import attrgetter

from controlplane.metrics.cleaning import AGENT
from controlplane.metrics.figures import current
from controlplane.metrics.store import MetricStore
from controlplane.metrics.vocabulary import Recent, Selection
from controlplane.view import View

MOST_SERIES = 200_000
GOOD_FOR_S = 10.0
_COUNTERS = ("_total", "_sum", "_count")
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})

NAMES = (
    *(f"fluentbit_input_{name}" for name in ("records_total", "bytes_total", "ring_buffer_retry_failures_total")),
    *(f"fluentbit_input_{name}" for name in ("ingestion_paused", "storage_overlimit", "storage_memory_bytes")),
    *(f"fluentbit_input_storage_{name}" for name in ("chunks", "chunks_busy", "chunks_busy_bytes")),
    *(f"fluentbit_filter_{name}_total" for name in ("records", "bytes", "add_records", "drop_records", "drop_bytes")),
    *(f"fluentbit_output_{name}_total" for name in ("proc_records", "proc_bytes", "errors", "retries")),
    *(f"fluentbit_output_{name}_total" for name in ("retried_records", "retries_failed", "dropped_records")),
    *(f"fluentbit_output_latency_seconds_{name}" for name in ("sum", "count")),
    "fluentbit_output_chunk_available_capacity_percent",
    *(f"fluentbit_storage_{name}" for name in ("chunks", "mem_chunks", "fs_chunks", "fs_chunks_down")),
    "fluentbit_logger_logs_total",
    "fluentbit_uptime",
    "fluentbit_hot_reloaded_times",
    "headrace_engine_unaccounted_records",
)
"""What agents measure of pipelines; docs/metrics.md has the same names."""


class FleetExport:
    """Answers; safe to use from many tasks of one loop."""

    def __init__(
        self,
        store: MetricStore,
        *,
        view: View,
        labels: Collection[str],
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        window_s: float,
    ) -> None:
        """A series is told whose newest sample is no older than the window."""
        self._store = store
        self._view = view
        self._labels = frozenset(labels)
        self._clock = clock
        self._monotonic = monotonic
        self._window_ms = round(window_s * 1000)
        self._turn = asyncio.Lock()
        self._text = b""
        self._good_until = float("-inf")

    async def text(self) -> bytes:
        """In the text format. Raises UnavailableError."""
        async with self._turn:
            if self._monotonic() >= self._good_until:
                since_ms = round(self._clock().timestamp() * 1000) - self._window_ms
                found = await self._store.latest(Selection(names=NAMES), since_ms=since_ms)
                names = {id: agent.row.facts.name for id, agent in self._view.agents.items()}
                self._text = await asyncio.to_thread(_written, found, self._labels, names)
                self._good_until = self._monotonic() + GOOD_FOR_S
            return self._text


def _written(found: Iterable[Recent], labels: frozenset[str], names: dict[str, str]) -> bytes:
    return "".join(_lines(found, labels, names)).encode()


def _lines(found: Iterable[Recent], labels: frozenset[str], names: dict[str, str]) -> Iterator[str]:
    series = sorted(current(found, labels), key=attrgetter("series.name", "series.tags"))
    if len(series) > MOST_SERIES:
        yield f"# {len(series) - MOST_SERIES} series are left out: more than {MOST_SERIES}\n"
    for name, several in groupby(islice(series, MOST_SERIES), attrgetter("series.name")):
        yield f"# TYPE {name} {'counter' if name.endswith(_COUNTERS) else 'gauge'}\n"
        for recent in several:
            tags = dict(recent.series.tags)
            agent_id = tags.get(AGENT, "")
            tags |= {AGENT: names.get(agent_id, agent_id), "agent_id": agent_id}
            text = ",".join(f'{_label(key)}="{value.translate(_ESCAPES)}"' for key, value in tags.items())
            yield f"{name}{{{text}}} {recent.last!r} {recent.last_ms}\n"


def _label(key: str) -> str:
    """A label's key may have what Prometheus does not take in a name, such as dots."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter == "_") else "_" for letter in key)
