"""A control plane as a process of its own, and a fleet of light agents in others: what the channel's numbers are about.

The control plane is the product, `python -m controlplane serve`, on SQLite or on the database that is named; only its
process is measured. It is given a heartbeat interval so long that nothing happens but what a measurement asks for.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace import api
from headrace.management import ManagementClient
from tests.bench import machine
from tests.bench.certificates import Certificates
from tests.processes import Program, eventually

PIPELINE = "bench"
WORKERS = 2
_SETTLE_S = 1.0
_PATIENCE_S = 120.0
_QUIET_HEARTBEAT_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One change that went to everybody; times in seconds since its commit, CPU in seconds."""

    applying_s: float
    """From the call to the commit: validation, and the transaction."""
    arrivals: list[float]
    missing: int
    acknowledged_s: float
    """Until the store had the last agent's report."""
    cpu_s: float
    """Of the control plane, from the call until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """How connecting the whole fleet went."""

    seconds: float
    delays: list[float]
    lost: int
    why: list[str]
    cpu_s: float
    message_bytes: float
    """Both ways, per agent."""
    wire_bytes: float
    """The same with all that HTTP/2 adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """How a fleet's reports went; times in seconds."""

    samples: int
    """Whose batches were acknowledged."""
    latencies: list[float]
    """Of some of the batches, from the first attempt to the acknowledgement."""
    turned_away: int
    """How often one was told to come again."""
    broken: int
    why: list[str]
    stored_at: float
    """When the last one was acknowledged, by the monotonic clock."""


