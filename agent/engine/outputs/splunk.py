"""Output `splunk`: posts events to Splunk's HTTP Event Collector, several JSON documents in a row.

200 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is dropped.
"""

from dataclasses import dataclass

from agent.engine.accessor import MISSING, Accessor, accessor
from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, included, option
from agent.engine.encode import json_text
from agent.engine.plugin import Context, Result
from agent.engine.record import NANOSECONDS, Batch, Record
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SplunkConfig:
    """What the splunk output takes."""

    host: str = option(STRING, "127.0.0.1", help="the collector's name or address")
    port: int = option(INTEGER, 8088, help="the collector's port")
    splunk_token: str | None = option(STRING, help="token of the collector")
    http_user: str | None = option(STRING, help="user for basic authentication, in place of the token")
    http_passwd: str | None = option(STRING, help="password for basic authentication")
    channel: str | None = option(STRING, help="channel that the request names")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    splunk_send_raw: bool = option(BOOLEAN, False, help="send records as they are, without time and metadata")
    auto_extract_timestamp: bool = option(BOOLEAN, False, help="leave the time to the collector")
    event_key: str | None = option(STRING, help="$key of the value to send in place of the record")
    event_host: str | None = option(STRING, help="host of an event; $key and $TAG are filled in")
    event_source: str | None = option(STRING, help="source of an event; $key and $TAG are filled in")
    event_sourcetype: str | None = option(STRING, help="sourcetype of an event")
    event_sourcetype_key: str | None = option(STRING, help="$key whose value is the sourcetype, where there is one")
    event_index: str | None = option(STRING, help="index of an event")
    event_index_key: str | None = option(STRING, help="$key whose value is the index, where there is one")
    event_field: tuple[tuple[str, str], ...] = option(
        PAIR, repeated=True, help="name of an indexed field, and $key of its value"
    )
    http_buffer_size: str | None = option(STRING, help="taken; an answer is read up to 64 KiB")
    connection: ConnectionOptions = included(ConnectionOptions)


@outputs.register("splunk", SplunkConfig, refused=(*REFUSED, "http_debug_bad_request"))
class Splunk:
    """Posts events to Splunk."""

    def __init__(self, config: SplunkConfig, context: Context) -> None:
        if config.event_key is not None and not config.event_key.startswith("$"):
            raise InvalidProperty("event_key", "expected a $key")
        self._config = config
        self._escape = context.escape_unicode
        self._server = HttpUpstream(Upstream(config.host, config.port, config.connection), context.log)
        self._event = _template("event_key", config.event_key)
        self._host = _template("event_host", config.event_host)
        self._source = _template("event_source", config.event_source)
        self._sourcetype = _template("event_sourcetype_key", config.event_sourcetype_key)
        self._index = _template("event_index_key", config.event_index_key)
        self._fields = [(name, _accessor(place)) for name, place in config.event_field]
        self._headers = [self._server.host_header, ("User-Agent", "Fluent-Bit"), self._authorization()]
        if config.channel is not None:
            self._headers.append(("X-Splunk-Request-Channel", config.channel))
        check_headers(self._headers[2:])
        self._uri = "/services/collector/event"
        if config.auto_extract_timestamp:
            self._uri += "?auto_extract_timestamp=true"

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        end = b"\n" if self._config.splunk_send_raw else b""
        body = b"".join(
            [
                json_text(self._document(batch.tag, when, record), escape_unicode=self._escape) + end
                for when, record in zip(batch.times, batch.records, strict=True)
            ]
        )
        headers = self._headers
        if self._config.compress:
            body, headers = gzipped(body, headers)
        return await self._server.deliver(self._uri, headers, body, delivered=(200,))

    async def close(self) -> None:
        self._server.close()

    def _document(self, tag: str, when: int, record: Record) -> Record | str:
        event = (self._event(tag, record) if self._event else None) or record
        if self._config.splunk_send_raw:
            return event
        document: Record = {} if self._config.auto_extract_timestamp else {"time": when / NANOSECONDS}
        config = self._config
        for name, place, fallback in (
            ("host", self._host, None),
            ("source", self._source, None),
            ("sourcetype", self._sourcetype, config.event_sourcetype),
            ("index", self._index, config.event_index),
        ):
            value = (place(tag, record) if place else None) or fallback
            if value is not None and value != "":
                document[name] = value
        if self._fields:
            found = ((name, value_of(record)) for name, value_of in self._fields)
            document["fields"] = {
                name: value for name, value in found if value is not MISSING and not isinstance(value, list)
            }
        document["event"] = event
        return document

    def _authorization(self) -> tuple[str, str]:
        config = self._config
        if config.http_user is not None:
            if config.http_passwd is None:
                raise InvalidProperty("http_user", "needs http_passwd; Fluent Bit sends neither without it")
            return basic_auth(config.http_user, config.http_passwd)
        if config.splunk_token is None:
            raise InvalidProperty("splunk_token", "is missing; give it, or http_user and http_passwd")
        return "Authorization", f"Splunk {config.splunk_token}"


def _template(name: str, text: str | None) -> Template | None:
    if text is None:
        return None
    try:
        return template(text)
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None


def _accessor(text: str) -> Accessor:
    try:
        return accessor(text)
    except ValueError as error:
        raise InvalidProperty("event_field", str(error)) from None
