"""Output `loki`: pushes log lines to Grafana Loki as JSON, one request for each tenant.

200 to 205 is delivered; 400, which Loki answers to lines that it will never take, is a refusal, and the chunk is
dropped; everything else is tried again. A chunk with several tenants is tried again as a whole when one of them asks
for it: Loki drops a line that it has.

Where a label comes from a record, each record is a stream of its own, and its line lacks what became a label.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agent.engine.accessor import Accessor, accessor, parse_path
from agent.engine.config import BOOLEAN, COMMA_LIST, INTEGER, PAIR, SIZE, STRING, InvalidProperty, included, option
from agent.engine.encode import json_text
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch, Record
from agent.engine.registry import outputs
from agent.engine.template import Template, template
from agent.engine.upstream import (
    REFUSED,
    ConnectionOptions,
    HttpUpstream,
    Upstream,
    basic_auth,
    check_headers,
    gzipped,
)
from headrace.config import parse_bool

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LokiConfig:
    """What the loki output takes."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 3100, help="the server's port")
    uri: str = option(STRING, "/loki/api/v1/push", help="path of the request")
    labels: tuple[str, ...] = option(COMMA_LIST, (), help="name=value, name=$key or $key; without any, job=fluent-bit")
    label_keys: tuple[str, ...] = option(COMMA_LIST, (), help="$key of each value that is a label")
    structured_metadata: tuple[str, ...] = option(COMMA_LIST, (), help="like labels, but beside each line")
    structured_metadata_map_keys: tuple[str, ...] = option(COMMA_LIST, (), help="$key of maps to put beside each line")
    auto_kubernetes_labels: bool = option(BOOLEAN, False, help="make labels of a pod's labels")
    remove_keys: tuple[str, ...] = option(COMMA_LIST, (), help="keys that a line lacks")
    line_format: str = option(STRING, "json", choices=("json", "key_value"), help="how a record is written")
    drop_single_key: str = option(
        STRING, "off", help="write the value alone where a record has one key: on, off or raw"
    )
    tenant_id: str | None = option(STRING, help="tenant to push for")
    tenant_id_key: str | None = option(STRING, help="$key whose text is the tenant, where there is one")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    bearer_token: str | None = option(STRING, help="token for authentication")
    buffer_size: int = option(SIZE, 512_000, help="taken; an answer is read up to 64 KiB")
    connection: ConnectionOptions = included(ConnectionOptions)


@dataclass(frozen=True, slots=True)
class _Label:
    name: str
    value: Template
    path: Path | None
    """Where in a record the value comes from, if it is one value."""
    varies: bool


@outputs.register("loki", LokiConfig, refused=(*REFUSED, "label_map_path", "tenant_id_key_error_handling"))
class Loki:
    """Pushes log lines to Loki."""

    def __init__(self, config: LokiConfig, context: Context) -> None:
        if not config.uri.startswith("/"):
            raise InvalidProperty("uri", "expected a path that starts with '/'")
        self._config = config
        self._escape = context.escape_unicode
        self._log = context.log
        self._server = HttpUpstream(Upstream(config.host, config.port, config.connection), context.log)
        self._labels = [
            *_labels("labels", config.labels),
            *(_key_label("label_keys", key) for key in config.label_keys),
        ]
        self._metadata = _labels("structured_metadata", config.structured_metadata)
        self._maps = [_accessor("structured_metadata_map_keys", text) for text in config.structured_metadata_map_keys]
        self._has_metadata = bool(self._metadata or self._maps)
        varies = any(label.varies for label in (*self._labels, *self._metadata))
        self._is_per_record = varies or config.auto_kubernetes_labels or bool(self._maps)
        self._removed = list(
            dict.fromkeys(
                [label.path for label in (*self._metadata, *self._labels) if label.path]
                + [_path("structured_metadata_map_keys", key) for key in config.structured_metadata_map_keys]
                + [_path("remove_keys", key if key.startswith("$") else f"${key}") for key in config.remove_keys]
            )
        )
        self._drop, self._raw = _drop(config.drop_single_key)
        self._tenant = _accessor("tenant_id_key", config.tenant_id_key) if config.tenant_id_key else None
        self._headers = [
            self._server.host_header,
            ("User-Agent", "Fluent-Bit"),
            ("Content-Type", "application/json"),
            *config.header,
        ]
        if config.http_user is not None:
            self._headers.append(basic_auth(config.http_user, config.http_passwd))
        elif config.bearer_token is not None:
            self._headers.append(("Authorization", f"Bearer {config.bearer_token}"))
        check_headers(self._headers[2:])

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        tenants: dict[str | None, list[int]] = {}
        for at, record in enumerate(batch.records):
            tenants.setdefault(self._tenant_of(record), []).append(at)
        results = {await self._push(batch.keep(indexes), tenant) for tenant, indexes in tenants.items()}
        return next((result for result in (Result.RETRY, Result.ERROR) if result in results), Result.OK)

    async def close(self) -> None:
        self._server.close()

    async def _push(self, batch: Batch, tenant: str | None) -> Result:
        body = json_text({"streams": self._streams(batch)}, escape_unicode=self._escape)
        headers = self._headers
        if tenant is not None:
            headers = [*headers, ("X-Scope-OrgID", tenant.translate({13: None, 10: None}))]
        if self._config.compress:
            body, headers = gzipped(body, headers)
        response = await self._server.send(self._config.uri, headers, body)
        if response is not None and 200 <= response.status <= 205:
            return Result.OK
        if response is not None:
            self._server.log_refusal(response)
        return Result.ERROR if response is not None and response.status == 400 else Result.RETRY

    def _tenant_of(self, record: Record) -> str | None:
        found = self._tenant(record) if self._tenant else None
        if self._tenant and not isinstance(found, str):
            self._log.warning("the value of %s is missing, or no text", self._config.tenant_id_key)
        return found if isinstance(found, str) else self._config.tenant_id or None

    def _streams(self, batch: Batch) -> list[Record]:
        values = [self._value(batch.tag, when, record) for when, record in zip(batch.times, batch.records, strict=True)]
        if not self._is_per_record:
            return [{"stream": self._stream(batch.tag, {}), "values": values}]
        streams = (self._stream(batch.tag, record) for record in batch.records)
        return [{"stream": stream, "values": [value]} for stream, value in zip(streams, values, strict=True)]

    def _stream(self, tag: str, record: Record) -> Record:
        stream = _filled(self._labels, tag, record)
        if self._config.auto_kubernetes_labels:
            pod = record.get("kubernetes")
            labels = pod.get("labels") if isinstance(pod, dict) else None
            if isinstance(labels, dict):
                stream |= {_sanitized(name): value for name, value in labels.items() if isinstance(value, str)}
        return stream or {"job": "fluent-bit"}

    def _value(self, tag: str, when: int, record: Record) -> list[Any]:
        value: list[Any] = [str(when), self._line(record)]
        if self._has_metadata:
            beside: Record = {}
            for found in (value_of(record) for value_of in self._maps):
                for name, item in found.items() if isinstance(found, dict) else ():
                    beside[_sanitized(name)] = item if isinstance(item, str) else self._json(item)
            value.append(beside | _filled(self._metadata, tag, record))
        return value

    def _line(self, record: Record) -> str:
        for path in self._removed:
            is_inner = isinstance(record.get(str(path[0])), dict | list)
            record = _without(record, path if is_inner else path[:1])  # a plain value goes, as Fluent Bit has it
        if self._drop and len(record) == 1:
            (value,) = record.values()
            if self._config.line_format == "key_value":
                return value if isinstance(value, str) else _logfmt(value)
            return value if self._raw and isinstance(value, str) else self._json(value)
        if self._config.line_format == "key_value":
            return " ".join([f"{key}={_logfmt(value)}" for key, value in record.items()])
        return self._json(record)

    def _json(self, value: Any) -> str:
        return json_text(value, escape_unicode=self._escape).decode()


