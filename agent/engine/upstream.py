"""What outputs share that go to a server: the options of the connection, TLS, kept connections, and what answers mean.

`Upstream` connects; `Streams` lends connections and keeps them; `HttpUpstream` sends requests over connections that it
keeps. There is a connection for each write under way, and any number of them may be.
"""

import asyncio
import base64
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, STRING, TIME, InvalidProperty, option
from agent.engine.http_client import MAX_BODY, Connection, ProtocolError, Response
from agent.engine.logs import PluginLog
from agent.engine.plugin import PluginError, Result

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How to reach a server. Times are seconds."""

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


REFUSED = (
    "ipv6",
    "log_suppress_interval",
    "tls.verify_client_cert",
    "tls.debug",
    "tls.min_version",
    "tls.max_version",
    "tls.ciphers",
    "tls.proxy.ca_file",
    "tls.proxy.ca_path",
    "tls.proxy.verify",
    "tls.proxy.verify_hostname",
    "tls.windows.certstore_name",
    "tls.windows.use_enterprise_store",
    "tls.windows.client_thumbprints",
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
    "net.tcp_keepalive_time",
    "net.tcp_keepalive_interval",
    "net.tcp_keepalive_probes",
    "net.connect_timeout_log_error",
)
"""What Fluent Bit takes for every such output, and this engine for none."""

AWS_REFUSED = ("aws_auth", "aws_region", "aws_sts_endpoint", "aws_role_arn", "aws_external_id", "aws_profile")
"""And for those that can send to Amazon."""


class Upstream:
    """One server; connects to it, with TLS where the options say so."""

    def __init__(self, host: str, port: int, options: ConnectionOptions) -> None:
        if not 0 < port < 65536:
            raise InvalidProperty("port", "expected a port from 1 to 65535")
        self.host = host
        self.port = port
        self.options = options
        self._ssl: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def open(self) -> None:
        """Read the files that TLS takes. Raises PluginError."""
        options = self.options
        if not options.tls:
            return
        try:
            self._ssl = ssl.create_default_context(cafile=options.tls_ca_file, capath=options.tls_ca_path)
            if options.tls_crt_file:
                self._ssl.load_cert_chain(options.tls_crt_file, options.tls_key_file, options.tls_key_passwd)
        except (OSError, ssl.SSLError) as error:
            raise PluginError(f"TLS files cannot be used: {error}") from error
        self._ssl.check_hostname = options.tls_verify and options.tls_verify_hostname
        if not options.tls_verify:
            self._ssl.verify_mode = ssl.CERT_NONE

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection. Raises OSError and TimeoutError."""
        name = (self.options.tls_vhost or self.host) if self._ssl else None
        async with asyncio.timeout(self.options.connect_timeout):
            return await asyncio.open_connection(self.host, self.port, ssl=self._ssl, server_hostname=name)


class UnixUpstream:
    """A server on this machine, at a path."""

    def __init__(self, path: str, options: ConnectionOptions) -> None:
        self._path = path
        self.options = options

    def __str__(self) -> str:
        return self._path

    def open(self) -> None:
        """Nothing to read."""

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection. Raises OSError and TimeoutError."""
        async with asyncio.timeout(self.options.connect_timeout):
            return await asyncio.open_unix_connection(self._path)


@dataclass(frozen=True, slots=True)
class Stream:
    """A connection; `drain` returns when the kernel has all that was written."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_closed(self) -> bool:
        """Whether the peer has closed it already."""
        return self.reader.at_eof() or self.writer.is_closing()


