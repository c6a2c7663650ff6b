"""Output `http`: posts chunks to a web server, over one kept connection per worker, on asyncio streams.

2xx up to 205 is delivered; 408, 429 and everything outside 4xx is tried again; other 4xx are refusals, and the chunk is
dropped.
"""

import asyncio
import base64
import gzip
import ssl
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, TIME, InvalidProperty, option
from agent.engine.encode import DATE_FORMATS, JSON_FORMATS, JsonFormat
from agent.engine.http_client import Connection, ProtocolError, Response
from agent.engine.msgpack import encode_batch
from agent.engine.plugin import Context, PluginError, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs


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
    connect_timeout: float = option(TIME, 10, name="net.connect_timeout", help="longest wait for the connection")
    keepalive: bool = option(BOOLEAN, True, name="net.keepalive", help="use a connection for more than one request")
    tls: bool = option(BOOLEAN, False, help="use TLS")
    tls_verify: bool = option(BOOLEAN, True, name="tls.verify", help="check the server's certificate")
    tls_verify_hostname: bool = option(BOOLEAN, True, name="tls.verify_hostname", help="check the server's name in it")
    tls_vhost: str | None = option(STRING, name="tls.vhost", help="name to ask the server for")
    tls_ca_file: str | None = option(STRING, name="tls.ca_file", help="file with certificates to trust")
    tls_ca_path: str | None = option(STRING, name="tls.ca_path", help="folder with certificates to trust")
    tls_crt_file: str | None = option(STRING, name="tls.crt_file", help="own certificate")
    tls_key_file: str | None = option(STRING, name="tls.key_file", help="own key")
    tls_key_passwd: str | None = option(STRING, name="tls.key_passwd", help="password of the own key")
    allow_duplicated_headers: bool = option(BOOLEAN, True, help="taken; headers are sent as they are written")


REFUSED = (
    "proxy",
    "http.read_idle_timeout",
    "oauth2.enable",
    "oauth2.token_url",
    "aws_auth",
    "aws_region",
    "aws_service",
    "gelf_timestamp_key",
    "gelf_host_key",
    "gelf_short_message_key",
    "gelf_full_message_key",
    "gelf_level_key",
    "body_key",
    "headers_key",
    "ipv6",
    "tls.debug",
    "tls.min_version",
    "tls.max_version",
    "tls.ciphers",
    "net.io_timeout",
    "net.dns.mode",
    "net.dns.resolver",
    "net.dns.prefer_ipv4",
    "net.dns.prefer_ipv6",
    "net.keepalive_idle_timeout",
    "net.keepalive_max_recycle",
    "net.max_worker_connections",
    "net.source_address",
    "net.proxy_env_ignore",
    "net.tcp_keepalive",
)
_CONTENT_TYPES = {
    "json": "application/json",
    "json_stream": "application/json",
    "json_lines": "application/x-ndjson",
    "msgpack": "application/msgpack",
}


@outputs.register("http", HttpConfig, refused=REFUSED)
class Http:
    """Posts records to a web server."""

    def __init__(self, config: HttpConfig, context: Context) -> None:
        if not 0 < config.port < 65536:
            raise InvalidProperty("port", "expected a port from 1 to 65535")
        headers = [*config.header, *([(config.header_tag, "")] if config.header_tag else [])]
        for name, value in headers:
            if not name.isascii() or any(c in name for c in "\r\n: ") or any(c in value for c in "\r\n"):
                raise InvalidProperty("header", f"{name!r} is not a header")
        self._config = config
        self._log = context.log
        self._json = JsonFormat(
            config.format,
            date_key=None if config.json_date_key.lower() == "false" else config.json_date_key,
            date_format=config.json_date_format,
            escape_unicode=context.escape_unicode,
        )
        self._headers = self._fixed_headers()
        self._ssl: ssl.SSLContext | None = None
        self._idle: list[Connection] = []

    async def open(self) -> None:
        config = self._config
        if not config.tls:
            return
        try:
            self._ssl = ssl.create_default_context(cafile=config.tls_ca_file, capath=config.tls_ca_path)
            if config.tls_crt_file:
                self._ssl.load_cert_chain(config.tls_crt_file, config.tls_key_file, config.tls_key_passwd)
        except (OSError, ssl.SSLError) as error:
            raise PluginError(f"TLS files cannot be used: {error}") from error
        self._ssl.check_hostname = config.tls_verify and config.tls_verify_hostname
        if not config.tls_verify:
            self._ssl.verify_mode = ssl.CERT_NONE

    async def write(self, batch: Batch) -> Result:
        body = encode_batch(batch) if self._config.format == "msgpack" else self._json.encode(batch)
        headers = self._headers
        if self._config.header_tag:
            tag = batch.tag.translate({13: None, 10: None})
            headers = [*headers, (self._config.header_tag, tag)]
        if self._config.compress:
            body = gzip.compress(body, 6)
            headers = [*headers, ("Content-Encoding", "gzip")]
        where = f"{self._config.host}:{self._config.port}"
        try:
            response = await self._request(headers, body)
        except (OSError, TimeoutError, ProtocolError, EOFError) as error:
            self._log.error("could not deliver to %s: %s", where, str(error) or type(error).__name__)
            return Result.RETRY
        return self._judge(response, where)

    async def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _request(self, headers: list[tuple[str, str]], body: bytes) -> Response:
        config = self._config
        connection = self._idle.pop() if self._idle else None
        fresh = connection is None or connection.is_closed
        if connection is None or fresh:
            connection = await self._connect()
        try:
            async with asyncio.timeout(config.response_timeout):
                try:
                    response = await connection.request(config.http_method, self._uri, headers, body)
                except (OSError, EOFError):
                    if fresh:
                        raise
                    connection.close()  # the server had closed a kept connection; once more on a new one
                    connection = await self._connect()
                    response = await connection.request(config.http_method, self._uri, headers, body)
        except BaseException:
            connection.close()
            raise
        if response.keep and config.keepalive:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    async def _connect(self) -> Connection:
        config = self._config
        name = (config.tls_vhost or config.host) if self._ssl else None
        async with asyncio.timeout(config.connect_timeout):
            return await Connection.open(config.host, config.port, ssl_context=self._ssl, server_name=name)

    def _judge(self, response: Response, where: str) -> Result:
        if 200 <= response.status <= 205:
            return Result.OK
        said = response.body[:512].decode("utf-8", "replace") if self._config.log_response_payload else ""
        self._log.error("%s, HTTP status=%d %s", where, response.status, said)
        retry = not 400 <= response.status < 500 or response.status in (408, 429)
        return Result.RETRY if retry else Result.ERROR

    @property
    def _uri(self) -> str:
        uri = self._config.uri
        return uri if uri.startswith("/") else f"/{uri}"

    def _fixed_headers(self) -> list[tuple[str, str]]:
        config = self._config
        default_port = config.port == (443 if config.tls else 80)
        headers = [
            ("Host", config.host if default_port else f"{config.host}:{config.port}"),
            ("Content-Type", _CONTENT_TYPES[config.format]),
            ("User-Agent", "Fluent-Bit"),
        ]
        if config.http_user is not None:
            secret = base64.b64encode(f"{config.http_user}:{config.http_passwd}".encode()).decode()
            headers.append(("Authorization", f"Basic {secret}"))
        return [*headers, *config.header]
