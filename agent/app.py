"""The agent's composition root: builds everything, runs it in one task group, and stops it in one way.

Starts what is on disk before it looks for a control plane. SIGTERM or SIGINT ends the engines, each after its grace; a
second signal ends them at once. Killed outright it leaves its engines running, and the next start takes them over.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import structlog

from agent.enrolment import Enrolment
from agent.handler import Handler
from agent.host import Host
from agent.reconciler import Reconciler
from agent.runtimes import find_runtimes
from agent.settings import Settings
from agent.state import State, replace_file
from headrace.client import AgentChannel, ChannelState, enroll
from headrace.errors import UnavailableError
from headrace.types import Facts

log = structlog.get_logger(__name__)

STATUS = "status.json"
CAPABILITIES = ("logs", "restart", "retry", "upload")


class App:
    """One agent. `run` it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = State(settings.data_dir)
        self._channel: AgentChannel | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> None:
        """Until a signal. Raises HeadraceError where the start cannot succeed; then no engine was started."""
        async with AsyncExitStack() as stack:
            self._catch_signals(stack)
            stack.callback(self._state.close)
            self._state.open()
            host = await self._build_host()
            reconciler = Reconciler(host, self._notify)
            keep_link = self._build_link(host, reconciler)
            async with asyncio.TaskGroup() as group:
                reconciler.start(group)
                log.info("agent started", data_dir=str(self._state.folder), engines=[*map(str, host.runtimes)])
                connection = group.create_task(keep_link(), name="control channel")
                await self._stop.wait()
                log.info("agent stops")
                connection.cancel()
                stopping = group.create_task(reconciler.shut_down(), name="stop of the engines")
                forcing = group.create_task(self._cancel_when_forced(stopping), name="second signal")
                await asyncio.wait((stopping,))
                forcing.cancel()
            log.info("agent stopped")

    async def _build_host(self) -> Host:
        settings = self._settings
        environment = {"HOSTNAME": socket.gethostname(), **os.environ}
        runtimes = await find_runtimes(
            settings.engine,
            fluent_bit=settings.fluent_bit,
            environment=environment,
            memory=settings.policy.memory,
        )
        return Host(
            state=self._state,
            name=settings.name,
            version=version("headrace"),
            runtimes=runtimes,
            policy=settings.policy,
            environment=environment,
            fetch=self._fetch,
            applies=asyncio.Semaphore(settings.max_applies),
            now=partial(datetime.now, UTC),
            clock=time.monotonic,
            roll=random.random,
            settle_s=settings.settle_s,
        )

    def _build_link(self, host: Host, reconciler: Reconciler) -> Callable[[], Coroutine[Any, Any, None]]:
        """What keeps the connection to the control plane; without an address the agent runs what it has."""
        settings = self._settings
        if not settings.server:
            return _without_control_plane
        facts = partial(self._facts, host)
        enrolment = Enrolment(
            self._state,
            token=settings.bootstrap_token,
            facts=facts,
            call=partial(enroll, settings.server, tls=settings.tls, insecure=settings.insecure),
            now=host.now,
            roll=host.roll,
        )
        handler = Handler(host, reconciler, facts=facts, enrol=enrolment.renew, upload=self._upload)
        channel = AgentChannel(
            settings.server,
            handler,
            boot_id=secrets.token_hex(8),
            tls=settings.tls,
            insecure=settings.insecure,
            on_state=self._write_status,
        )
        return partial(self._keep_link, channel, enrolment)

    async def _keep_link(self, channel: AgentChannel, enrolment: Enrolment) -> None:
        await enrolment.until_enrolled()
        self._channel = channel
        await channel.run()

    def _facts(self, host: Host) -> Facts:
        return Facts(
            name=self._settings.name,
            version=version("headrace"),
            os=platform.system().lower(),
            arch=platform.machine(),
            labels=self._settings.labels,
            capabilities=CAPABILITIES,
            engines=tuple(runtime.info for runtime in host.runtimes.values()),
        )

    async def _fetch(self, sha256: str) -> bytes:
        return await self._connected().get_blob(sha256)

    async def _upload(self, sha256: str, data: bytes) -> None:
        await self._connected().put_blob(sha256, data)

    def _connected(self) -> AgentChannel:
        if self._channel is None:
            raise UnavailableError("there is no connection to the control plane")
        return self._channel

    def _notify(self, pipeline: str) -> None:
        if self._channel is not None:
            self._channel.notify(pipeline)

    def _write_status(self, channel: ChannelState) -> None:
        """For `headrace-agent status`; of no use to the agent itself."""
        status = {
            "pid": os.getpid(),
            "server": self._settings.server,
            "connected": channel.connected,
            "since": channel.since.isoformat(),
            "error": channel.error,
        }
        try:
            replace_file(self._state.folder / STATUS, json.dumps(status).encode())
        except OSError as error:
            log.warning("status cannot be written", reason=error.strerror)

    def _catch_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            (self._force if self._stop.is_set() else self._stop).set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
            stack.callback(loop.remove_signal_handler, number)

    async def _cancel_when_forced(self, stopping: asyncio.Task[None]) -> None:
        await self._force.wait()
        log.warning("engines are ended without their grace")
        stopping.cancel()


async def _without_control_plane() -> None:
    log.warning("no control plane is given; what is on disk runs on")
