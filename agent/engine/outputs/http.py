"""Output `http`: posts chunks to a web server, over one kept connection per worker, on asyncio streams.

2xx up to 205 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped.
"""

from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, TIME, included, option
from agent.engine.encode import DATE_FORMATS, JSON_FORMATS, JsonFormat
from agent.engine.msgpack import encode_batch
from agent.engine.plugin import Context, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from agent.engine.upstream import (
    REFUSED,
    ConnectionOptions,
    Headers,
    HttpUpstream,
    Upstream,
    basic_auth,
    check_headers,
    gzipped,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """What the http output takes. Times are seconds."""

    host: str = option(STRING, "127.0.0.1", help="the server's name or address")
    port: int = option(INTEGER, 80, help="the server's port")
    uri: str = option(STRING, "/", help="path of the request")
    http_method: str = option(STRING, "POST", choices=("POST", "PUT"), help="method of the request")
    format: str = option(STRING, "json", choices=(*JSON_FORMATS, "msgpack"), help="how a chunk is written")
    json_date_key: str = option(STRING, "date", help="key for the time; 'false' leaves it out")
    json_date_format: str = option(STRING, "double", choices=DATE_FORMATS, help="how the time is written")
    compress: str | None = option(STRING, choices=("gzip",), help="compression of the body")
    header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header's name and value")
    header_tag: str | None = option(STRING, help="header that gets the tag")
    http_user: str | None = option(STRING, help="user for basic authentication")
    http_passwd: str = option(STRING, "", help="password for basic authentication")
    log_response_payload: bool = option(BOOLEAN, True, help="log what the server answers with an error")
    response_timeout: float = option(TIME, 60, name="http.response_timeout", help="longest wait for the answer")
    allow_duplicated_headers: bool = option(BOOLEAN, True, help="taken; headers are sent as they are written")
    connection: ConnectionOptions = included(ConnectionOptions)


_REFUSED = (
    *REFUSED,
    "proxy",
    "http.read_idle_timeout",
    "oauth2.enable",
    "oauth2.token_url",
    "oauth2.client_id",
    "oauth2.client_secret",
    "oauth2.user_agent",
    "oauth2.scope",
    "oauth2.audience",
    "oauth2.resource",
    "oauth2.auth_method",
    "oauth2.jwt_key_file",
    "oauth2.jwt_cert_file",
    "oauth2.jwt_aud",
    "oauth2.jwt_header",
    "oauth2.jwt_ttl_seconds",
    "oauth2.refresh_skew_seconds",
    "oauth2.timeout",
    "oauth2.connect_timeout",
    "aws_auth",
    "aws_region",
    "aws_service",
    "aws_sts_endpoint",
    "aws_role_arn",
    "aws_external_id",
    "aws_profile",
    "gelf_timestamp_key",
    "gelf_host_key",
    "gelf_short_message_key",
    "gelf_full_message_key",
    "gelf_level_key",
    "body_key",
    "headers_key",
)
_CONTENT_TYPES = {
    "json": "application/json",
    "json_stream": "application/json",
    "json_lines": "application/x-ndjson",
    "msgpack": "application/msgpack",
}


@outputs.register("http", HttpConfig, refused=_REFUSED)
class Http:
    """Posts records to a web server."""

    def __init__(self, config: HttpConfig, context: Context) -> None:
        check_headers([*config.header, *([(config.header_tag, "")] if config.header_tag else [])])
        self._config = config
        self._server = HttpUpstream(
            Upstream(config.host, config.port, config.connection),
            context.log,
            response_timeout=config.response_timeout,
        )
        self._json = JsonFormat(
            config.format,
            date_key=None if config.json_date_key.lower() == "false" else config.json_date_key,
            date_format=config.json_date_format,
            escape_unicode=context.escape_unicode,
        )
        self._headers = self._fixed_headers()

    async def open(self) -> None:
        self._server.open()

    async def write(self, batch: Batch) -> Result:
        config = self._config
        body = encode_batch(batch) if config.format == "msgpack" else self._json.encode(batch)
        headers = self._headers
        if config.header_tag:
            tag = batch.tag.translate({13: None, 10: None})
            headers = [*headers, (config.header_tag, tag)]
        if config.compress:
            body, headers = gzipped(body, headers)
        uri = config.uri if config.uri.startswith("/") else f"/{config.uri}"
        return await self._server.deliver(
            uri,
            headers,
            body,
            method=config.http_method,
            delivered=range(200, 206),
            log_answer=config.log_response_payload,
        )

    async def close(self) -> None:
        self._server.close()

    def _fixed_headers(self) -> Headers:
        config = self._config
        headers = [
            self._server.host_header,
            ("Content-Type", _CONTENT_TYPES[config.format]),
            ("User-Agent", "Fluent-Bit"),
        ]
        if config.http_user is not None:
            headers.append(basic_auth(config.http_user, config.http_passwd))
        return [*headers, *config.header]
