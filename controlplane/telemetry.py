"""The control plane's own logs and numbers: structlog, and a Prometheus registry of a few meters."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from controlplane.propagation import Propagation
from headrace.logs import to_stderr

LogFormat = Literal["console", "json"]

_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def configure_logs(form: LogFormat) -> None:
    """Sends every log of this process to stderr, one line each. A traceback has no values: some are secrets."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ends: list[structlog.typing.Processor]
    if form == "json":
        traceback = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        ends = [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        ends = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=to_stderr,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


class Meters:
    """What the control plane counts about itself; one per process, or per test."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions = Gauge("headrace_sessions", "Sessions held by this replica.", registry=self.registry)
        self.reports_waiting = Gauge(
            "headrace_reports_waiting", "Reports that wait to be written.", registry=self.registry
        )
        self.reports_dropped = Counter(
            "headrace_reports_dropped", "Reports that the state store refused.", registry=self.registry
        )
        self.store = Histogram(
            "headrace_store_seconds",
            "Time of a block of reads or a transaction of the state store, waiting included.",
            ["operation"],
            buckets=_FAST,
            registry=self.registry,
        )
        received = Histogram(
            "headrace_propagation_received_seconds",
            "From a change's revision to an agent's word that it has it, for connected agents.",
            buckets=_SLOW,
            registry=self.registry,
        )
        applied = Histogram(
            "headrace_propagation_applied_seconds",
            "From a change's revision to an agent's word that it runs, for connected agents.",
            buckets=_SLOW,
            registry=self.registry,
        )
        self.propagation = Propagation(received.observe, applied.observe)
        Gauge(
            "headrace_propagation_waiting", "Changes on their way, by agent and pipeline.", registry=self.registry
        ).set_function(lambda: len(self.propagation))
        self.fan_out = Histogram(
            "headrace_fan_out_seconds",
            "Time to post a changed pipeline to every session.",
            buckets=_FAST,
            registry=self.registry,
        )
        self.reports = Histogram(
            "headrace_report_write_seconds",
            "Time to write a group of reports to the state store.",
            buckets=_FAST,
            registry=self.registry,
        )
