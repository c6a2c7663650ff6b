"""Which numbers of an engine are reported, under which name and tags: one table. Pure.

The names are Fluent Bit's own. A tag says which plugin; where a name has more than one number for a plugin, they add up
or `kind` tells them apart. Of a histogram its sum and count are kept, over all inputs: its buckets would multiply the
series of every output and answer no question that people ask. What the agent's own service settings make an engine add
(`storage_backlog`), and whatever the agent itself adds (its names begin with `headrace.`), is nobody's plugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from agent.reporting.exposition import Sample

OWN_PLUGIN = "headrace."
"""How the name of a plugin begins that the agent adds to a pipeline."""
MAX_TAG = 200
"""Characters of a tag; a longer name of a plugin is cut, and ends with an ellipsis."""

UNACCOUNTED = "headrace_engine_unaccounted_records"
"""The embedded engine has it, where it can tell."""

_ADDED = re.compile(rf"{re.escape(OWN_PLUGIN)}.*|storage_backlog(\.\d+)?", re.DOTALL)


class Series(NamedTuple):
    """What a number is of; together with the pipeline, which is the same for all of an engine, it is a series."""

    name: str
    plugin: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """`plugin` and `kind` are the labels that the tags come from; `kinds` are those that are kept, empty all."""

    is_counter: bool
    plugin: str = ""
    kind: str = ""
    kinds: tuple[str, ...] = ()


def _rules() -> Iterator[tuple[str, Rule]]:
    counters = {
        "input": ("records", "bytes", "ring_buffer_retry_failures"),
        "filter": ("records", "bytes", "add_records", "drop_records", "drop_bytes"),
        "output": (
            "proc_records",
            "proc_bytes",
            "errors",
            "retries",
            "retries_failed",
            "dropped_records",
            "retried_records",
        ),
    }
    for part, names in counters.items():
        for name in names:
            yield f"fluentbit_{part}_{name}_total", Rule(True, plugin="name")
    for name in ("sum", "count"):
        yield f"fluentbit_output_latency_seconds_{name}", Rule(True, plugin="output")
    yield "fluentbit_logger_logs_total", Rule(True, kind="message_type", kinds=("error", "warn"))
    for name in (
        "ingestion_paused",
        "storage_overlimit",
        "storage_memory_bytes",
        "storage_chunks",
        "storage_chunks_busy",
        "storage_chunks_busy_bytes",
    ):
        yield f"fluentbit_input_{name}", Rule(False, plugin="name")
    yield "fluentbit_output_chunk_available_capacity_percent", Rule(False, plugin="name")
    for name in ("chunks", "mem_chunks", "fs_chunks", "fs_chunks_down"):
        yield f"fluentbit_storage_{name}", Rule(False)
    yield UNACCOUNTED, Rule(False)
    yield "fluentbit_uptime", Rule(False)  # Starts anew with each process, which is what people read from it.
    yield "fluentbit_hot_reloaded_times", Rule(False)


KEPT: Mapping[str, Rule] = dict(_rules())
"""By Fluent Bit's name."""

PENDING = "fluentbit_storage_chunks"
"""Chunks that no output has taken yet."""

RELOADS = "fluentbit_hot_reloaded_times"
IDENTITY = "headrace_engine_counters"
"""The embedded engine names its counters by it: they outlive reloads and, after a clean stop, the process."""


class Raw(NamedTuple):
    """One counter as an engine has it: several may go into one series, told apart by `part`."""

    series: Series
    part: str


def is_wanted(name: str) -> bool:
    """Whether a name is worth reading."""
    return name in KEPT or name == IDENTITY


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one look at an engine gave."""

    life: str
    """Changes whenever the engine's counters start from zero."""
    counters: Mapping[Raw, float]
    gauges: Mapping[Series, float]

    @property
    def is_pending(self) -> bool:
        """Whether records are in the engine that an output has yet to take."""
        return self.gauges.get(Series(PENDING), 0.0) > 0


def sort(samples: Iterable[Sample], *, process: str) -> Scrape | None:
    """The samples that the table keeps; None when the engine has not gathered any yet, which takes it a second.

    `process` tells the engine's process from every other: Fluent Bit's counters end with it, and with every reload.
    """
    samples = tuple(samples)
    identity = next((sample.labels.get("id", "") for sample in samples if sample.name == IDENTITY), "")
    reloads = next((sample.value for sample in samples if sample.name == RELOADS), None)
    if not identity and reloads is None:
        return None
    life = identity or f"{process}/{reloads:.0f}"
    counters: dict[Raw, float] = {}
    gauges: dict[Series, float] = {}
    for sample in samples:
        rule = KEPT.get(sample.name)
        plugin = sample.labels.get(rule.plugin, "") if rule and rule.plugin else ""
        kind = sample.labels.get(rule.kind, "") if rule and rule.kind else ""
        if rule is None or _ADDED.fullmatch(plugin) or (rule.plugin and not plugin):
            continue
        if rule.kinds and kind not in rule.kinds:
            continue
        series = Series(sample.name, _tag(plugin), _tag(kind))
        if rule.is_counter:
            counters[Raw(series, sample.labels.get("input", ""))] = sample.value
        else:
            gauges[series] = sample.value
    return Scrape(life, counters, gauges)


def _tag(text: str) -> str:
    return text if len(text) <= MAX_TAG else f"{text[: MAX_TAG - 1]}…"
