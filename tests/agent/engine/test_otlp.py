"""Traces and metrics over OTLP, against what a real Fluent Bit 5.1.1 sent on, printed and showed for a request."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agent.engine.encode import metrics_text
from agent.engine.otlp_points import points_request
from agent.engine.otlp_reader import read_request
from agent.engine.otlp_spans import read_spans, spans_request
from agent.engine.points import point, snapshot
from agent.engine.points_document import points_documents
from agent.engine.record import Batch
from agent.engine.span_text import spans_text
from agent.engine.spans import as_document
from tests.agent.engine.golden.requests import golden, metrics, traces
from tests.agent.engine.inputs.test_http import post
from tests.agent.engine.outputs.test_http import serving
from tests.agent.engine.outputs.test_vivo_exporter import get
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import Program, eventually
from tests.servers import free_port, is_listening


def test_spans_are_sent_on_printed_and_shown_as_fluent_bit_does() -> None:
    batch = traces(golden("traces.json"), is_json=True)
    assert spans_text(batch) == golden("traces.printed")
    assert as_document(batch) == json.loads(golden("traces.page"))
    batch.records[0]["dropped_links_count"] = 0  # which Fluent Bit does not send on
    assert spans_request(batch).hex() == golden("traces.sent").decode().strip()


def test_metrics_are_sent_on_as_fluent_bit_sends_them() -> None:
    batch = metrics(golden("metrics.json"), is_json=True)
    assert points_request(batch, {}).hex() == golden("metrics.sent").decode().strip()


def test_metrics_are_shown_as_fluent_bit_shows_them_but_for_hashes_and_the_bits_of_summaries() -> None:
    (shown,) = points_documents(metrics(golden("metrics.json"), is_json=True))
    theirs = json.loads(golden("metrics.page"))
    theirs["meta"]["cmetrics"] = {}
    del theirs["meta"]["external"]["otlp"]
    for metric in theirs["metrics"]:
        for value in metric["values"]:
            del value["hash"]
            if "summary" in value:
                value["summary"] |= {"quantiles": [1.5, 2.0], "sum": 10.5}
    assert shown == theirs


numbers = st.integers(0, 2**32 - 1)
times = st.integers(0, 2**64 - 1)
values = st.none() | st.booleans() | st.integers(-9, 9) | st.text()
attributes = st.dictionaries(st.text(max_size=3), values, max_size=2)


def identity(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(bytes.hex)


spans = st.fixed_dictionaries(
    {
        "trace_id": identity(16),
        "span_id": identity(8),
        "parent_span_id": st.none() | identity(8),
        "trace_state": st.none() | st.text(min_size=1),
        "name": st.text(),
        "kind": st.integers(0, 9),
        "start_time_unix_nano": st.integers(1, 2**64 - 1),
        "end_time_unix_nano": times,
        "attributes": attributes,
        "dropped_attributes_count": numbers,
        "dropped_events_count": numbers,
        "dropped_links_count": numbers,
        "events": st.lists(
            st.fixed_dictionaries(
                {
                    "time_unix_nano": times,
                    "name": st.text(),
                    "attributes": attributes,
                    "dropped_attributes_count": numbers,
                }
            ),
            max_size=2,
        ),
        "links": st.lists(
            st.fixed_dictionaries(
                {
                    "trace_id": identity(16),
                    "span_id": identity(8),
                    "trace_state": st.none() | st.text(min_size=1),
                    "attributes": attributes,
                    "dropped_attributes_count": numbers,
                },
                optional={"flags": st.integers(1, 2**32 - 1)},
            ),
            max_size=2,
        ),
        "schema_url": st.none(),
        "status": st.fixed_dictionaries({"code": st.integers(0, 2), "message": st.none() | st.text(min_size=1)}),
    },
    optional={"flags": st.integers(1, 2**32 - 1)},
)
owners = st.fixed_dictionaries(
    {"attributes": st.dictionaries(st.text(), values, min_size=1, max_size=2)},
    optional={"schema_url": st.text(min_size=1)},
)
about = st.fixed_dictionaries({}, optional={"resource": owners, "scope": owners})


@settings(max_examples=30)
@given(st.lists(st.tuples(spans, about), min_size=1, max_size=4))
def test_spans_that_came_in_go_out_as_they_were(given_spans: list[Any]) -> None:
    records, metadata = (list(column) for column in zip(*given_spans, strict=True))
    batch = Batch("t", [span["start_time_unix_nano"] for span in records], records, metadata, 1, "traces")
    again = traces(spans_request(batch))
    assert (again.times, again.records, again.metadata) == (batch.times, batch.records, batch.metadata)
    assert spans_text(batch).count(b"[span #") == len(records)
    json.dumps(as_document(batch))


def test_points_of_no_otlp_have_totals_and_the_labels_that_are_added() -> None:
    counter = point(("c", "counter", "C.", {"l": "x"}, 2), "s")
    odd = {
        **point(("h", "histogram", "", {}, 0), "s"),
        "buckets": {"1": "NaN", "+Inf": 3},
        "sum": "+Inf",
        "count": "NaN",
    }
    untyped = point(("u", "untyped", "", {}, float("nan")), "s")
    again = metrics(points_request(snapshot("t", 5, [counter, odd, untyped]), {"a": "b", "l": "y"}))
    assert metrics_text(again).decode().splitlines() == [
        '1970-01-01T00:00:00.000000005Z c{a="b",l="x"} = 2',
        '1970-01-01T00:00:00.000000005Z h{a="b",l="y"} = { buckets = { 1=0, +Inf=3 }, sum=+Inf, count=0 }',
        '1970-01-01T00:00:00.000000005Z u{a="b",l="y"} = nan',
    ]
    assert [one["type"] for one in again.records] == ["counter", "histogram", "gauge"]
    assert again.metadata is not None
    assert all("is_int" not in own["otlp"] for own in again.metadata)


def test_what_is_called_as_an_id_in_deeply_nested_json_is_no_way_to_crash() -> None:
    deep = b'{"traceId":"00","x":' + b"[" * 900 + b"]" * 900 + b"}"
    assert list(read_spans(deep, is_json=True, now=1)) == []


PIPELINE = """
service: {{flush: 0.2, grace: 1, log_level: error}}
pipeline:
  inputs: [{{name: opentelemetry, listen: 127.0.0.1, port: {port}}}]
  outputs:
    - {{name: stdout, match: '*'}}
    - {{name: vivo_exporter, match: '*', host: 127.0.0.1, port: {page}}}
    - {{name: opentelemetry, match: '*', host: 127.0.0.1, port: {receiver}}}
