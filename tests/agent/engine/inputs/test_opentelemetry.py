"""Logs, metrics and traces over OTLP: from OpenTelemetry's own SDK, in JSON; what is refused; what goes out again."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from agent.engine.accessor import accessor
from agent.engine.config import InvalidProperty
from agent.engine.encode import metrics_text
from agent.engine.otlp import LogShape, logs_request
from agent.engine.otlp_metrics import read_points
from agent.engine.otlp_reader import read_logs
from agent.engine.otlp_spans import read_spans
from agent.engine.record import Batch
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit, Sink, running_input
from tests.agent.engine.inputs.test_http import JSON, post
from tests.agent.engine.outputs.test_http import serving
from tests.processes import eventually
from tests.servers import free_port

PROTOBUF = "application/x-protobuf"
TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
LOG = {
    "timeUnixNano": "5",
    "traceId": TRACE,
    "spanId": SPAN,
    "severityNumber": 9,
    "flags": 1,
    "body": {"stringValue": "js"},
    "attributes": [
        {"key": "i", "value": {"intValue": "7"}},
        {"key": "b", "value": {"bytesValue": "AQI="}},
        {"key": "m", "value": {"kvlistValue": {"values": [{"key": "x", "value": {"arrayValue": {"values": [{}]}}}]}}},
    ],
}


def request(*logs: Any) -> str:
    return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}], "unknown": 1})


def metric(**data: Any) -> str:
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "n", **data}]}]}]})


def make(plugins: PluginKit, **properties: Any) -> Any:
    return plugins.make(inputs, "opentelemetry", listen="127.0.0.1", port=0, **properties)


def send_by_sdk(port: int, *records: LogRecord, compression: Compression = Compression.NoCompression) -> None:
    """What a program with the SDK does."""
    provider = LoggerProvider(resource=Resource({"service.name": "shop", "n": 3}), shutdown_on_exit=False)
    exporter = OTLPLogExporter(endpoint=f"http://127.0.0.1:{port}/v1/logs", compression=compression, timeout=20)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("scope", "1.2", attributes={"sa": 1})
    for record in records:
        logger.emit(record)
    provider.shutdown()


RECORDS = (
    LogRecord(
        timestamp=1_772_359_200_000_000_001,
        observed_timestamp=1_772_359_200_000_000_002,
        severity_text="WARN",
        severity_number=SeverityNumber.WARN,
        body="text body",
        attributes={"a": "b", "f": 1.5, "l": [1, 2], "t": True},
    ),
    LogRecord(timestamp=1_772_359_200_000_000_003, observed_timestamp=4, body={"k": "v", "m": {"x": [1]}}),
    LogRecord(observed_timestamp=1_772_359_200_000_000_004, body=5),
)


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip, Compression.Deflate])
async def test_what_the_sdk_sends_is_kept_as_fluent_bit_keeps_it(
    plugins: PluginKit, sink: Sink, compression: Compression
) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        await asyncio.to_thread(send_by_sdk, plugin.listener.port, *RECORDS, compression=compression)
        assert await sink.take(3) == [{"log": "text body"}, {"k": "v", "m": {"x": [1]}}, {"log": 5}]
    assert {batch.tag for batch in sink.batches} == {"v1_logs"}
    assert [when - 1_772_359_200_000_000_000 for batch in sink.batches for when in batch.times] == [1, 3, 4]
    metadata = [about for batch in sink.batches for about in batch.metadata or ()]
    assert metadata[0]["otlp"] == {
        "observed_timestamp": 1_772_359_200_000_000_002,
        "timestamp": 1_772_359_200_000_000_001,
        "severity_number": 13,
        "severity_text": "WARN",
        "attributes": {"a": "b", "f": 1.5, "l": [1, 2], "t": True},
        "trace_flags": 0,
    }
    assert metadata[2]["otlp"] == {"observed_timestamp": 1_772_359_200_000_000_004, "trace_flags": 0}
    for about in metadata:
        assert about["resource"] == {"attributes": {"service.name": "shop", "n": 3}}
        assert about["scope"] == {"name": "scope", "version": "1.2", "attributes": {"sa": 1}}


async def test_ids_in_json_are_hexadecimal(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins, tag_from_uri=False, successful_response_code=200, logs_body_key="said")
    async with running_input(plugin, sink):
        status, _, _ = await post(plugin.listener.port, request(LOG, {}), "/v1/logs", f"{JSON}; charset=utf-8")
    assert status == 200
    (batch,) = sink.batches
    assert (batch.tag, batch.times, batch.records) == ("tag", [5, NOW], [{"said": "js"}, {"said": None}])
    assert batch.metadata == [
        {
            "otlp": {
                "timestamp": 5,
                "severity_number": 9,
                "attributes": {"i": 7, "b": "AQI=", "m": {"x": [None]}},
                "trace_id": TRACE,
                "span_id": SPAN,
                "trace_flags": 1,
            }
        },
        {"otlp": {"trace_flags": 0}},
    ]


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/v1/logs", JSON, "{bad", 400),
        ("/v1/logs", JSON, "[1]", 400),
        ("/v1/logs", JSON, '{"resourceLogs": 5}', 400),
        ("/v1/logs", JSON, request({"traceId": "xyz"}), 400),
        ("/v1/logs", JSON, request({"traceId": 5}), 400),
        ("/v1/logs", JSON, request({"timeUnixNano": "x"}), 400),
        ("/v1/logs", PROTOBUF, b"bad", 400),
        ("/v1/logs", "text/plain", "x", 400),
        ("/v1/traces", PROTOBUF, b"", 201),
        ("/v1/traces", PROTOBUF, b"bad", 400),
        ("/v1/traces", JSON, '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', 400),
        ("/v1/traces", JSON, '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "x"}]}]}]}', 400),
        ("/v1/metrics", PROTOBUF, b"bad", 400),
        ("/v1/metrics", JSON, '{"resourceMetrics": 5}', 400),
        ("/v1/metrics", JSON, metric(sum={"aggregationTemporality": 1}), 400),
        ("/v1/metrics", JSON, metric(exponentialHistogram={}), 400),
        ("/v1/metrics", PROTOBUF, b"", 201),
        ("/other", PROTOBUF, b"", 404),
        ("/v1/logs", PROTOBUF, b"", 201),
        ("/v1/logs", JSON, "{}", 201),
    ],
)
async def test_what_is_no_request_for_logs_has_its_status_and_gives_nothing(
    plugins: PluginKit, sink: Sink, path: str, kind: str, body: Any, status: int
) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        answer, _, _ = await post(plugin.listener.port, body, path, kind)
    assert (answer, sink.batches) == (status, [])


def measure_by_sdk(port: int) -> None:
    """What a program with the SDK does: each kind of instrument once."""
    exporter = OTLPMetricExporter(endpoint=f"http://127.0.0.1:{port}/v1/metrics", timeout=20)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1e9)
    buckets = View(instrument_name="h.*", aggregation=ExplicitBucketHistogramAggregation((1, 5)))
    provider = MeterProvider([reader], Resource({"service.name": "shop"}), views=[buckets], shutdown_on_exit=False)
    meter = provider.get_meter("scope")
    meter.create_counter("c.total", description="Counts.").add(3, {"l": "x"})
    meter.create_up_down_counter("ud").add(-2)
    meter.create_gauge("g").set(1.25, {"f": 1.5, "b": True, "l": [1, 2]})
    for value in (0.5, 3, 9):
        meter.create_histogram("h.x").record(value, {"a": 1})
    provider.shutdown()


async def test_metrics_of_the_sdk_are_printed_as_fluent_bit_prints_them(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        await asyncio.to_thread(measure_by_sdk, plugin.listener.port)
        await sink.take(4)
    (batch,) = sink.batches
    assert (batch.tag, batch.signal) == ("v1_metrics", "metrics")
    assert [line.partition("Z ")[2] for line in metrics_text(batch).decode().splitlines()] == [
        'c.total{l="x"} = 3',
        "ud = -2",
        'g{f="1.5",b="1",l="[1,2]"} = 1.25',
        'h.x{a="1"} = { buckets = { 1=1, 5=2, +Inf=3 }, sum=12.5, count=3 }',
    ]
    assert [one["type"] for one in batch.records] == ["counter", "gauge", "gauge", "histogram"]
    assert {one["source"] for one in batch.records} == {"opentelemetry.0 " + batch.records[0]["source"].split()[1]}
    assert "service.name=shop" in batch.records[0]["source"]


async def test_metrics_in_json_have_quantiles_and_leave_out_what_was_not_recorded(
    plugins: PluginKit, sink: Sink
) -> None:
    plugin = make(plugins)
    summary = {"count": "6", "sum": 10.5, "quantileValues": [{"quantile": 0.5, "value": 1.5}]}
    body = metric(summary={"dataPoints": [summary, {"flags": 1}]}, description="Help.")
    async with running_input(plugin, sink):
        status, _, _ = await post(plugin.listener.port, body, "/v1/metrics")
    assert status == 201
    about = {"name": "n", "type": "summary", "help": "Help.", "labels": {}, "source": "opentelemetry.0"}
    assert sink.records == [{**about, "quantiles": {"0.5": 1.5}, "sum": 10.5, "count": 6}]
    assert sink.batches[0].times == [NOW]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
maps = st.dictionaries(st.text(min_size=1), values, min_size=1, max_size=3)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 2**63), maps, maps, maps), min_size=1, max_size=4))
def test_what_came_in_goes_out_as_it_was(logs: list[Any]) -> None:
    batch = Batch("t", metadata=[])
    for when, record, attributes, resource in logs:
        batch.times.append(when)
        batch.records.append(record)
        own = {"timestamp": when, "attributes": attributes, "trace_id": TRACE, "span_id": SPAN, "trace_flags": 1}
        about = {"resource": {"attributes": resource}, "scope": {"name": "s", "attributes": attributes}}
        assert batch.metadata is not None
        batch.metadata.append({"otlp": own, **about})
    shape = LogShape(bodies=[(accessor("\0none"), None)], rest_as_attributes=False, metadata_key="otlp")
    body = logs_request(batch, 0, len(batch), shape)
    assert list(read_logs(body, is_json=False, now=1, body_key=None, metadata_key="otlp")) == list(
        zip(batch.times, batch.records, batch.metadata, strict=True)
    )


async def test_logs_of_the_sdk_go_through_two_engines_over_otlp_whole(kit: EngineKit) -> None:
    first, second = free_port(), free_port()
    pipeline = f"""
        service: {{flush: 0.05}}
        pipeline:
          inputs:
            - {{name: opentelemetry, alias: one, listen: 127.0.0.1, port: {first}, tag_from_uri: off, tag: one}}
            - {{name: opentelemetry, alias: two, listen: 127.0.0.1, port: {second}, tag_from_uri: off, tag: two}}
          outputs:
            - {{name: opentelemetry, match: one, host: 127.0.0.1, port: {second}}}
            - {{name: file, match: '*', file: out, format: plain}}
        """
    async with kit.run(pipeline) as running:
        await asyncio.to_thread(send_by_sdk, first, *RECORDS)
        lines = await kit.has_lines("out", 6)
        assert running.metrics("output", "opentelemetry.0").dropped_records == 0
    assert sorted(lines) == sorted(2 * ['{"log":"text body"}', '{"k":"v","m":{"x":[1]}}', '{"log":5}'])


def trace_by_sdk(port: int, *names: str) -> None:
    """What a program with the SDK does: a span in a span of each name."""
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{port}/v1/traces", timeout=20)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("scope", "1.2")
    for name in names:
        with (
            tracer.start_as_current_span(name, kind=SpanKind.SERVER, attributes={"n": 5}),
            tracer.start_as_current_span(f"{name} inner") as inner,
        ):
            inner.add_event("seen", {"k": [1.5, 2.5]})
            inner.set_status(StatusCode.ERROR, "bad")
    provider.shutdown()


async def test_spans_of_the_sdk_have_what_they_say_with_their_resource_and_scope(
    plugins: PluginKit, sink: Sink
) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        await asyncio.to_thread(trace_by_sdk, plugin.listener.port, "op")
        inner, outer = await sink.take(2)
    assert [(batch.tag, batch.signal) for batch in sink.batches] == [("v1_traces", "traces")] * 2
    assert [batch.metadata for batch in sink.batches] == [
        [{"resource": {"attributes": {"service.name": "shop"}}, "scope": {"name": "scope", "version": "1.2"}}]
    ] * 2
    assert (outer["name"], outer["kind"], outer["attributes"], outer["parent_span_id"]) == ("op", 2, {"n": 5}, None)
    assert (inner["trace_id"], inner["parent_span_id"]) == (outer["trace_id"], outer["span_id"])
    assert inner["status"] == {"code": 2, "message": "bad"}
    assert [(event["name"], event["attributes"]) for event in inner["events"]] == [("seen", {"k": [1.5, 2.5]})]
    assert sink.batches[0].times == [inner["start_time_unix_nano"]]


async def test_traces_and_metrics_wait_on_disk_and_are_sent_when_their_receiver_is_there(kit: EngineKit) -> None:
    port, receiver = free_port(), free_port()
    pipeline = f"""
        service: {{flush: 0.05, grace: 0, storage.path: chunks}}
        pipeline:
          inputs: [{{name: opentelemetry, listen: 127.0.0.1, port: {port}, storage.type: filesystem}}]
          outputs: [{{name: opentelemetry, match: '*', host: 127.0.0.1, port: %d, retry_limit: no_limits}}]
        """
    async with kit.run(pipeline % receiver) as running:
        await asyncio.to_thread(trace_by_sdk, port, "one", "two")
        await asyncio.to_thread(measure_by_sdk, port)
    assert running.remainder is not None
    assert running.remainder.kept == 8
    names: list[str] = []

    def all_taken() -> bool:
        names.clear()
        for first, _, body in server.requests:
            if first == "POST /v1/traces HTTP/1.1":
                names.extend(span["name"] for _, span, _ in read_spans(body, is_json=False, now=1))
            else:
                assert first == "POST /v1/metrics HTTP/1.1"
                points = read_points(body, is_json=False, now=1, source="s")
                names.extend(point["name"] for _, point, _ in points)
        return len(names) >= 8

    async with serving() as server, kit.run(pipeline % server.port):
        await eventually(all_taken, what="four spans and four metrics")
    assert sorted(names) == sorted(["one inner", "one", "two inner", "two", "c.total", "ud", "g", "h.x"])


def test_a_missing_extra_is_one_sentence_that_names_it(plugins: PluginKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent.engine.otlp_reader", raising=False)
    monkeypatch.delattr("agent.engine.otlp_reader", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.logs.v1.logs_service_pb2", None)
    with pytest.raises(InvalidProperty, match=r"install 'headrace\[otlp\]'"):
        make(plugins)
