"""The HTTP door, for now: `/healthz` says that the process lives, `/readyz` that it can reach its state, and `/metrics`
has its own numbers for Prometheus, `/metrics/fleet` those of the agents' workloads where that was asked for.

A request for a name that is not ours, or of a page that is not ours, is refused: see `controlplane.hosts`. The REST API
and the UI come to this listener later; this needs no framework and keeps the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from controlplane.hosts import Hosts
from controlplane.settings import Door
from headrace.errors import ConflictError, UnavailableError
from headrace.security import Address, ServerTls, check_plaintext, parse_address

_PATIENCE_S, _ANSWER_S = 5.0, 60.0
_LARGEST_HEAD = 8 << 10
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

Probe = Callable[[], Awaitable[str]]
"""Why the process is not ready; empty when it is."""


class HttpDoor:
    """An async context manager: bound after enter, gone after exit."""

    def __init__(
        self,
        door: Door,
        *,
        tls: ServerTls | None,
        ready: Probe,
        metrics: Callable[[], bytes] = bytes,
        fleet: Callable[[], Awaitable[bytes]] | None = None,
        public_hosts: Sequence[str] = (),
    ) -> None:
        """`fleet` is what `/metrics/fleet` answers; None: there is no such page."""
        self._address = parse_address(door.address)
        check_plaintext(self._address, secure=tls is not None, insecure=door.insecure, flag="--http-insecure")
        self._hosts = Hosts.of(self._address, public_hosts)
        self._tls = tls
        self._ready = ready
        self._metrics = metrics
        self._fleet = fleet
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens; the bound port once entered."""
        return str(self._address)

    async def __aenter__(self) -> Self:
        try:
            self._server = await asyncio.start_server(
                self._serve,
                self._address.host,
                self._address.port,
                limit=_LARGEST_HEAD,
                ssl=_context(self._tls) if self._tls else None,
            )
        except OSError as error:
            raise ConflictError(f"cannot listen on {self._address}: {error.strerror or error}") from error
        port = self._server.sockets[0].getsockname()[1]
        self._address = Address(host=self._address.host, port=port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(_ANSWER_S):
                writer.write(await self._answer(head))
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _answer(self, head: bytes) -> bytes:
        first, *headers = head.decode("latin-1").split("\r\n")
        line = first.split(" ")
        method, path = (line[0], line[1]) if len(line) == 3 else ("", "")
        if method not in ("GET", "HEAD"):
            return _response("405 Method Not Allowed", "only GET and HEAD", method)
        if refused := self._why_not_for_us(headers, old=line[2] == "HTTP/1.0"):
            return _response(*refused, method)
        match path.partition("?")[0]:
            case "/healthz":
                return _response("200 OK", "ok", method)
            case "/readyz":
                why = await self._ready()
                return _response("503 Service Unavailable" if why else "200 OK", why or "ok", method)
            case "/metrics":
                return _response("200 OK", self._metrics(), method, kind=_PROMETHEUS)
            case "/metrics/fleet" if self._fleet is not None:
                try:
                    return _response("200 OK", await self._fleet(), method, kind=_PROMETHEUS)
                except UnavailableError as error:
                    return _response("503 Service Unavailable", error.message, method)
            case "/metrics/fleet":
                return _response("404 Not Found", "start the control plane with --fleet-metrics to have this", method)
            case _:
                return _response("404 Not Found", "there are /healthz, /readyz and /metrics here", method)

    def _why_not_for_us(self, headers: Sequence[str], *, old: bool) -> tuple[str, str] | None:
        """Status and message for a request that a page elsewhere may have made."""
        hosts, origins = _values(headers, "host"), _values(headers, "origin")
        if len(hosts) > 1 or (not hosts and not old):  # a probe may speak HTTP/1.0; no browser does
            return "400 Bad Request", "one Host, please"
        if hosts and not self._hosts.takes(hosts[0]):
            return "421 Misdirected Request", f"{hosts[0]!r} is not a name of this listener; --public-host makes it one"
        if not all(map(self._hosts.takes_origin, origins)):
            return "403 Forbidden", "a page of another origin may not ask here; --public-host makes a name one of ours"
        return None


def _values(headers: Sequence[str], name: str) -> list[str]:
    fields = [header.partition(":") for header in headers]
    return [value.strip() for field, _, value in fields if field.strip().lower() == name]


def _response(status: str, text: str | bytes, method: str, *, kind: str = "text/plain; charset=utf-8") -> bytes:
    body = text if isinstance(text, bytes) else f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)


def _context(tls: ServerTls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:  # the ssl module takes files only
        certificate, key = Path(folder, "certificate"), Path(folder, "key")
        certificate.write_bytes(tls.certificate)
        key.touch(0o600)
        key.write_bytes(tls.key)
        context.load_cert_chain(certificate, key)
    if tls.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=tls.client_ca.decode())
    return context
