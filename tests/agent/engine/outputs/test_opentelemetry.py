"""Logs over OTLP: what is sent for what, by OTLP's own messages, as a real Fluent Bit 5.1.1 was seen to send it."""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from agent.engine.config import InvalidProperty
from agent.engine.otlp import any_value
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import NOW, PluginKit
from tests.agent.engine.outputs.test_http import OK, serving

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
BASE64_TRACE, BASE64_SPAN = "W47/95gDgQPSabYzgT/GDA==", "7uGbfsPBsXQ="


async def sent(plugins: PluginKit, batch: Batch, *answers: bytes, **properties: Any) -> tuple[Result, list[Any]]:
    async with serving(*answers) as server:
        plugin = plugins.make(outputs, "opentelemetry", host="127.0.0.1", port=server.port, **properties)
        await plugin.open()
        try:
            result = await plugin.write(batch)
        finally:
            await plugin.close()
            await asyncio.sleep(0)
    return result, server.requests


async def log_of(plugins: PluginKit, record: Any, metadata: Any = None, **properties: Any) -> Any:
    """The one log record that is sent, as a dictionary; ids are base64 there."""
    _, ((_, _, body),) = await sent(plugins, Batch("t", [NOW], [record], [metadata or {}], 9), **properties)
    (resource,) = MessageToDict(ExportLogsServiceRequest.FromString(body))["resourceLogs"]
    (scope,) = resource["scopeLogs"]
    assert (resource["resource"], scope["scope"]) == ({}, {})
    (log,) = scope["logRecords"]
    return log


def text(value: str) -> dict[str, str]:
    return {"stringValue": value}


