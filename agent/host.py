"""What all workloads of an agent share: its engines, its rules, its disk, its clock and its dice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.environment import known_variables
from agent.folders import Folder
from agent.policy import Policy
from agent.preparation import Prepared, prepare
from agent.runtimes import Runtime, resolve
from agent.runtimes.listeners import Listener
from agent.state import State
from headrace.content import Content
from headrace.types import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Shared by reference; only `state` changes.

    `fetch` gets a content from the control plane by its hash; `applies` bounds how many workloads change at once;
    `roll` gives a number from 0 to 1; `now` is wall-clock time in UTC, `clock` monotonic seconds.
    """

    state: State
    name: str
    version: str
    runtimes: Mapping[Engine, Runtime]
    policy: Policy
    environment: Mapping[str, str]
    fetch: Callable[[str], Awaitable[bytes]]
    applies: asyncio.Semaphore
    now: Callable[[], datetime]
    clock: Callable[[], float]
    roll: Callable[[], float]
    settle_s: float = 5.0
    check_s: float = 10.0
    log_bytes: int = 16 << 20

    def folder(self, pipeline: str) -> Folder:
        """The folder of a workload."""
        return Folder(self.state.folder.resolve() / "workloads" / pipeline)

    def prepare(self, pipeline: str, content: Content) -> Prepared:
        """A content as it would run here and now."""
        runtime = resolve(content.engine, self.runtimes)
        return prepare(
            content,
            known=known_variables(agent=self.name, plane=self.state.plane, own=self.environment),
            engine=runtime.info if runtime else None,
            policy=self.policy,
            folder=str(self.folder(pipeline).path),
            version=self.version,
        )


def free_port(wanted: int = 0) -> int:
    """A loopback port that is free now: the wanted one if it is."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


def bind_error(listener: Listener) -> str:
    """Why a port cannot be bound now; empty when it can."""
    kind = socket.SOCK_STREAM if listener.protocol == "tcp" else socket.SOCK_DGRAM
    try:
        family, _, _, _, address = socket.getaddrinfo(listener.host, listener.port, type=kind)[0]
        with socket.socket(family, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            if kind == socket.SOCK_STREAM:
                probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return ""
