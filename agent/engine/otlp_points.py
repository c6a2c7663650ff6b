"""Points as a request of OTLP for metrics, in protobuf (pure). Needs the extra `otlp`; imported where a plugin is used.

A counter is a sum that only grows, in totals; what is untyped is a gauge, and the buckets of a histogram no longer add
up. Labels are attributes of the data point. What came in by OTLP goes out as it was: with its resource, scope, unit and
start, and whole numbers as such; any other value is a floating point number, as Fluent Bit sends it.
"""

from collections.abc import Mapping
from itertools import groupby, pairwise
from math import inf
from typing import Any, TypeAlias

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from agent.engine.otlp import fill_resource, fill_scope, pairs, whole
from agent.engine.points import METADATA, count_of
from agent.engine.record import Batch, Record

_FIXED64 = range(1 << 64)
_TOTALS = AggregationTemporality.Value("AGGREGATION_TEMPORALITY_CUMULATIVE")

_Point: TypeAlias = tuple[int, Record, Record]
"""Time, point, metadata."""


def points_request(batch: Batch, labels: Mapping[str, str]) -> bytes:
    """The points of a batch as one request; `labels` are added to each, before its own."""
    request = ExportMetricsServiceRequest()
    metadata = batch.metadata if batch.metadata is not None else [{}] * len(batch)
    points = list(zip(batch.times, batch.records, metadata, strict=True))
    for resource, of_resource in groupby(points, lambda point: point[2].get("resource", {})):
        of_request = request.resource_metrics.add()
        if resource:
            fill_resource(of_request, resource)
        for scope, of_scope in groupby(of_resource, lambda point: point[2].get("scope", {})):
            made = of_request.scope_metrics.add()
            if scope:
                fill_scope(made, scope)
            for name, of_name in groupby(of_scope, lambda point: (point[1]["name"], point[1]["type"])):
                _fill(made.metrics.add(name=name[0]), list(of_name), labels)
    return request.SerializeToString()


def _fill(metric: Metric, points: list[_Point], labels: Mapping[str, str]) -> None:
    _, first, metadata = points[0]
    own = metadata.get(METADATA, {})
    metric.description, metric.unit = first["help"], own.get("unit", "")
    kind = "sum" if first["type"] == "counter" else own.get("kind", "gauge")
    if "buckets" in first:
        metric.histogram.aggregation_temporality = _TOTALS
        for when, one, about in points:
            _histogram(_common(metric.histogram.data_points.add(), when, one, about, labels), one, about)
    elif "quantiles" in first:
        for when, one, about in points:
            _summary(_common(metric.summary.data_points.add(), when, one, about, labels), one)
    else:
        if kind == "sum":
            metric.sum.aggregation_temporality = _TOTALS
            metric.sum.is_monotonic = first["type"] == "counter"
        data = metric.sum if kind == "sum" else metric.gauge
        for when, one, about in points:
            _number(_common(data.data_points.add(), when, one, about, labels), one, about)


def _common(message: Any, when: int, one: Record, metadata: Record, labels: Mapping[str, str]) -> Any:
    message.time_unix_nano = max(0, when)
    message.start_time_unix_nano = whole(metadata.get(METADATA, {}).get("start"), _FIXED64)
    message.attributes.extend(pairs({**labels, **one["labels"]}))
    return message


def _number(message: NumberDataPoint, one: Record, metadata: Record) -> None:
    if metadata.get(METADATA, {}).get("is_int"):
        message.as_int = one["value"]
    else:
        message.as_double = float(one["value"])


def _histogram(message: HistogramDataPoint, one: Record, metadata: Record) -> None:
    counts = [0, *map(count_of, one["buckets"].values())]
    message.count, message.sum = count_of(one["count"]), float(one["sum"])
    message.bucket_counts.extend(max(0, after - before) for before, after in pairwise(counts))
    message.explicit_bounds.extend(bound for bound in map(float, one["buckets"]) if bound != inf)
    for name in ("min", "max"):
        if name in metadata.get(METADATA, {}):
            setattr(message, name, metadata[METADATA][name])


def _summary(message: SummaryDataPoint, one: Record) -> None:
    message.count, message.sum = count_of(one["count"]), float(one["sum"])
    for quantile, value in one["quantiles"].items():
        message.quantile_values.add(quantile=float(quantile), value=float(value))
