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

from agent import keys
from agent.counts import Counts
from agent.enrolment import Enrolment
from agent.handler import Handler
from agent.host import Host
from agent.plane_clock import PlaneClock
from agent.reconciler import Reconciler
from agent.reporting.machine import host_boot
from agent.reporting.reporter import Reporter
from agent.rotation import Rotation
from agent.runtimes import find_runtimes
from agent.settings import Settings
from agent.state import State, replace_file
from agent.telemetry import masked_logs
from headrace.client import AgentChannel, ChannelState, enroll
from headrace.errors import UnavailableError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import Facts

log = structlog.get_logger(__name__)

STATUS = "status.json"
CAPABILITIES = ("logs", "restart", "retry", "secrets", "upload")


class App:
    """One agent. `run` it once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._state = State(settings.data_dir)
        self._channel: AgentChannel | None = None
        self._counts = Counts()
        self._boot = secrets.token_hex(8)
        self._clock = PlaneClock(boot=host_boot())
        self._reporter = Reporter(
            settings.data_dir,
            interval=settings.sample_s,
            spool_bytes=settings.spool_bytes,
            counts=self._counts,
            boot=self._boot,
            now=self._clock.now,
        )
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> None:
        """Until a signal. Raises HeadraceError where the start cannot succeed; then no engine was started."""
        async with AsyncExitStack() as stack:
            self._catch_signals(stack)
            stack.callback(self._state.close)
            self._state.open()
            self._clock.load(self._state.folder)
            stack.enter_context(masked_logs(lambda: self._state.secrets.mask))
            host = await self._build_host()
            reconciler = Reconciler(host, self._notify)
            keep_link = self._build_link(host, reconciler)
            self._reporter.engines = reconciler.engines
            self._reporter.data = lambda pipeline: host.folder(pipeline).data
            self._reporter.workloads = lambda: reconciler.count
            if self._settings.metrics:
                await self._serve_metrics(stack)
            async with asyncio.TaskGroup() as group:
                reconciler.start(group)
                log.info("agent started", data_dir=str(self._state.folder), engines=[*map(str, host.runtimes)])
                connection = group.create_task(keep_link(), name="control channel")
                measuring = group.create_task(self._reporter.run(), name="metrics")
                await self._stop.wait()
                log.info("agent stops")
                connection.cancel()
                measuring.cancel()
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
            counts=self._counts,
            before_end=self._reporter.before_end,
            disturbed=self._reporter.disturb,
            settle_s=settings.settle_s,
        )

    async def _serve_metrics(self, stack: AsyncExitStack) -> None:
        from agent.reporting.exporter import Exporter  # few agents are looked at this way

        exporter = Exporter(self._settings.metrics, self._reporter.own_figures)
        await stack.enter_async_context(exporter)
        log.info("own metrics", address=exporter.address)

    def _build_link(self, host: Host, reconciler: Reconciler) -> Callable[[], Coroutine[Any, Any, None]]:
        """What keeps the connection to the control plane; without an address the agent runs what it has."""
        settings = self._settings
        if not settings.server:
            return _without_control_plane
        facts = partial(self._facts, host)
        enrolment = Enrolment(
            self._state,
            token=settings.bootstrap_token,
            account=settings.kubernetes_token,
            facts=facts,
            call=partial(enroll, settings.server, tls=settings.tls, insecure=settings.insecure),
            now=host.now,
            roll=host.roll,
            request=partial(keys.request, self._state.folder),
        )
        rotation = Rotation(
            self._state,
            facts=facts,
            request=partial(keys.request, self._state.folder),
            call=self._renew,
            move=self._move,
            now=host.now,
            roll=host.roll,
        )
        handler = Handler(
            host,
            reconciler,
            facts=facts,
            enrol=enrolment.renew,
            upload=self._upload,
            metrics=self._reporter.welcome,
            commit=rotation.commit,
            trust=rotation.tell,
        )
        channel = AgentChannel(
            settings.server,
            handler,
            boot_id=self._boot,
            tls=settings.tls,
            insecure=settings.insecure,
            on_state=self._on_state,
            backlog=self._reporter,
            on_time=self._on_time,
        )
        return partial(self._keep_link, channel, enrolment, rotation)

    async def _keep_link(self, channel: AgentChannel, enrolment: Enrolment, rotation: Rotation) -> None:
        await enrolment.until_enrolled()
        self._channel = channel
        async with asyncio.TaskGroup() as group:
            group.create_task(rotation.run(), name="rotation of the certificate")
            group.create_task(channel.run(), name="sessions of the control channel")

    def _facts(self, host: Host) -> Facts:
        return Facts(
            name=self._settings.name,
            version=version("headrace"),
            os=platform.system().lower(),
            arch=platform.machine(),
            labels=self._settings.labels,
            capabilities=CAPABILITIES,
            engines=tuple(runtime.info for runtime in host.runtimes.values()),
            clock_ahead_ms=self._counts.clock_ahead_s * 1000,
        )

    async def _fetch(self, sha256: str) -> bytes:
        return await self._connected().get_blob(sha256)

    async def _upload(self, sha256: str, data: bytes) -> None:
        await self._connected().put_blob(sha256, data)

    async def _renew(self, request: EnrollRequest) -> EnrollResponse:
        return await self._connected().enroll(request)

    def _move(self) -> None:
        if self._channel is not None:
            self._channel.move()

    def _connected(self) -> AgentChannel:
        if self._channel is None:
            raise UnavailableError("there is no connection to the control plane")
        return self._channel

    def _notify(self, pipeline: str) -> None:
        if self._channel is not None:
            self._channel.notify(pipeline)

    def _on_time(self, at: datetime, took_s: float) -> None:
        if self._clock.heard(at, took_s):
            self._clock.save(self._state.folder)
        if self._clock.ahead_s != self._counts.clock_ahead_s:
            self._counts.clock_ahead_s = self._clock.ahead_s
            if self._channel is not None:
                self._channel.notify_facts()

    def _on_state(self, channel: ChannelState) -> None:
        self._counts.sessions += channel.connected and not self._counts.is_connected
        self._counts.is_connected = channel.connected
        self._write_status(channel)

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
