"""Log records as a request of OTLP, in protobuf, and what requests of every signal have in common (pure). Needs the
extra `otlp`; imported where a plugin is used.

The body of a record is what its body key has, else all of it; what its metadata says under `otlp` (times, severity,
trace, attributes), as the OTLP input keeps it, is said again, with its `resource` and `scope`. Other metadata becomes
attributes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ScopeLogs

from agent.engine.accessor import MISSING, Accessor
from agent.engine.record import Batch, Record

_INT64 = range(-(1 << 63), 1 << 63)
_FIXED64 = range(1 << 64)
_FIXED32 = range(1 << 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShape:
    """Where the parts of a log record are.

    `bodies` are tried in order, each with the key that is then no attribute; `rest_as_attributes` keeps the others.
    """

    bodies: Sequence[tuple[Accessor, str | None]]
    rest_as_attributes: bool
    metadata_key: str


def logs_request(batch: Batch, start: int, end: int, shape: LogShape) -> bytes:
    """The records from `start` to before `end`; those that follow each other share their resource and scope."""
    request = ExportLogsServiceRequest()
    group: tuple[object, object] | None = None
    for at in range(start, end):
        metadata = batch.metadata[at] if batch.metadata is not None else {}
        whose = (metadata.get("resource"), metadata.get("scope")) if shape.metadata_key in metadata else (None, None)
        if group != whose:
            group, logs = whose, _group(request, *whose)
        _fill(logs.log_records.add(), batch.times[at], batch.records[at], metadata, shape)
    return request.SerializeToString()


def _group(request: ExportLogsServiceRequest, resource: object, scope: object) -> ScopeLogs:
    """A place for log records of that resource and scope, as the OTLP input keeps them."""
    made = request.resource_logs.add()
    logs = made.scope_logs.add()
    fill_resource(made, resource)
    fill_scope(logs, scope)
    return logs


def fill_resource(message: Any, resource: object) -> None:
    """Say in a message such as `ResourceLogs` what metadata says of the resource; it is there, whatever that is."""
    message.resource.SetInParent()
    if isinstance(resource, dict):
        message.schema_url = _text(resource.get("schema_url"))
        _fill_attributes(message.resource, resource)


def fill_scope(message: Any, scope: object) -> None:
    """The same of the scope, in a message such as `ScopeLogs`."""
    message.scope.SetInParent()
    if isinstance(scope, dict):
        message.schema_url = _text(scope.get("schema_url"))
        message.scope.name, message.scope.version = _text(scope.get("name")), _text(scope.get("version"))
        _fill_attributes(message.scope, scope)


def _fill_attributes(message: Any, owner: Record) -> None:
    message.attributes.extend(pairs(_map(owner.get("attributes"))))
    message.dropped_attributes_count = whole(owner.get("dropped_attributes_count"), _FIXED32)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _map(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _fill(log: LogRecord, when: int, record: Record, metadata: Record, shape: LogShape) -> None:
    own = metadata.get(shape.metadata_key)
    if isinstance(own, dict):
        names = ("timestamp", "observed_timestamp", "severity_text", "severity_number", "trace_id", "span_id")
        said = {name: own[name] for name in names if name in own}
        flags, attributes = own.get("trace_flags"), own.get("attributes")
    else:
        names = ("Timestamp", "ObservedTimestamp", "SeverityText", "SeverityNumber", "TraceId", "SpanId")
        keys = ("timestamp", "observed_timestamp", "severity_text", "severity_number", "trace_id", "span_id")
        said = {key: metadata[name] for key, name in zip(keys, names, strict=True) if name in metadata}
        for key, name in zip(keys[2:], names[2:], strict=True):
            if name in record:
                said.setdefault(key, record[name])
        flags, attributes = metadata.get("TraceFlags"), metadata
    log.time_unix_nano = whole(said.get("timestamp"), _FIXED64) or max(0, when)
    log.observed_time_unix_nano = whole(said.get("observed_timestamp"), _FIXED64)
    log.severity_number = whole(said.get("severity_number"), range(25))  # type: ignore[assignment]  # an enum's number
    log.flags = whole(flags, _FIXED32)
    if isinstance(text := said.get("severity_text"), str):
        log.severity_text = text
    log.trace_id, log.span_id = identity(said.get("trace_id"), 16), identity(said.get("span_id"), 8)
    if isinstance(attributes, dict):
        log.attributes.extend(pairs(attributes))
    for find, taken in shape.bodies:
        if (body := find(record)) is not MISSING:
            log.body.CopyFrom(any_value(body))
            if shape.rest_as_attributes:
                log.attributes.extend(pairs({key: value for key, value in record.items() if key != taken}))
            return
    log.body.CopyFrom(any_value(record))


def any_value(value: Any) -> AnyValue:
    """A value of a record; null is an empty one, and a whole number of more than 64 bits its text."""
    made = AnyValue()
    match value:
        case bool():
            made.bool_value = value
        case int():
            if value in _INT64:
                made.int_value = value
            else:
                made.string_value = str(value)
        case float():
            made.double_value = value
        case str():
            made.string_value = value.encode("utf-8", "replace").decode()
        case dict():
            made.kvlist_value.SetInParent()
            made.kvlist_value.values.extend(pairs(value))
        case list():
            made.array_value.SetInParent()
            made.array_value.values.extend(map(any_value, value))
    return made


def pairs(record: Record) -> list[KeyValue]:
    """A map as attributes."""
    return [KeyValue(key=str(key).encode("utf-8", "replace").decode(), value=any_value(record[key])) for key in record]


def whole(value: object, within: range) -> int:
    """The value where it is a whole number in that range, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in within else 0


def identity(value: object, size: int) -> bytes:
    """An id of that many bytes from its hexadecimal digits; none where they are not."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        return b""
    return found if len(found) == size else b""
