"""A Kubernetes API server, or a kubelet, over plain HTTP(S): a connection per request, a service account's token.

Used by the filter `kubernetes` and the input `kubernetes_events`. The token is read again when it is older than its
`ttl`, because the kubelet replaces it; without one requests go out without it.
"""

import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.engine.config import BOOLEAN, STRING, TIME, InvalidProperty, option
from agent.engine.http_client import Connection, Response
from agent.engine.logs import PluginLog
from agent.engine.upstream import ConnectionOptions, Headers, Upstream

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where a pod finds what it needs to speak with the server."""

_URL = re.compile(r"(https?)://(\[[^\]]+\]|[^:/\[\]]+)(?::(\d{1,5}))?/?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesOptions:
    """How to reach the API server."""

    kube_url: str = option(STRING, "https://kubernetes.default.svc", help="the API server: http(s)://host:port")
    kube_ca_file: str = option(STRING, f"{ACCOUNT}/ca.crt", help="file with certificates to trust")
    kube_ca_path: str | None = option(STRING, help="folder with certificates to trust")
    kube_token_file: str = option(STRING, f"{ACCOUNT}/token", help="file with the token to show")
    kube_token_ttl: float = option(TIME, 600, help="how long the token is used before its file is read again")
    tls_verify: bool = option(BOOLEAN, True, name="tls.verify", help="check the server's certificate")
    tls_vhost: str | None = option(STRING, name="tls.vhost", help="name to ask the server for")


class Token:
    """The token of a service account."""

    def __init__(self, path: str, ttl: float, log: PluginLog, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._ttl = ttl
        self._log = log
        self._clock = clock
        self._text = ""
        self._read_at: float | None = None

    def headers(self) -> Headers:
        """What shows it."""
        now = self._clock()
        if self._read_at is None or now > self._read_at + self._ttl:
            self._text, self._read_at = self._read(), now
        return [("Authorization", f"Bearer {self._text}")] if self._text else []

    def _read(self) -> str:
        try:
            text = Path(self._path).read_text(encoding="latin-1").strip()
        except OSError as error:
            self._log.warning("no token can be read from %s, requests go without: %s", self._path, error.strerror)
            return ""
        if not text.isprintable():
            self._log.warning("%s holds no token, requests go without", self._path)
            return ""
        return text


class Server:
    """One server; `max_body` bounds its answers."""

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        options: KubernetesOptions,
        log: PluginLog,
        *,
        verify_hostname: bool = False,
        max_body: int,
    ) -> None:
        ca_file: str | None = options.kube_ca_file
        if scheme == "https" and ca_file == f"{ACCOUNT}/ca.crt" and not Path(ca_file).exists():
            ca_file = None  # not in a pod: what the system trusts
        connection = ConnectionOptions(
            tls=scheme == "https",
            tls_verify=options.tls_verify,
            tls_verify_hostname=verify_hostname,
            tls_vhost=options.tls_vhost,
            tls_ca_file=ca_file,
            tls_ca_path=options.kube_ca_path,
        )
        self.host = host
        self._upstream = Upstream(host, port, connection)
        self._token = Token(options.kube_token_file, options.kube_token_ttl, log)
        self._max_body = max_body

    def __str__(self) -> str:
        return str(self._upstream)

    def open(self) -> None:
        """Raises PluginError."""
        self._upstream.open()

    async def get(self, uri: str) -> Response:
        """One answer. Raises OSError, TimeoutError, EOFError and ProtocolError."""
        async with self._connection() as connection:
            return await connection.request("GET", uri, self._headers(), b"")

    @asynccontextmanager
    async def stream(self, uri: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The status and, piece by piece, the body of an answer that goes on. Raises as `get`."""
        async with self._connection() as connection:
            status, pieces = await connection.stream("GET", uri, self._headers())
            async with aclosing(pieces):
                yield status, pieces

    def _headers(self) -> Headers:
        return [("Host", str(self)), ("User-Agent", "Fluent-Bit"), ("Connection", "close"), *self._token.headers()]

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        connection = Connection(*await self._upstream.connect(), max_body=self._max_body)
        try:
            yield connection
        finally:
            connection.close()


def split_url(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of `kube_url`; the port is 443 unless it is said. Raises InvalidProperty."""
    found = _URL.fullmatch(url.strip())
    if found is None:
        raise InvalidProperty("kube_url", f"{url!r} is not http://host:port or https://host:port")
    return found[1].lower(), found[2].strip("[]"), int(found[3] or 443)
