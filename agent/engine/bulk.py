"""The bulk API of Elasticsearch and OpenSearch: how a chunk is written, and what its answer means for each record.

A chunk is delivered when one of its documents was taken or is there already (409); what the server will never take is
then logged and dropped. It is tried again when the server asks for that for any document (429, 5xx), when it took none,
and whenever the answer is none of a bulk request.
"""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from agent.engine.accessor import accessor
from agent.engine.config import BOOLEAN, INTEGER, STRING, InvalidProperty, included, option
from agent.engine.encode import json_text
from agent.engine.http_client import Response
from agent.engine.plugin import Context, Result
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.template import Template, template
from agent.engine.upstream import (
    AWS_REFUSED,
    REFUSED,
    ConnectionOptions,
    Headers,
    HttpUpstream,
    Upstream,
    check_headers,
    gzipped,
)
from headrace.config import parse_size

Made = TypeVar("Made")

_UNSAFE = re.compile(r'[\x00-\x1f"\\]')
_PREFIX = 128
"""Characters of an index's name that may come from a record."""
_UNLIMITED = 64_000_000


BULK_REFUSED = (*REFUSED, *AWS_REFUSED, "aws_service_name")
"""What Fluent Bit takes for both outputs, and this engine for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """What both outputs take."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 9200, help="the server's port")
    path: str = option(STRING, "", help="path before /_bulk")
    pipeline: str | None = option(STRING, help="ingest pipeline of the server")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    buffer_size: str = option(STRING, "512k", help="longest answer that is read; false for 64 MB")
    index: str = option(STRING, "fluent-bit", help="name of the index; strftime directives are filled in")
    type: str = option(STRING, "_doc", help="type of the documents")
    suppress_type_name: bool = option(BOOLEAN, False, help="leave the type out, as servers since 8 want it")
    logstash_format: bool = option(BOOLEAN, False, help="make the index's name of a prefix and the record's date")
    logstash_prefix: str = option(STRING, "logstash", help="prefix of the index's name")
    logstash_prefix_separator: str = option(STRING, "-", help="between prefix and date")
    logstash_prefix_key: str | None = option(STRING, help="key whose value is the prefix, where there is one")
    logstash_dateformat: str = option(STRING, "%Y.%m.%d", help="date in the index's name")
    current_time_index: bool = option(BOOLEAN, False, help="take the present time in place of the record's")
    time_key: str = option(STRING, "@timestamp", help="key of the time in a document")
    time_key_format: str = option(STRING, "%Y-%m-%dT%H:%M:%S", help="how the time is written, up to the seconds")
    time_key_nanos: bool = option(BOOLEAN, False, help="write nanoseconds in place of milliseconds")
    include_tag_key: bool = option(BOOLEAN, False, help="put the tag into documents")
    tag_key: str = option(STRING, "flb-key", help="key of the tag in a document")
    write_operation: str = option(
        STRING, "create", choices=("create", "index", "update", "upsert"), help="what is done with a document"
    )
    id_key: str | None = option(STRING, help="key whose text is the document's id")
    generate_id: bool = option(BOOLEAN, False, help="make the id of the document's content, so that none is doubled")
    replace_dots: bool = option(BOOLEAN, False, help="write '_' for '.' in keys")
    trace_output: bool = option(BOOLEAN, False, help="print requests to standard output")
    trace_error: bool = option(BOOLEAN, False, help="log answers that have errors, up to 4000 characters")
    connection: ConnectionOptions = included(ConnectionOptions)