class Fleet:
    """Made by `fleet`; not for more than one task."""

    def __init__(self, folder: Path, *, agents: int, state: str, tls: Certificates | None, metrics: str) -> None:
        self.agents = agents
        self.enrolling_s = 0.0
        self.client: ManagementClient
        self._folder = folder
        self._tls = tls
        token = folder / "management.token"
        token.write_text(secrets.token_urlsafe(16))
        self._command: list[str | Path] = [
            *(sys.executable, "-P", "-m", "controlplane", "serve", "--data-dir", folder / "data"),
            *("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--channel", "127.0.0.1:0"),
            *("--management-token-file", token, "--heartbeat", str(_QUIET_HEARTBEAT_S), "--gone", "1e6"),
            *(("--state", state) if state else ()),
            *(("--metrics", metrics) if metrics else ()),
            *(tls.server_arguments() if tls else ()),
        ]
        self._program: Program
        self._ready: dict[str, Any] = {}
        self._workers: list[asyncio.subprocess.Process] = []
        self._wanted_revision = 0

    @property
    def pid(self) -> int:
        """Of the control plane."""
        return self._program.pid

    @property
    def memory_kib(self) -> int:
        return machine.memory_kib(self.pid)

    async def start(self, stack: AsyncExitStack) -> None:
        """Starts the control plane, or starts it anew with what it has stored."""
        self._program = stack.enter_context(Program(self._command, folder=self._folder, name="controlplane"))
        path = self._folder / "data/ready.json"
        self._ready = self._program.wait_for(lambda: _ready(path, self.pid), timeout=60, what="ready")
        token = (self._folder / "management.token").read_text()
        client = ManagementClient(
            self._ready["grpc"], token, tls=self._tls.client() if self._tls else None, timeout=_PATIENCE_S
        )
        self.client = await stack.enter_async_context(client)

    async def start_workers(self, stack: AsyncExitStack) -> None:
        """Starts the load generator's processes and enrols their agents; they outlive a restart of the plane."""
        began = time.monotonic()
        made = await self.client.create_token(ttl_seconds=3600, max_uses=self.agents)
        for number in range(WORKERS):
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.bench.swarm", *([str(self._tls.folder)] if self._tls else [])),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                limit=64 << 20,
                cwd=Path(__file__).parents[2],
            )
            stack.push_async_callback(_end, worker)
            self._workers.append(worker)
            names = [f"bench-{index}" for index in range(number, self.agents, WORKERS)]
            await self._tell(worker, do="enroll", target=self._ready["channel"], token=made.secret, names=names)
        self.enrolling_s = time.monotonic() - began

    async def settle(self) -> None:
        """Until what has been said is in the store, and then a moment, so that no measurement pays for another."""
        await self._reach(self._wanted_revision)
        await asyncio.sleep(_SETTLE_S)

    async def connect(self, *, concurrency: int) -> Connected:
        """Connects everybody, so many at a time."""
        before = machine.cpu_s(self.pid)
        target = self._ready["channel"]
        each = concurrency // WORKERS
        answers = await self._all(do="connect", target=target, concurrency=each, timeout=_PATIENCE_S)
        began = min(answer["began"] for answer in answers)
        delays = sorted(at - began for answer in answers for at in answer["complete_at"])
        back = max(1, len(delays))
        await eventually(self._has_sessions(len(delays)), what="all sessions are held")
        await asyncio.sleep(_SETTLE_S)
        return Connected(
            seconds=delays[-1] if delays else 0.0,
            delays=delays,
            lost=sum(answer["lost"] for answer in answers),
            why=[why for answer in answers for why in answer["why"]],
            cpu_s=machine.cpu_s(self.pid) - before,
            message_bytes=sum(answer["message_bytes"] for answer in answers) / back,
            wire_bytes=sum(answer["wire_bytes"] for answer in answers) / back,
        )

    async def disconnect(self) -> None:
        """Cuts every connection; returns when the plane has noticed."""
        await self._all(do="disconnect")
        await eventually(self._has_sessions(0), what="no session is held", timeout=_PATIENCE_S)
        await asyncio.sleep(_SETTLE_S)

    async def push(self, config: str) -> Push:
        """Applies the pipeline with this configuration and waits until all is told and written."""
        before, called = machine.cpu_s(self.pid), time.time()
        answer = await self.client.apply_pipelines([api.Manifest(name=PIPELINE, selector="role=bench", config=config)])
        change = answer.changes[0]
        answers = await self._all(do="taken", generation=change.generation, timeout=_PATIENCE_S)
        self._wanted_revision = answer.fleet_revision + self.agents
        await self._reach(self._wanted_revision)
        acknowledged, now = time.time(), time.monotonic()
        cpu = machine.cpu_s(self.pid) - before
        revision = (await self.client.list_revisions(PIPELINE, limit=1))[0]
        assert revision.at is not None
        committed = revision.at.timestamp()
        monotonic = now - (acknowledged - committed)
        return Push(
            applying_s=committed - called,
            arrivals=sorted(at - monotonic for answer in answers for at in answer["at"]),
            missing=sum(answer["missing"] for answer in answers),
            acknowledged_s=acknowledged - committed,
            cpu_s=cpu,
        )

    async def messages(self) -> int:
        """How many the agents have got so far, all of them together."""
        return sum(answer["messages"] for answer in await self._all(do="count"))

    async def heartbeats(self, *, rounds: int, seconds: float) -> float:
        """CPU seconds of the plane for each heartbeat, beyond what it takes to be idle for as long."""
        idle = await self.idle_cpu_s(seconds)
        before = machine.cpu_s(self.pid)
        answers = await self._all(do="heartbeats", rounds=rounds, seconds=seconds)
        busy = machine.cpu_s(self.pid) - before
        return (busy - idle) / sum(answer["sent"] for answer in answers)

    async def report(self, *, series: int, interval: float, rounds: int = 0, seconds: float = 0.0) -> None:
        """Every agent begins to report: so many batches an interval apart, or as many as go in so many seconds."""
        await self._all(do="report", series=series, interval=interval, rounds=rounds, seconds=seconds)

    async def reported(self) -> Reported:
        """Once everything is stored that `report` began."""
        answers = await self._all(do="reported")
        return Reported(
            samples=sum(answer["samples"] for answer in answers),
            latencies=sorted(at for answer in answers for at in answer["latencies"]) or [0.0],
            turned_away=sum(answer["turned_away"] for answer in answers),
            broken=sum(answer["broken"] for answer in answers),
            why=[why for answer in answers for why in answer["why"]],
            stored_at=max(answer["stored_at"] for answer in answers),
        )

    async def idle_cpu_s(self, seconds: float) -> float:
        """CPU seconds of the plane while nobody says anything."""
        before = machine.cpu_s(self.pid)
        await asyncio.sleep(seconds)
        return machine.cpu_s(self.pid) - before

    async def _reach(self, revision: int) -> None:
        async def reached() -> bool:
            return (await self.client.get_status()).fleet_revision >= revision

        await eventually(reached, what=f"fleet revision {revision}", timeout=_PATIENCE_S)

    def _has_sessions(self, count: int) -> Callable[[], Awaitable[bool]]:
        async def has() -> bool:
            return (await self.client.get_status()).sessions == count

        return has

    async def _all(self, **command: Any) -> list[dict[str, Any]]:
        return await asyncio.gather(*(self._tell(worker, **command) for worker in self._workers))

    async def _tell(self, worker: asyncio.subprocess.Process, **command: Any) -> dict[str, Any]:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(command).encode() + b"\n")
        line = await worker.stdout.readline()
        if not line:
            raise AssertionError(f"a worker of the load generator ended while it was told to {command['do']}")
        return dict(json.loads(line))


@asynccontextmanager
async def fleet(
    folder: Path, *, agents: int, state: str = "", tls: Certificates | None = None, metrics: str = ""
) -> AsyncIterator[Fleet]:
    """An enrolled fleet, not connected yet, and a control plane that has just been started."""
    made = Fleet(folder, agents=agents, state=state, tls=tls, metrics=metrics)
    async with AsyncExitStack() as workers:
        async with AsyncExitStack() as first:
            await made.start(first)
            await made.start_workers(workers)
        async with AsyncExitStack() as second:
            await made.start(second)
            await made.settle()
            yield made


def _ready(path: Path, pid: int) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return dict(document) if document["pid"] == pid else None


async def _end(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()
    await worker.wait()
