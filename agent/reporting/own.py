"""The agent's figures about itself: one list, for the control plane's store and for `--metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.counts import Counts
from agent.reporting.machine import Figure, read_process


@dataclass(slots=True)
class Sampling:
    """How measuring itself goes; `uncertain` is by pipeline."""

    spool_bytes: int = 0
    pending: int = 0
    dropped: int = 0
    failed_scrapes: int = 0
    lines_refused: int = 0
    series_dropped: int = 0
    seconds: float = 0.0
    uncertain: Mapping[str, int] = field(default_factory=dict)


def own_figures(counts: Counts, sampling: Sampling, *, workloads: int) -> Iterator[Figure]:
    """Everything but what is known of each pipeline."""
    yield from read_process()
    connected = float(counts.is_connected)
    yield Figure("headrace_agent_connected", "Whether there is a session with the control plane.", connected, {})
    ahead = "Seconds by which the host's clock is ahead of the control plane's; 0 while it is right."
    yield Figure("headrace_agent_clock_ahead_seconds", ahead, counts.clock_ahead_s, {})
    yield Figure("headrace_agent_workloads", "Pipelines that run here, or try to.", workloads, {})
    for name, text, value in (
        ("reconnects", "Sessions with the control plane after the first.", max(0, counts.sessions - 1)),
        ("engine_exits", "Ends of engines that nobody asked for.", counts.engine_exits),
        ("scrape_failures", "Looks at engines that gave no numbers.", sampling.failed_scrapes),
        ("scrape_lines_refused", "Lines of engines' metrics that could not be read.", sampling.lines_refused),
        ("series_dropped", "Numbers over the bound of one look.", sampling.series_dropped),
        ("spool_dropped_batches", "Batches of metrics that were dropped before the store had them.", sampling.dropped),
    ):
        yield Figure(f"headrace_agent_{name}_total", text, value, {}, True)
    for kind, value in (("ok", counts.applies), ("failed", counts.failed_applies)):
        yield Figure("headrace_agent_applies_total", "Changes that were made or failed.", value, {"kind": kind}, True)
    yield Figure("headrace_agent_spool_bytes", "Metrics on disk.", sampling.spool_bytes, {})
    yield Figure(
        "headrace_agent_spool_pending_batches", "Batches that the store has yet to take.", sampling.pending, {}
    )
    yield Figure("headrace_agent_sample_seconds", "How long the last look at everything took.", sampling.seconds, {})
    for pipeline, value in sampling.uncertain.items():
        text = "Intervals in which a pipeline's counters may have missed something."
        yield Figure("headrace_agent_uncertain_intervals_total", text, value, {"pipeline": pipeline}, True)