class Bulk:
    """Sends chunks to one server."""

    def __init__(
        self, options: BulkOptions, context: Context, *, uri: str, headers: Headers, index: Template | None = None
    ) -> None:
        """`index` gives the name of a record's index in place of the option."""
        check_headers(headers)
        _check_names(options)
        self._options = options
        self._log = context.log
        self._clock = context.clock
        self._escape = context.escape_unicode
        self._server = HttpUpstream(
            Upstream(options.host, options.port, options.connection),
            context.log,
            max_body=_buffer_size(options.buffer_size),
        )
        path = options.path if options.path.startswith("/") or not options.path else f"/{options.path}"
        self._uri = path + uri
        self._headers = [
            self._server.host_header,
            ("Content-Type", "application/x-ndjson"),
            ("User-Agent", "Fluent-Bit"),
            *headers,
        ]
        self._index = index
        self._prefix = _made(template, "logstash_prefix_key", options.logstash_prefix_key)
        self._id = _made(accessor, "id_key", options.id_key)
        self._needs_id = options.write_operation in ("update", "upsert")
        if self._needs_id and self._id is None and not options.generate_id:
            raise InvalidProperty("write_operation", f"{options.write_operation!r} needs id_key or generate_id")

    def open(self) -> None:
        """Raises PluginError."""
        self._server.open()

    def close(self) -> None:
        self._server.close()

    async def write(self, batch: Batch) -> Result:
        body = self._encode(batch)
        if not body:
            return Result.OK
        if self._options.trace_output:
            print(body.decode(), end="", flush=True)
        headers = self._headers
        if self._options.compress:
            body, headers = gzipped(body, headers)
        response = await self._server.send(self._uri, headers, body)
        if response is None:
            return Result.RETRY
        if response.status not in (200, 201):
            self._server.log_refusal(response)
            return Result.RETRY
        return self._judge(response)

    def _encode(self, batch: Batch) -> bytes:
        now = self._clock()
        lines = []
        for when, record in zip(batch.times, batch.records, strict=True):
            at = now if self._options.current_time_index else when
            document = self._document(batch.tag, at, record)
            head: dict[str, str] = {"_index": self._name_of_index(batch.tag, at, now, record)}
            if not self._options.suppress_type_name:
                head["_type"] = self._options.type
            text = json_text(document, escape_unicode=self._escape)
            if (name := self._name_of(record, text)) is not None:
                head["_id"] = name
            elif self._needs_id:
                self._log.warning("a record is dropped: it has no id, and %s needs one", self._options.write_operation)
                continue
            lines += [orjson.dumps({_ACTIONS[self._options.write_operation]: head}), self._wrapped(text)]
        return b"".join([line + b"\n" for line in lines])

    def _document(self, tag: str, when: int, record: Record) -> Record:
        options = self._options
        seconds, rest = divmod(when, NANOSECONDS)
        part = f"{rest:09d}" if options.time_key_nanos else f"{rest // 1_000_000:03d}"
        document: Record = {options.time_key: f"{_date(options.time_key_format, seconds)}.{part}Z"}
        if options.include_tag_key:
            document[options.tag_key] = tag
        document.update(_undotted(record) if options.replace_dots else record)
        return document

    def _name_of_index(self, tag: str, when: int, now: int, record: Record) -> str:
        options = self._options
        if options.logstash_format:
            prefix = self._prefix(tag, record)[:_PREFIX] if self._prefix else ""
            if not prefix or _UNSAFE.search(prefix):
                prefix = options.logstash_prefix
            date = _date(options.logstash_dateformat, when // NANOSECONDS)
            return f"{prefix}{options.logstash_prefix_separator}{date}"
        if self._index is not None:
            name = self._index(tag, record)
            return options.index if _UNSAFE.search(name) else name
        return _date(options.index, now // NANOSECONDS)

    def _name_of(self, record: Record, text: bytes) -> str | None:
        """The document's id."""
        if self._id is not None:
            found = self._id(record)
            if isinstance(found, str) and not _UNSAFE.search(found):
                return found
            self._log.warning("the value of %s is missing, no text, or not fit for an id", self._options.id_key)
        return hashlib.blake2b(text, digest_size=16).hexdigest() if self._options.generate_id else None

    def _wrapped(self, text: bytes) -> bytes:
        match self._options.write_operation:
            case "update":
                return b'{"doc":%s}' % text
            case "upsert":
                return b'{"doc_as_upsert":true,"doc":%s}' % text
            case _:
                return text

    def _judge(self, response: Response) -> Result:
        statuses = _statuses(response.body)
        if statuses is None:
            self._log.error("the answer is none to a bulk request: %s", response.body[:512].decode("utf-8", "replace"))
            return Result.RETRY
        refused = [status for status in statuses if not (200 <= status < 300 or status == 409)]
        if not refused:
            return Result.OK
        if self._options.trace_error:
            self._log.error("error: Output\n%s", response.body[:4000].decode("utf-8", "replace"))
        again = any(status == 429 or status >= 500 for status in refused) or len(refused) == len(statuses)
        self._log.error(
            "%d of %d documents were refused (status %s); %s",
            len(refused),
            len(statuses),
            ", ".join(map(str, sorted(set(refused)))),
            "the chunk is tried again" if again else "these are dropped",
        )
        return Result.RETRY if again else Result.OK


_ACTIONS = {"create": "create", "index": "index", "update": "update", "upsert": "update"}


def _statuses(body: bytes) -> list[int] | None:
    """The status of each document, none when all were taken; None when this is not how a bulk request is answered."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [] if b'"errors":false,"items":[' in body else None  # longer than what is read
    if not isinstance(answer, dict) or not isinstance(answer.get("errors"), bool):
        return None
    if not answer["errors"]:
        return []
    try:
        found = [status["status"] for item in answer["items"] for status in item.values()]
    except (KeyError, TypeError, AttributeError):
        return None
    return found if found and all(type(status) is int for status in found) else None


def _undotted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.replace(".", "_"): _undotted(item) for key, item in value.items()}
    return [_undotted(item) for item in value] if isinstance(value, list) else value


def _date(layout: str, seconds: int) -> str:
    return time.strftime(layout, time.gmtime(seconds)) if "%" in layout else layout


def _check_names(options: BulkOptions) -> None:
    names = ("index", "type", "logstash_prefix", "logstash_prefix_separator", "logstash_dateformat")
    for name in names:
        if _UNSAFE.search(getattr(options, name)):
            raise InvalidProperty(name, "quotes, backslashes and control characters are not allowed")
    for name, text in (("path", options.path), ("pipeline", options.pipeline or "")):
        if re.search(r"[\x00-\x20]", text):
            raise InvalidProperty(name, "spaces and control characters are not allowed")


def _buffer_size(text: str) -> int:
    try:
        return _UNLIMITED if text.lower() == "false" else max(parse_size(text), 4096)
    except ValueError as error:
        raise InvalidProperty("buffer_size", str(error)) from None


def _made(make: Callable[[str], Made], name: str, key: str | None) -> Made | None:
    if key is None:
        return None
    try:
        return make(key if key.startswith("$") else f"${key}")
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
