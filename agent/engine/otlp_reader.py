"""Requests of OTLP, in protobuf or JSON, and those of logs as records (pure). Needs the extra `otlp`; imported where it
is used.

The body becomes the record where it is a map, else the value of one key. Times, severity, trace and attributes are
kept in the metadata under `otlp`, as Fluent Bit keeps them, and beside it the record's `resource` and `scope`, where
they say anything; so have spans and metrics. Ids are hexadecimal text, bytes are base64 text.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from agent.engine.record import Record

_IDS = ("traceId", "trace_id", "spanId", "span_id", "parentSpanId", "parent_span_id")

AnyRequest = TypeVar("AnyRequest", bound=Message)


def read_request(kind: type[AnyRequest], data: bytes, *, is_json: bool) -> AnyRequest:
    """The request in a body, in protobuf or in OTLP's JSON, in which ids are hexadecimal. Raises ValueError."""
    try:
        if not is_json:
            return kind.FromString(data)
        document = orjson.loads(data)
        _ids_to_base64(document)
        return ParseDict(document, kind(), ignore_unknown_fields=True)
    except (DecodeError, ParseError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no request of OTLP: {error}") from None


def _ids_to_base64(document: Any) -> None:
    """Names of attributes are values in OTLP's JSON, so what is called as an id is one."""
    left = [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            for name in _IDS:
                if value.get(name):
                    value[name] = base64.b64encode(bytes.fromhex(value[name])).decode()
            left += value.values()
        elif isinstance(value, list):
            left += value


def read_logs(
    data: bytes, *, is_json: bool, now: int, body_key: str | None, metadata_key: str
) -> Iterator[tuple[int, Record, Record]]:
    """Time, record and metadata of each log record; a time that it does not say is when it was observed, or `now`.

    Raises ValueError.
    """
    request = read_request(ExportLogsServiceRequest, data, is_json=is_json)
    for resource in request.resource_logs:
        for scope in resource.scope_logs:
            whose = whose_of(resource, scope)
            for log in scope.log_records:
                when = log.time_unix_nano or log.observed_time_unix_nano or now
                yield when, _record(log, body_key), {metadata_key: _own(log)} | whose


def whose_of(resource: Any, scope: Any) -> Record:
    """What metadata says of the resource and the scope that a log record, a span or a metric is under.

    The arguments are OTLP's messages of what is of one resource (`ResourceLogs`), and of one scope (`ScopeLogs`).
    """
    of_resource = _attributes(resource.resource) | _said("schema_url", resource.schema_url)
    named = _said("name", scope.scope.name) | _said("version", scope.scope.version)
    of_scope = named | _attributes(scope.scope) | _said("schema_url", scope.schema_url)
    return _said("resource", of_resource) | _said("scope", of_scope)


def _attributes(owner: Any) -> Record:
    said = _said("attributes", map_of(owner.attributes))
    return said | _said("dropped_attributes_count", owner.dropped_attributes_count)


def _record(log: LogRecord, body_key: str | None) -> Record:
    body = value_of(log.body)
    if body_key is None and isinstance(body, dict):
        return body
    return {body_key or "log": body}


def _own(log: LogRecord) -> Record:
    own = _said("observed_timestamp", log.observed_time_unix_nano) | _said("timestamp", log.time_unix_nano)
    own |= _said("severity_number", int(log.severity_number)) | _said("severity_text", log.severity_text)
    own |= _said("attributes", map_of(log.attributes))
    own |= _said("trace_id", log.trace_id.hex()) | _said("span_id", log.span_id.hex())
    return own | {"trace_flags": log.flags}


def _said(name: str, value: Any) -> Record:
    return {name: value} if value else {}


def map_of(pairs: Iterable[KeyValue]) -> Record:
    """Attributes as a map."""
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    """A value as a record can hold it."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return map_of(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case kind:
            return getattr(value, kind)
