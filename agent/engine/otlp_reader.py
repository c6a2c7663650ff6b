"""A request of OTLP, in protobuf or JSON, as log records (pure). Needs the extra `otlp`; imported where it is used.

The body becomes the record where it is a map, else the value of one key. Times, severity, trace and attributes are
kept in the metadata under `otlp`, as Fluent Bit keeps them, and beside it the record's `resource` and `scope`, where
they say anything. Ids are hexadecimal text, bytes are base64 text.
"""

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from agent.engine.record import Record

_NAMES = {"traceId": "trace_id", "spanId": "span_id"}


def read_protobuf(data: bytes) -> ExportLogsServiceRequest:
    """Raises ValueError."""
    try:
        return ExportLogsServiceRequest.FromString(data)
    except DecodeError as error:
        raise ValueError(f"the body is no request of OTLP: {error}") from None


def read_json(data: bytes) -> ExportLogsServiceRequest:
    """The same of OTLP's JSON, in which ids are hexadecimal and not base64. Raises ValueError."""
    document = orjson.loads(data)
    try:
        for log in _logs_in(document):
            for pair in _NAMES.items():
                for name in pair:
                    if log.get(name):
                        log[name] = base64.b64encode(bytes.fromhex(log[name])).decode()
        return ParseDict(document, ExportLogsServiceRequest(), ignore_unknown_fields=True)
    except (ParseError, TypeError, AttributeError) as error:
        raise ValueError(f"the body is no request of OTLP: {error}") from None


def _logs_in(document: Any) -> Iterator[Any]:
    for resource in _each(document, "resourceLogs", "resource_logs"):
        for scope in _each(resource, "scopeLogs", "scope_logs"):
            yield from _each(scope, "logRecords", "log_records")


def _each(value: Any, *names: str) -> Iterable[Any]:
    return next((found for name in names if (found := value.get(name))), ())


def records_of(
    request: ExportLogsServiceRequest, *, now: int, body_key: str | None, metadata_key: str
) -> Iterator[tuple[int, Record, Record]]:
    """Time, record and metadata of each log record; a time that it does not say is when it was observed, or `now`."""
    for resource in request.resource_logs:
        about: Record = {}
        if attributes := _map(resource.resource.attributes):
            about["resource"] = {"attributes": attributes} | _said("schema_url", resource.schema_url)
        for scope in resource.scope_logs:
            whose = dict(about)
            if said := _scope(scope.scope) | _said("schema_url", scope.schema_url):
                whose["scope"] = said
            for log in scope.log_records:
                when = log.time_unix_nano or log.observed_time_unix_nano or now
                yield when, _record(log, body_key), {metadata_key: _own(log)} | whose


def _record(log: LogRecord, body_key: str | None) -> Record:
    body = value_of(log.body)
    if body_key is None and isinstance(body, dict):
        return body
    return {body_key or "log": body}


def _own(log: LogRecord) -> Record:
    own = _said("observed_timestamp", log.observed_time_unix_nano) | _said("timestamp", log.time_unix_nano)
    own |= _said("severity_number", int(log.severity_number)) | _said("severity_text", log.severity_text)
    own |= _said("attributes", _map(log.attributes))
    own |= _said("trace_id", log.trace_id.hex()) | _said("span_id", log.span_id.hex())
    return own | {"trace_flags": log.flags}


def _scope(scope: InstrumentationScope) -> Record:
    said = _said("name", scope.name) | _said("version", scope.version)
    return said | _said("attributes", _map(scope.attributes))


def _said(name: str, value: Any) -> Record:
    return {name: value} if value else {}


def _map(pairs: Iterable[KeyValue]) -> Record:
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    """A value as a record can hold it."""
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [value_of(item) for item in value.array_value.values]
        case "kvlist_value":
            return _map(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case kind:
            return getattr(value, kind)
