"""A request of OTLP for metrics as points (pure). Needs the extra `otlp`; imported where it is used.

A sum that only grows is a counter, another one a gauge; buckets add up, as points have them. Attributes of a data point
are its labels; those of the resource are none, as in Fluent Bit, but tell senders apart: each has its own `source`.
Deltas and exponential histograms are no points. What OTLP says besides (unit, start, resource, scope) is in a point's
metadata, for who sends it on.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    SummaryDataPoint,
)

from agent.engine.otlp_reader import read_request, value_of, whose_of
from agent.engine.points import METADATA, number
from agent.engine.record import Record


def read_points(data: bytes, *, is_json: bool, now: int, source: str) -> Iterator[tuple[int, Record, Record]]:
    """Time (or `now`), point and metadata of each data point. Raises ValueError, also for what cannot be points."""
    request = read_request(ExportMetricsServiceRequest, data, is_json=is_json)
    for resource in request.resource_metrics:
        told = ",".join(f"{key}={value}" for key, value in sorted(_labels(resource.resource.attributes).items()))
        for scope in resource.scope_metrics:
            whose = whose_of(resource, scope)
            for metric in scope.metrics:
                for when, point, own in _points(metric, now, f"{source} {told}" if told else source):
                    yield when, point, {METADATA: own} | whose


def _points(metric: Metric, now: int, source: str) -> Iterator[tuple[int, Record, Record]]:
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data: Any = getattr(metric, kind)
    if kind == "exponential_histogram":
        raise ValueError(f"metric {metric.name!r}: exponential histograms are not implemented by the embedded engine")
    if kind in ("sum", "histogram") and data.aggregation_temporality == AggregationTemporality.Value(
        "AGGREGATION_TEMPORALITY_DELTA"
    ):
        raise ValueError(f"metric {metric.name!r}: deltas are not implemented by the embedded engine; send totals")
    shown = "counter" if kind == "sum" and data.is_monotonic else "gauge" if kind == "sum" else kind
    about = {"name": metric.name, "type": shown, "help": metric.description}
    for one in data.data_points:
        if not one.flags & DataPointFlags.Value("DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK"):
            point = {**about, "labels": _labels(one.attributes), "source": source, **_VALUES[kind](one)}
            yield one.time_unix_nano or now, point, _own(metric.unit, kind, one)


def _own(unit: str, kind: str, one: Any) -> Record:
    """What a point has no place for."""
    own: Record = {"unit": unit} if unit else {}
    if one.start_time_unix_nano:
        own["start"] = one.start_time_unix_nano
    if kind in ("gauge", "sum"):
        own |= {"kind": kind} | ({"is_int": True} if one.WhichOneof("value") == "as_int" else {})
    if kind == "histogram":
        own |= {name: getattr(one, name) for name in ("min", "max") if one.HasField(name)}
    return own


def _number(one: NumberDataPoint) -> Record:
    return {"value": one.as_int if one.WhichOneof("value") == "as_int" else number(one.as_double)}


def _histogram(one: HistogramDataPoint) -> Record:
    bounds = [*map(str, one.explicit_bounds), "+Inf"]
    counts = accumulate(one.bucket_counts or [one.count])
    steps = bounds if one.bucket_counts else ["+Inf"]
    return {"buckets": dict(zip(steps, counts, strict=False)), "sum": number(one.sum), "count": one.count}


def _summary(one: SummaryDataPoint) -> Record:
    quantiles = {str(step.quantile): number(step.value) for step in one.quantile_values}
    return {"quantiles": quantiles, "sum": number(one.sum), "count": one.count}


_VALUES: dict[str, Any] = {"gauge": _number, "sum": _number, "histogram": _histogram, "summary": _summary}


def _labels(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: _text(value_of(pair.value)) for pair in attributes}


def _text(value: Any) -> str:
    """A label's value: text as it is, true as 1, numbers in short, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value) if isinstance(value, int) else orjson.dumps(value).decode()
