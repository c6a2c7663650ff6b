"""A listener: one address with its TLS, its services, health and reflection.

Off loopback it takes TLS or an explicit opt-out. Health and reflection need the packages of extra [control]; without
them the services are served all the same.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import grpc.aio
import structlog

from headrace.connection import options
from headrace.errors import ConflictError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.security import Address, ServerTls, check_plaintext, parse_address

log = structlog.get_logger(__name__)

_SETTINGS: list[tuple[str, Any]] = [
    # The core's default is to drop streams at random while many wait to be accepted: fatal to a fleet that returns.
    ("grpc.server.max_pending_requests", 1_000_000),
    ("grpc.server.max_pending_requests_hard_limit", 2_000_000),
    # Estimating bandwidth by pings costs more than the messages; fixed windows do.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_concurrent_streams", 1_000),
    # An address in use is an error and not a second server beside the first.
    ("grpc.so_reuseport", 0),
    # Agents may ping to keep a path open; a dead peer is noticed by ours even if its stream says nothing.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_time_ms", 120_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class Service(Protocol):
    """What a listener serves; see `ChannelService` and `ManagementService`."""

    @property
    def names(self) -> Sequence[str]:
        """Full names of the grpc services."""

    def handlers(self) -> Mapping[str, Mapping[str, grpc.RpcMethodHandler[Any, Any]]]:
        """By service and method."""

    async def start(self) -> None:
        """Called before the first call."""

    async def drain(self, window_ms: int, message: str = "") -> None:
        """Asks open streams to move elsewhere."""

    async def stop(self) -> None:
        """Ends what is left."""


class Listener:
    """Serves services on one address; use `start`, `drain`, `stop`, or it as an async context manager."""

    def __init__(
        self,
        address: str,
        services: Sequence[Service],
        *,
        tls: ServerTls | None = None,
        insecure: bool = False,
        insecure_flag: str = "--grpc-insecure",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Raises InvalidError for an address that is none, or off loopback without TLS or the opt-out."""
        self._address = parse_address(address)
        check_plaintext(self._address, secure=tls is not None, insecure=insecure, flag=insecure_flag)
        if tls is None and not self._address.is_local:
            log.warning("plain text off loopback", address=address, allowed_by=insecure_flag)
        self._services = tuple(services)
        self._tls = tls
        self._limits = limits
        self._server: grpc.aio.Server | None = None
        self._health: Any = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def address(self) -> str:
        """Where it listens; the bound port once started."""
        return str(self._address)

    async def start(self) -> str:
        """Binds and serves; returns the bound address. Raises ConflictError when it cannot be had."""
        server = grpc.aio.server(options=[*options(self._limits), *_SETTINGS])
        for service in self._services:
            for name, methods in service.handlers().items():
                server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, dict(methods)),))
        names = [name for service in self._services for name in service.names]
        self._health = _add_health_and_reflection(server, names)
        port = self._bind(server)
        if not self._address.unix:
            self._address = Address(host=self._address.host, port=port)
        for service in self._services:
            await service.start()
        await server.start()
        if self._health is not None:
            await _set_healthy(self._health, names)
        self._server = server
        return self.address

    async def drain(self, window_s: float, message: str = "") -> None:
        """Turns health to NOT_SERVING and asks streams to move; returns when they have, or after the window."""
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        async with asyncio.TaskGroup() as tasks:
            for service in self._services:
                tasks.create_task(service.drain(round(window_s * 1000), message), name="drain of a service")

    async def stop(self, grace_s: float = 1.0) -> None:
        """Ends streams, then calls, at the latest after the grace; cancelled, at once. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            for service in self._services:
                await service.stop()
        except asyncio.CancelledError:
            grace_s = 0.0
            raise
        finally:
            await server.stop(grace_s)

    def _bind(self, server: grpc.aio.Server) -> int:
        address = str(self._address)
        try:
            port = (
                server.add_secure_port(address, self._tls.credentials())
                if self._tls
                else server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise ConflictError(f"cannot listen on {address}: it is in use, or not an address of this host") from error
        return port


def _add_health_and_reflection(server: grpc.aio.Server, names: Sequence[str]) -> Any:
    """The health servicer, or None where the packages are not installed."""
    try:
        health = importlib.import_module("grpc_health.v1.health")
        stubs = importlib.import_module("grpc_health.v1.health_pb2_grpc")
        reflection = importlib.import_module("grpc_reflection.v1alpha.reflection")
    except ImportError:
        return None
    servicer = health.aio.HealthServicer()
    stubs.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return servicer


async def _set_healthy(servicer: Any, names: Sequence[str]) -> None:
    serving = importlib.import_module("grpc_health.v1.health_pb2").HealthCheckResponse.SERVING
    for name in ("", *names):  # "" is the server as a whole
        await servicer.set(name, serving)
