"""Output `influxdb`: writes records as points, by the line protocol, to InfluxDB 1.x or (with `bucket`) 2.x.

200 and 204 are delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped. Fluent Bit takes every answer for a delivery.

The measurement is the tag. Strings are written the way Fluent Bit writes them: escaped as in JSON first, so that what
is stored has `\\n` and `\\"` spelled out.
"""

import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, included, option
from agent.engine.encode import json_text
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch, Record
from agent.engine.registry import outputs
from agent.engine.upstream import (
    REFUSED,
    ConnectionOptions,
    HttpUpstream,
    Upstream,
    basic_auth,
    check_headers,
)

_SEQUENCE_END = 100_000
_SPECIAL = re.compile(r"[\s,=\\]")
_QUOTED = re.compile(r'["\\]')
_MEASUREMENT = re.compile(r"[\s,\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class InfluxdbConfig:
    """What the influxdb output takes."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 8086, help="the server's port")
    database: str = option(STRING, "fluentbit", help="database of InfluxDB 1.x")
    bucket: str | None = option(STRING, help="bucket of InfluxDB 2.x, in place of the database")
    org: str = option(STRING, "fluent", help="organisation that has the bucket")
    uri: str | None = option(STRING, help="path and query of the request, in place of those made of the above")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    http_token: str | None = option(STRING, help="token of InfluxDB 2.x")
    http_header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    sequence_tag: str = option(
        STRING, "_seq", help="tag that counts records, so that none replaces another one; or off"
    )
    tag_keys: str = option(STRING, "", help="keys, between spaces, whose values are tags")
    auto_tags: bool = option(BOOLEAN, False, help="make tags of all values that are strings")
    add_integer_suffix: bool = option(BOOLEAN, False, help="write whole numbers as integers")
    connection: ConnectionOptions = included(ConnectionOptions)


@outputs.register("influxdb", InfluxdbConfig, refused=REFUSED)
class Influxdb:
    """Writes records to InfluxDB."""

    def __init__(self, config: InfluxdbConfig, context: Context) -> None:
        if config.uri is not None and not re.fullmatch(r"/[\x21-\x7e]*", config.uri):
            raise InvalidProperty("uri", "expected a path that starts with '/', without spaces")
        check_headers(config.http_header)
        self._config = config
        self._log = context.log
        self._escape = context.escape_unicode
        self._server = HttpUpstream(Upstream(config.host, config.port, config.connection), context.log)
        self._uri = config.uri or self._default_uri()
        self._headers = [self._server.host_header, ("User-Agent", "Fluent-Bit")]
        if config.http_token is not None:
            self._headers.append(("Authorization", f"Token {config.http_token}"))
        elif config.http_user is not None:
            self._headers.append(basic_auth(config.http_user, config.http_passwd))
        check_headers(self._headers[2:])
        self._headers += config.http_header
        self._tag_keys = frozenset(config.tag_keys.split())
        self._sequence_tag = "" if config.sequence_tag == "off" else _escaped(_SPECIAL, config.sequence_tag)
        self._sequence = 0
        self._last = self._given = 0

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        measurement = _escaped(_MEASUREMENT, batch.tag)
        lines = []
        for when, record in zip(batch.times, batch.records, strict=True):
            tags, fields = self._parts(record)
            number = self._next_number()
            if not fields:
                self._log.warning("a record is left out: it has no value that is no tag")
                continue
            counted = [f"{self._sequence_tag}={number}"] if self._sequence_tag else []
            lines.append(f"{','.join([measurement, *counted, *tags])} {','.join(fields)} {self._time_of(when)}")
        if not lines:
            return Result.OK
        return await self._server.deliver(
            self._uri, self._headers, "\n".join(lines).encode("utf-8", "replace"), delivered=(200, 204)
        )

    async def close(self) -> None:
        self._server.close()

    def _default_uri(self) -> str:
        config = self._config
        if config.bucket is None:
            return f"/write?db={quote(config.database, safe='')}&precision=n"
        return f"/api/v2/write?org={quote(config.org, safe='')}&bucket={quote(config.bucket, safe='')}&precision=ns"

    def _parts(self, record: Record) -> tuple[list[str], list[str]]:
        """Tags and fields of a point. A list, a map, null and what is no number are in neither, nor is an empty tag."""
        tags, fields = [], []
        for key, value in record.items():
            is_text = isinstance(value, str)
            written = self._string(value) if is_text else self._number(value)
            if written is None:
                continue
            name = _escaped(_SPECIAL, key)
            if key in self._tag_keys or (is_text and self._config.auto_tags):
                if written:
                    tags.append(f"{name}={_escaped(_SPECIAL, written)}")
            elif is_text:
                fields.append(f'{name}="{_escaped(_QUOTED, written)}"')
            else:
                fields.append(f"{name}={written}")
        return tags, fields

    def _string(self, value: str) -> str:
        return json_text(value, escape_unicode=self._escape).decode()[1:-1]

    def _number(self, value: Any) -> str | None:
        match value:
            case bool():
                return "TRUE" if value else "FALSE"
            case int():
                return f"{value}i" if self._config.add_integer_suffix else str(value)
            case float() if math.isfinite(value):
                return f"{value:f}"
            case _:
                return None

    def _next_number(self) -> int:
        number = self._sequence
        self._sequence = (number + 1) % _SEQUENCE_END
        return number

    def _time_of(self, when: int) -> int:
        """The record's time, a nanosecond later than the one before where both are the same."""
        self._given = self._given + 1 if when in (self._last, self._given) else when
        self._last = when
        return self._given


def _escaped(special: re.Pattern[str], text: str) -> str:
    """A backslash before each special character; a line stays one line."""
    return special.sub(r"\\\g<0>", text.replace("\n", " "))