def pair(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


@pytest.mark.parametrize(
    ("record", "properties", "body", "attributes"),
    [
        ({"message": "m", "a": "b"}, {}, text("m"), []),
        ({"message": "m", "log": "l"}, {}, text("l"), []),
        ({"a": "b"}, {}, {"kvlistValue": {"values": [pair("a", text("b"))]}}, []),
        ({"message": "m"}, {"logs_body_key": "$x"}, {"kvlistValue": {"values": [pair("message", text("m"))]}}, []),
        (
            {"x": {"y": "deep"}, "n": -3, "same": -3, "f": 1.5, "b": True, "z": None, "l": [1, "a"]},
            {"logs_body_key": "$n", "logs_body_key_attributes": True},
            {"intValue": "-3"},
            [
                pair("x", {"kvlistValue": {"values": [pair("y", text("deep"))]}}),
                pair("same", {"intValue": "-3"}),
                pair("f", {"doubleValue": 1.5}),
                pair("b", {"boolValue": True}),
                pair("z", {}),
                pair("l", {"arrayValue": {"values": [{"intValue": "1"}, text("a")]}}),
            ],
        ),
        (
            {"x": {"y": "deep"}},
            {"logs_body_key": "$x['y']", "logs_body_key_attributes": True},
            text("deep"),
            [pair("x", {"kvlistValue": {"values": [pair("y", text("deep"))]}})],
        ),
    ],
)
async def test_the_body_is_what_its_key_has_or_the_whole_record(
    plugins: PluginKit, record: Any, properties: dict[str, Any], body: Any, attributes: list[Any]
) -> None:
    log = await log_of(plugins, record, **properties)
    assert log == {"timeUnixNano": str(NOW), "body": body} | ({"attributes": attributes} if attributes else {})


async def test_what_an_otlp_input_kept_in_the_metadata_is_said_again(plugins: PluginKit) -> None:
    own = {"timestamp": 5, "observed_timestamp": 6, "severity_number": 9, "severity_text": "X", "trace_flags": 1}
    metadata = {"otlp": {**own, "trace_id": TRACE, "span_id": SPAN, "attributes": {"k": "v"}}, "other": 1}
    assert await log_of(plugins, {"log": "m"}, metadata) == {
        "timeUnixNano": "5",
        "observedTimeUnixNano": "6",
        "severityNumber": "SEVERITY_NUMBER_INFO",
        "severityText": "X",
        "flags": 1,
        "traceId": BASE64_TRACE,
        "spanId": BASE64_SPAN,
        "body": text("m"),
        "attributes": [pair("k", text("v"))],
    }


async def test_severity_and_trace_are_found_in_the_record_and_other_metadata_becomes_attributes(
    plugins: PluginKit,
) -> None:
    record = {"log": "m", "TraceId": TRACE, "SpanId": SPAN, "SeverityText": "INFO", "SeverityNumber": 9}
    assert await log_of(plugins, record, {"SeverityText": "ERR", "meta": 1}) == {
        "timeUnixNano": str(NOW),
        "severityNumber": "SEVERITY_NUMBER_INFO",
        "severityText": "ERR",
        "traceId": BASE64_TRACE,
        "spanId": BASE64_SPAN,
        "body": text("m"),
        "attributes": [pair("SeverityText", text("ERR")), pair("meta", {"intValue": "1"})],
    }


async def test_fields_that_are_not_what_they_should_be_are_left_out(plugins: PluginKit) -> None:
    bad = {"timestamp": "x", "observed_timestamp": -1, "severity_number": 99, "severity_text": 5, "trace_flags": True}
    log = await log_of(plugins, {"log": "m"}, {"otlp": {**bad, "trace_id": "xyz", "span_id": TRACE, "attributes": 1}})
    assert log == {"timeUnixNano": str(NOW), "body": text("m")}


async def test_a_chunk_is_sent_in_requests_of_bounded_size(plugins: PluginKit) -> None:
    batch = Batch("t", [NOW] * 5, [{"log": str(n)} for n in range(5)], None, 9)
    result, requests = await sent(plugins, batch, batch_size=2, logs_uri="otlp", compress="gzip", header="X-A b")
    assert result is Result.OK
    bodies = [
        log.body.string_value
        for _, _, body in requests
        for log in ExportLogsServiceRequest.FromString(gzip.decompress(body)).resource_logs[0].scope_logs[0].log_records
    ]
    assert (len(requests), bodies) == (3, ["0", "1", "2", "3", "4"])
    first, headers, _ = requests[0]
    assert first == "POST /otlp HTTP/1.1"
    assert (headers["Content-Type"], headers["Content-Encoding"], headers["X-A"]) == (
        "application/x-protobuf",
        "gzip",
        "b",
    )


@pytest.mark.parametrize(
    ("status", "result"), [(200, Result.OK), (400, Result.ERROR), (429, Result.RETRY), (503, Result.RETRY)]
)
async def test_the_first_status_that_is_no_success_decides(plugins: PluginKit, status: int, result: Result) -> None:
    batch = Batch("t", [NOW] * 2, [{"a": 1}, {"a": 2}], None, 9)
    answer = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()
    found, requests = await sent(plugins, batch, OK, answer, OK, batch_size=1)
    assert (found, len(requests)) == (result, 2)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_every_value_of_a_record_has_its_message(value: Any) -> None:
    message = any_value(value)
    assert type(message).FromString(message.SerializeToString()).WhichOneof("value") == message.WhichOneof("value")
    assert (message.WhichOneof("value") is None) == (value is None)


@pytest.mark.parametrize(
    ("properties", "why"), [({"batch_size": 0}, "'batch_size'"), ({"logs_body_key": "$a["}, "'logs_body_key'")]
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidProperty, match=why):
        plugins.make(outputs, "opentelemetry", **properties)


def test_a_missing_extra_is_one_sentence_that_names_it(plugins: PluginKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "agent.engine.otlp", raising=False)
    monkeypatch.delattr("agent.engine.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.proto.collector.logs.v1.logs_service_pb2", None)
    with pytest.raises(InvalidProperty, match=r"install 'headrace\[otlp\]'"):
        plugins.make(outputs, "opentelemetry")
