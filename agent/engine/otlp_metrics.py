"""A request of OTLP for metrics as points (pure). Needs the extra `otlp`; imported where it is used.

A sum that only grows is a counter, another one a gauge; buckets add up, as points have them. Attributes of a data point
are its labels; those of the resource are none, as in Fluent Bit, but tell senders apart: each has its own `source`.
Deltas and exponential histograms are no points.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
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

from agent.engine.otlp_reader import value_of
from agent.engine.points import number
from agent.engine.record import Record


def read_metrics(data: bytes, *, is_json: bool) -> ExportMetricsServiceRequest:
    """The request in a body. Raises ValueError."""
    try:
        if is_json:
            return ParseDict(orjson.loads(data), ExportMetricsServiceRequest(), ignore_unknown_fields=True)
        return ExportMetricsServiceRequest.FromString(data)
    except (DecodeError, ParseError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no request of OTLP: {error}") from None


def points_of(request: ExportMetricsServiceRequest, *, now: int, source: str) -> Iterator[tuple[int, Record]]:
    """Every point with its time, or `now`. Raises ValueError for a metric that cannot be points."""
    for resource in request.resource_metrics:
        whose = ",".join(f"{key}={value}" for key, value in sorted(_labels(resource.resource.attributes).items()))
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                yield from _points(metric, now, f"{source} {whose}" if whose else source)


def _points(metric: Metric, now: int, source: str) -> Iterator[tuple[int, Record]]:
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
            value = _VALUES[kind](one)
            yield one.time_unix_nano or now, {**about, "labels": _labels(one.attributes), "source": source, **value}


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
