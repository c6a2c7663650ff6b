"""Spans as Fluent Bit's `stdout` prints them (pure)."""

from collections.abc import Iterator
from typing import Any

from agent.engine.record import Batch, Record
from agent.engine.spans import by_resource, shown_scope

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_SPAN, _PART, _DETAIL = " " * 13, " " * 17, " " * 21
"""How far a span, a part of it, and what is said of that are indented."""


def spans_text(batch: Batch) -> bytes:
    """All spans of a batch, by resource and scope."""
    return "".join(_pieces(batch)).encode("utf-8", "replace")


def _pieces(batch: Batch) -> Iterator[str]:
    for resource, scopes in by_resource(batch):
        yield "|-------------------- RESOURCE SPAN --------------------|\n"
        yield f"  resource:\n     - attributes:{_map(resource.get('attributes', {}), 8)}"
        yield f"     - dropped_attributes_count: {resource.get('dropped_attributes_count', 0)}\n"
        yield f"     - schema_url: {resource.get('schema_url', '')}\n"
        for scope, spans in scopes:
            yield "  [scope_span]\n"
            if (shown := shown_scope(scope)) is not None:
                yield "    instrumentation scope:\n"
                yield f"        - name                    : {shown['name']}\n"
                yield f"        - version                 : {shown['version']}\n"
                yield f"        - dropped_attributes_count: {shown['dropped_attributes_count']}\n"
                yield f"        - attributes:{_map(shown['attributes'], 8)}"
            yield f"    schema_url: {scope.get('schema_url', '')}\n    [spans]\n"
            for number, span in enumerate(spans):
                yield from _span(number, span)


def _span(number: int, span: Record) -> Iterator[str]:
    kind, status = span["kind"], span["status"]
    yield f"         [span #{number} '{span['name']}']\n"
    for name in ("trace_id", "span_id"):
        yield f"{_SPAN}- {name:<24}: {span[name]}\n"
    yield f"{_SPAN}- parent_span_id          : {span['parent_span_id'] or 'undefined'}\n"
    yield f"{_SPAN}- kind                    : {kind} ({_KINDS[kind] if 0 <= kind < len(_KINDS) else 'unknown'})\n"
    yield f"{_SPAN}- start_time              : {span['start_time_unix_nano']}\n"
    yield f"{_SPAN}- end_time                : {span['end_time_unix_nano']}\n"
    for name in ("dropped_attributes_count", "dropped_events_count", "dropped_links_count"):
        yield f"{_SPAN}- {name:<24}: {span[name]}\n"
    yield f"{_SPAN}- trace_state             : {span['trace_state'] or '(null)'}\n"
    yield f"{_SPAN}- status:\n{_PART}- code    : {status['code']}\n"
    if status["message"]:
        yield f"{_PART}- message : '{status['message']}'\n"
    yield f"{_SPAN}- attributes: " + (_map(span["attributes"], 13) if span["attributes"] else "none\n")
    yield f"{_SPAN}- events: " + ("" if span["events"] else "none\n")
    for event in span["events"]:
        yield f"\n{_PART}- name: {event['name']}\n"
        yield f"{_DETAIL}- timestamp               : {event['time_unix_nano']}\n"
        yield f"{_DETAIL}- dropped_attributes_count: {event['dropped_attributes_count']}\n"
        yield f"{_DETAIL}- attributes:" + (_map(event["attributes"], 21) if event["attributes"] else " none\n")
    yield f"{_SPAN}- [links]\n"
    for link in span["links"]:
        yield f"{_PART}- link:\n"
        yield f"{_DETAIL}- trace_id             : {link['trace_id']}\n"
        yield f"{_DETAIL}- span_id              : {link['span_id']}\n"
        yield f"{_DETAIL}- trace_state          : {link['trace_state'] or '(null)'}\n"
        yield f"{_DETAIL}- dropped_events_count : {link['dropped_attributes_count']}\n"
        yield f"{_DETAIL}- attributes           : {_map(link['attributes'], 21)}"


def _map(values: Record, level: int) -> str:
    at = " " * (level + 4)
    return "\n" + "".join(f"{at}- {key}: {_value(value, level + 4)}\n" for key, value in values.items())


def _value(value: Any, level: int) -> str:
    match value:
        case str():
            return f"'{value}'"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.17g}"
        case dict():
            return _map(value, level)
        case list():
            at = " " * (level + 4)
            items = ",\n".join(at + ("" if isinstance(item, dict) else _value(item, level + 4)) for item in value)
            return f"[\n{items}\n{' ' * level}]"
        case _:
            return "" if value is None else str(value)