def _labels(name: str, items: Iterable[str]) -> list[_Label]:
    """From `name=value`, `name=$key` and `$key`."""
    return [_key_label(name, item) if item.startswith("$") else _named_label(name, item) for item in items]


def _named_label(name: str, item: str) -> _Label:
    key, sign, value = item.partition("=")
    if not sign or not value:
        raise InvalidProperty(name, f"{item!r}: expected name=value, name=$key or $key")
    if not value.startswith("$"):
        return _Label(key, lambda _tag, _record: value, None, False)
    try:
        path = None if value.startswith("$TAG") else parse_path(value)
    except ValueError:
        path = None  # a text with places, which _template judges
    return _Label(key, _template(name, value), path, True)


def _key_label(name: str, item: str) -> _Label:
    path = _path(name, item)
    return _Label(_sanitized("_".join(map(str, path))), _template(name, item), path, True)


def _filled(labels: Iterable[_Label], tag: str, record: Record) -> Record:
    return {label.name: value for label in labels if (value := label.value(tag, record))}


def _sanitized(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{name}" if name[:1].isdigit() else name


def _without(record: Record, path: Path) -> Record:
    """The record without what is at the path; the one that is given stays as it is."""
    head, rest = path[0], path[1:]
    if head not in record:
        return record
    if not rest:
        return {key: value for key, value in record.items() if key != head}
    inner = record[str(head)]
    return {**record, str(head): _without(inner, rest)} if isinstance(inner, dict) else record


def _logfmt(value: Any) -> str:
    """A value in Loki's own notation, which escapes nothing."""
    match value:
        case str():
            return f'"{value}"'
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.1f}" if value.is_integer() else f"{value:.16g}"
        case list():
            return f'"[{" ".join(map(_logfmt, value))}]"'
        case dict():
            return f'"map[{" ".join([f"{key}:{_logfmt(item)}" for key, item in value.items()])}]"'
        case _:
            return str(value)


def _drop(text: str) -> tuple[bool, bool]:
    if text.lower() == "raw":
        return True, True
    try:
        return parse_bool(text), False
    except ValueError:
        raise InvalidProperty("drop_single_key", f"{text!r}: expected on, off or raw") from None


def _path(name: str, text: str) -> Path:
    try:
        path = parse_path(text)
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
    if "." in path[0] or path[0] == "TAG":
        raise InvalidProperty(name, f"{text!r} is no key; write a key that has a dot as $key['a.b']")
    return path


def _accessor(name: str, text: str) -> Accessor:
    _path(name, text)
    return accessor(text)


def _template(name: str, text: str) -> Template:
    try:
        return template(text)
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
