"""What a record of signal `traces` is: one span (pure).

A span is plain data, so that it is buffered, kept on disk and shared as a log record is; its names are those that
Fluent Bit shows:

    {"trace_id": "5b8e…", "span_id": "eee1…", "parent_span_id": None, "trace_state": None, "name": "GET /", "kind": 2,
     "start_time_unix_nano": …, "end_time_unix_nano": …, "attributes": {…}, "dropped_attributes_count": 0,
     "dropped_events_count": 0, "dropped_links_count": 0, "events": […], "links": […], "schema_url": None,
     "status": {"code": 0, "message": None}}

Ids are hexadecimal text. `flags` is there where it says anything, also in a link. The metadata of a span has its
`resource` and its `scope`, where they say anything. The time of the record is the span's start.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import TypeAlias

from agent.engine.record import Batch, Record

Scopes: TypeAlias = list[tuple[Record, list[Record]]]
"""Each scope, which may be empty, with its spans."""


def by_resource(batch: Batch) -> Iterator[tuple[Record, Scopes]]:
    """The spans as OTLP puts them together: those that follow each other share resource and scope."""
    about = batch.metadata if batch.metadata is not None else [{}] * len(batch)
    pairs = zip(about, batch.records, strict=True)
    for resource, of_resource in groupby(pairs, lambda pair: pair[0].get("resource", {})):
        groups = groupby(of_resource, lambda pair: pair[0].get("scope", {}))
        yield resource, [(scope, [span for _, span in of_scope]) for scope, of_scope in groups]


def as_document(batch: Batch) -> Record:
    """The spans as Fluent Bit writes them in JSON."""
    return {"resourceSpans": [_resource_spans(resource, scopes) for resource, scopes in by_resource(batch)]}


def _resource_spans(resource: Record, scopes: Scopes) -> Record:
    shown = [
        {"scope": shown_scope(scope), "spans": spans, "schema_url": scope.get("schema_url", "")}
        for scope, spans in scopes
    ]
    return {
        "resource": _attributes(resource),
        "schema_url": resource.get("schema_url", ""),
        "scope_spans": shown,
    }


def shown_scope(scope: Record) -> Record | None:
    """All that is known of a scope; None where nothing is."""
    if not scope.keys() - {"schema_url"}:
        return None
    return {"name": scope.get("name", ""), "version": scope.get("version", "")} | _attributes(scope)


def _attributes(owner: Record) -> Record:
    return {
        "attributes": owner.get("attributes", {}),
        "dropped_attributes_count": owner.get("dropped_attributes_count", 0),
    }