"""


@needs_fluent_bit
@pytest.mark.parametrize(
    ("name", "kind"),
    [("traces", ExportTraceServiceRequest), ("metrics", ExportMetricsServiceRequest)],
    ids=["traces", "metrics"],
)
async def test_fluent_bit_sends_and_shows_what_is_kept_here(tmp_path: Path, name: str, kind: Any) -> None:
    port, page = free_port(), free_port()
    body = read_request(kind, golden(f"{name}.json"), is_json=True).SerializeToString()
    async with serving() as server:
        text = PIPELINE.format(port=port, page=page, receiver=server.port)
        (tmp_path / "p.yaml").write_text(text)
        command = [FLUENT_BIT, "-c", tmp_path / "p.yaml"]
        with Program(command, folder=tmp_path, name="fluent-bit") as program:
            await asyncio.to_thread(program.wait_for, lambda: is_listening(port) and is_listening(page))
            status, _, _ = await post(port, body, f"/v1/{name}", "application/x-protobuf")
            assert status == 201
            await eventually(lambda: server.requests, what="a request")

            async def shown() -> str:
                return (await get(page, f"/api/v1/{name}"))[2]

            assert json.loads(await eventually(shown)) == json.loads(golden(f"{name}.page"))
            if name == "traces":
                await eventually(lambda: golden("traces.printed").decode() in program.output, what="the spans")
    (request,) = server.requests
    assert request[2].hex() == golden(f"{name}.sent").decode().strip()