class Streams:
    """Connections to one server for what speaks no HTTP; each is used by one write, then kept for the next."""

    def __init__(
        self, upstream: Upstream | UnixUpstream, greet: Callable[[Stream], Awaitable[None]] | None = None
    ) -> None:
        """`greet` is what a new connection starts with."""
        self._upstream = upstream
        self._greet = greet
        self._idle: list[Stream] = []

    def __str__(self) -> str:
        return str(self._upstream)

    def open(self) -> None:
        """Raises PluginError."""
        self._upstream.open()

    def close(self) -> None:
        for stream in self._idle:
            stream.writer.close()
        self._idle.clear()

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[Stream]:
        """A connection to use; it is closed when its use fails. Raises OSError and TimeoutError."""
        stream = self._idle.pop() if self._idle else None
        if stream is not None and stream.is_closed:
            stream.writer.close()
            stream = None
        is_new = stream is None
        if stream is None:
            stream = Stream(*await self._upstream.connect())
            stream.writer.transport.set_write_buffer_limits(0)
        try:
            if is_new and self._greet is not None:
                await self._greet(stream)
            yield stream
        except BaseException:
            stream.writer.close()
            raise
        if self._upstream.options.keepalive:
            self._idle.append(stream)
        else:
            stream.writer.close()


class HttpUpstream:
    """A web server."""

    def __init__(
        self, upstream: Upstream, log: PluginLog, *, response_timeout: float = 60, max_body: int = MAX_BODY
    ) -> None:
        self._upstream = upstream
        self._log = log
        self._response_timeout = response_timeout
        self._max_body = max_body
        self._idle: list[Connection] = []

    def open(self) -> None:
        """Raises PluginError."""
        self._upstream.open()

    def close(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    @property
    def host_header(self) -> tuple[str, str]:
        upstream = self._upstream
        return "Host", upstream.host if upstream.options.tls and upstream.port == 443 else str(upstream)

    async def deliver(
        self,
        uri: str,
        headers: Headers,
        body: bytes,
        *,
        method: str = "POST",
        delivered: Container[int],
        log_answer: bool = True,
    ) -> Result:
        """Send a request that the server's status alone decides on; what is not `delivered` is logged."""
        response = await self.send(uri, headers, body, method=method)
        if response is None:
            return Result.RETRY
        if response.status in delivered:
            return Result.OK
        self.log_refusal(response, log_answer=log_answer)
        return unless_refused(response.status)

    async def send(self, uri: str, headers: Headers, body: bytes, *, method: str = "POST") -> Response | None:
        """The answer to a request; None, and a line in the log, where there is none."""
        try:
            return await self._request(method, uri, headers, body)
        except (OSError, TimeoutError, ProtocolError, EOFError) as error:
            self._log.error("could not deliver to %s: %s", self._upstream, str(error) or type(error).__name__)
            return None

    def log_refusal(self, response: Response, *, log_answer: bool = True) -> None:
        said = response.body[:512].decode("utf-8", "replace") if log_answer else ""
        self._log.error("%s, HTTP status=%d %s", self._upstream, response.status, said)

    async def _request(self, method: str, uri: str, headers: Headers, body: bytes) -> Response:
        connection = self._idle.pop() if self._idle else None
        fresh = connection is None or connection.is_closed
        if connection is None or fresh:
            connection = await self._connect()
        try:
            async with asyncio.timeout(self._response_timeout):
                try:
                    response = await connection.request(method, uri, headers, body)
                except (OSError, EOFError):
                    if fresh:
                        raise
                    connection.close()  # the server had closed a kept connection; once more on a new one
                    connection = await self._connect()
                    response = await connection.request(method, uri, headers, body)
        except BaseException:
            connection.close()
            raise
        if response.keep and self._upstream.options.keepalive:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    async def _connect(self) -> Connection:
        return Connection(*await self._upstream.connect(), max_body=self._max_body)


def unless_refused(status: int) -> Result:
    """What follows a status that is no success: 4xx is a refusal, but 408 and 429 ask for another try."""
    retry = not 400 <= status < 500 or status in (408, 429)
    return Result.RETRY if retry else Result.ERROR


def check_headers(headers: Iterable[tuple[str, str]]) -> None:
    """Raises InvalidProperty for a header that would break the request."""
    for name, value in headers:
        if not name.isascii() or any(c in name for c in "\r\n: ") or any(c in value for c in "\r\n"):
            raise InvalidProperty("header", f"{name!r} is not a header")


def basic_auth(user: str, password: str) -> tuple[str, str]:
    """The header that says who is asking."""
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def gzipped(body: bytes, headers: Headers) -> tuple[bytes, Headers]:
    """The body compressed, and the headers with the one that says so."""
    return gzip.compress(body, 6), [*headers, ("Content-Encoding", "gzip")]
