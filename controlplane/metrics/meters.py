"""What the control plane counts of the metrics that it takes: for Prometheus, and what was refused for people too."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class MetricMeters:
    """In the registry of the process, or of a test."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.points = Counter("headrace_metric_points", "Points that the metric store took.", registry=registry)
        self.waiting = Gauge(
            "headrace_metric_points_waiting", "Points that wait for the metric store.", registry=registry
        )
        self.writes = Histogram(
            "headrace_metric_write_seconds", "Time of a write to the metric store.", registry=registry
        )
        self.refused: dict[str, int] = {}
        """Points that were refused since the start, by why."""
        self._refusals = Counter(
            "headrace_metric_points_refused", "Points that were refused, by why.", ["why"], registry=registry
        )

    def refuse(self, why: str, count: int) -> None:
        """Counts points that no store will get."""
        self._refusals.labels(why).inc(count)
        self.refused[why] = self.refused.get(why, 0) + count
