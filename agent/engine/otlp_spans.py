"""Spans from and to OTLP's requests for traces (pure). Needs the extra `otlp`; imported where a plugin is used.

What is read is written again as it was, but attributes that are bytes, which become base64 text as in logs.
"""

from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from agent.engine.otlp import fill_resource, fill_scope, identity, pairs
from agent.engine.otlp_reader import map_of, read_request, whose_of
from agent.engine.record import Batch, Record
from agent.engine.spans import by_resource

_COUNTS = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")


def read_spans(data: bytes, *, is_json: bool, now: int) -> Iterator[tuple[int, Record, Record]]:
    """Time, span and metadata of each; a time that it does not say is `now`. Raises ValueError."""
    request = read_request(ExportTraceServiceRequest, data, is_json=is_json)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            whose = whose_of(resource, scope)
            for span in scope.spans:
                yield span.start_time_unix_nano or now, _span(span), whose


def _span(span: Span) -> Record:
    record: Record = {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "trace_state": span.trace_state or None,
        "name": span.name,
        "kind": int(span.kind),
        "start_time_unix_nano": span.start_time_unix_nano,
        "end_time_unix_nano": span.end_time_unix_nano,
        "attributes": map_of(span.attributes),
        **{name: getattr(span, name) for name in _COUNTS},
        "events": [
            {
                "time_unix_nano": event.time_unix_nano,
                "name": event.name,
                "attributes": map_of(event.attributes),
                "dropped_attributes_count": event.dropped_attributes_count,
            }
            for event in span.events
        ],
        "links": [_link(link) for link in span.links],
        "schema_url": None,
        "status": {"code": int(span.status.code), "message": span.status.message or None},
    }
    return record | _flags(span)


def _link(link: Span.Link) -> Record:
    record: Record = {
        "trace_id": link.trace_id.hex(),
        "span_id": link.span_id.hex(),
        "trace_state": link.trace_state or None,
        "attributes": map_of(link.attributes),
        "dropped_attributes_count": link.dropped_attributes_count,
    }
    return record | _flags(link)


def _flags(message: Any) -> Record:
    return {"flags": message.flags} if message.flags else {}


def spans_request(batch: Batch) -> bytes:
    """The spans of a batch as one request."""
    request = ExportTraceServiceRequest()
    for resource, scopes in by_resource(batch):
        of_resource = request.resource_spans.add()
        fill_resource(of_resource, resource)
        for scope, spans in scopes:
            of_scope = of_resource.scope_spans.add()
            if scope:
                fill_scope(of_scope, scope)
            for span in spans:
                _fill(of_scope.spans.add(), span)
    return request.SerializeToString()


def _fill(message: Span, span: Record) -> None:
    _fill_common(message, span)
    message.parent_span_id = identity(span["parent_span_id"], 8)
    message.name, message.kind = span["name"], span["kind"]
    message.start_time_unix_nano, message.end_time_unix_nano = span["start_time_unix_nano"], span["end_time_unix_nano"]
    for name in _COUNTS[1:]:
        setattr(message, name, span[name])
    for event in span["events"]:
        made = message.events.add(
            time_unix_nano=event["time_unix_nano"],
            name=event["name"],
            dropped_attributes_count=event["dropped_attributes_count"],
        )
        made.attributes.extend(pairs(event["attributes"]))
    for link in span["links"]:
        _fill_common(message.links.add(), link)
    message.status.SetInParent()
    message.status.code = span["status"]["code"]
    message.status.message = span["status"]["message"] or ""


def _fill_common(message: Any, record: Record) -> None:
    """What spans and links both have."""
    message.trace_id, message.span_id = identity(record["trace_id"], 16), identity(record["span_id"], 8)
    message.trace_state = record["trace_state"] or ""
    message.attributes.extend(pairs(record["attributes"]))
    message.dropped_attributes_count = record["dropped_attributes_count"]
    message.flags = record.get("flags", 0)
