"""The doors of a control plane: one for HTTP, two for people and programs, two for agents.

The second of each pair takes certificates, since grpc for Python demands one of everybody or asks nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from controlplane.http import HttpDoor
from controlplane.identity import Authorities
from controlplane.identity.possession import Possession
from controlplane.rpc.channel import ChannelEdge
from controlplane.rpc.management import ManagementEdge
from controlplane.settings import Settings
from controlplane.stopping import Stop
from headrace.security import parse_address
from headrace.server import ChannelService, Listener, ManagementService


class Doors:
    """Built closed; `open` binds them."""

    def __init__(
        self,
        settings: Settings,
        *,
        management: ManagementEdge,
        channel: ChannelEdge,
        possession: Possession,
        authorities: Authorities | None,
        ready: Callable[[], Awaitable[str]],
        metrics: Callable[[], bytes],
        fleet: Callable[[], Awaitable[bytes]] | None,
    ) -> None:
        """`ready`, `metrics` and `fleet` are what the HTTP door answers with."""
        self._settings = settings
        self.http = HttpDoor(
            settings.http,
            tls=settings.tls,
            ready=ready,
            metrics=metrics,
            public_hosts=settings.public_hosts,
            fleet=fleet,
        )
        self.grpc = Listener(
            settings.grpc.address,
            [ManagementService(management)],
            tls=settings.tls,
            insecure=settings.grpc.insecure,
            insecure_flag="--grpc-insecure",
            limits=settings.limits,
        )
        self.grpc_mtls: Listener | None = None
        if settings.grpc_mtls is not None and settings.tls is not None:
            self.grpc_mtls = Listener(
                settings.grpc_mtls.address,
                [ManagementService(management, certificates=True)],
                tls=replace(settings.tls, client_ca=settings.client_ca, current_ca=settings.current_client_ca),
                limits=settings.limits,
            )
        self.channel = Listener(
            settings.channel.address,
            [ChannelService(channel, limits=settings.limits, possession=possession)],
            tls=settings.tls,
            insecure=settings.channel.insecure,
            insecure_flag="--channel-insecure",
            limits=settings.limits,
        )
        self.channel_mtls: Listener | None = None
        if settings.channel_mtls is not None and settings.tls is not None and authorities is not None:
            self.channel_mtls = Listener(
                settings.channel_mtls.address,
                [ChannelService(channel, limits=settings.limits)],
                tls=replace(settings.tls, client_ca=b"", current_ca=authorities.bundle),
                limits=settings.limits,
            )

    async def open(self, stack: AsyncExitStack, stop: Stop) -> None:
        """Binds; leaving the stack undoes it in reverse, once agents have had time to move."""
        await stack.enter_async_context(self.http)
        channels = [self.channel, *([self.channel_mtls] if self.channel_mtls else [])]
        for channel in channels:
            stack.push_async_callback(partial(_end, channel, stop, "end of the agents' sessions"))
            await channel.start()
        if window_s := self._settings.window_s:
            drain = partial(_drain, channels, window_s)
            stack.push_async_callback(lambda: stop.patiently(drain(), "time for agents to move"))
        for people in (self.grpc, *([self.grpc_mtls] if self.grpc_mtls else [])):
            stack.push_async_callback(partial(_end, people, stop, "end of management calls"))
            await people.start()

    @property
    def certificate_port(self) -> int:
        """Where agents get in by certificates; 0 where there is no such door."""
        return parse_address(self.channel_mtls.address).port if self.channel_mtls else 0

    @property
    def addresses(self) -> dict[str, str]:
        """Where each is bound, by its flag; empty where it is not there."""
        mtls = {"channel_mtls": self.channel_mtls, "grpc_mtls": self.grpc_mtls}
        return {
            "http": self.http.address,
            "grpc": self.grpc.address,
            "channel": self.channel.address,
            **{name: door.address if door else "" for name, door in mtls.items()},
        }


async def _end(listener: Listener, stop: Stop, what: str) -> None:
    await stop.patiently(listener.stop(), what)


async def _drain(channels: list[Listener], window_s: float) -> None:
    async with asyncio.TaskGroup() as tasks:
        for channel in channels:
            tasks.create_task(channel.drain(window_s, "this control plane stops"), name="drain of a channel")
