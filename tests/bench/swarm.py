"""A worker of the load generator: some of a fleet's agents, each on a connection of its own, in one process.

`python -m tests.bench.swarm [TLS-FOLDER]` reads commands from stdin and answers each on stdout, as lines of JSON. An
agent here says what a real one says, by the product's own codec: it enrols, resumes by digests, and reports whatever is
desired as good at once. It has no engine and no disk. Times are seconds of the system's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace import codec
from headrace.connection import Connection
from headrace.digests import facts_digest, workloads_digest
from headrace.messages import (
    Complete,
    Desired,
    EnrollRequest,
    Heartbeat,
    Hello,
    Remove,
    ServerMessage,
    Welcome,
    Workloads,
)
from headrace.rpcs.channel import CHANNEL
from headrace.security import ClientTls
from headrace.session import PlaneSeen
from headrace.types import Attempt, AttemptState, Engine, Facts, Health, Observed, Running
from tests.bench import machine
from tests.bench.certificates import Certificates
from tests.bench.http2 import Stream, frame, opening
from tests.bench.reporting import Reporting

_HEARTBEAT = frame(codec.encode_agent(Heartbeat()))
_TICK_S = 0.01


@dataclass(frozen=True, slots=True)
class Told:
    """What a message of the control plane means to an agent: the same bytes mean the same to all of them."""

    message: ServerMessage | None
    observed: Observed | None = None
    answer: bytes = b""


@dataclass(slots=True)
class Swarm:
    """What the agents of this process share."""

    target: str = ""
    """Where it was told to connect last."""
    tls: ssl.SSLContext | None = None
    client_tls: ClientTls | None = None
    boot_id: str = field(default_factory=lambda: secrets.token_hex(8))
    agents: list[SwarmAgent] = field(default_factory=list)
    plane: PlaneSeen = field(default_factory=PlaneSeen)
    told: dict[bytes, Told] = field(default_factory=dict)
    took: Counter[int] = field(default_factory=Counter)
    """How many agents took a generation."""
    messages: int = 0
    """How many came, to all agents."""
    reporting: Reporting | None = None
    everybody: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a generation has reached the last one."""

    def meaning(self, data: bytes) -> Told:
        """Of a message, decoded once for all."""
        told = self.told.get(data)
        if told is None:
            told = _told(codec.decode_server(data))
            if told.answer:
                self.told[data] = told
        return told

    def took_one(self, generation: int) -> None:
        """An agent took this generation."""
        self.took[generation] += 1
        if self.took[generation] >= len(self.agents):
            self.everybody.set()


class SwarmAgent(Stream):
    """One agent."""

    __slots__ = ("_sessions", "_settled", "_swarm", "complete_at", "credential", "end", "facts", "id", "resume_bytes",
                 "taken", "workloads")  # fmt: skip

    def __init__(self, swarm: Swarm, identifier: str, credential: str, facts: Facts) -> None:
        super().__init__()
        self.id, self.credential, self.facts = identifier, credential, facts
        self.workloads: dict[str, Observed] = {}
        self.taken: tuple[int, float] = (0, 0.0)
        """The newest generation, and when it came."""
        self.complete_at = 0.0
        """When all had come that this session began with."""
        self.resume_bytes = 0
        """Of messages both ways until then."""
        self.end = ""
        """Why the session ended, unless it was meant to."""
        self._swarm = swarm
        self._sessions = 0
        self._settled: asyncio.Future[None] | None = None

    async def connect(self) -> None:
        """Opens the next session; returns when it is complete, or has ended."""
        loop = asyncio.get_running_loop()
        self.end, self.complete_at, self.sent_bytes, self.received_bytes = "", 0.0, 0, 0
        self._settled = loop.create_future()
        host, _, port = self._swarm.target.rpartition(":")
        try:
            await loop.create_connection(lambda: self, host, int(port), ssl=self._swarm.tls)
        except OSError as error:
            self.ended(f"no connection: {error}")
        await self._settled

    def opened(self) -> bytes:
        self._sessions += 1
        hello = codec.encode_agent(
            Hello(
                agent_id=self.id,
                boot_id=self._swarm.boot_id,
                session_number=self._sessions,
                instance_id=self._swarm.plane.instance_id,
                epoch=self._swarm.plane.epoch,
                facts_digest=facts_digest(self.facts),
                workloads_digest=workloads_digest(self.workloads.values()),
            )
        )
        self.resume_bytes = len(hello)
        scheme = "https" if self._swarm.tls else "http"
        metadata = {"authorization": f"Bearer {self.credential}"}
        return opening(self._swarm.target, CHANNEL["Connect"].path, metadata, scheme=scheme) + frame(hello)

    def message(self, data: bytes) -> None:
        told = self._swarm.meaning(data)
        self._swarm.messages += 1
        if not self.complete_at:
            self.resume_bytes += len(data)
        match told.message:
            case Desired(pipeline=pipeline, generation=generation) if told.observed is not None:
                self.taken = (generation, time.monotonic())
                self.workloads[pipeline] = told.observed
                self.send(told.answer)
                self._swarm.took_one(generation)
            case Remove(pipeline=pipeline):
                self.workloads.pop(pipeline, None)
                self.send(told.answer)
            case Welcome() as welcome:
                self._answer(welcome)
            case Complete() if not self.complete_at:
                self.complete_at = time.monotonic()
                self._settle()

    def ended(self, why: str) -> None:
        self.end = why
        self._settle()

    def heartbeat(self) -> None:
        self.send(_HEARTBEAT)

    def _answer(self, welcome: Welcome) -> None:
        self._swarm.plane = PlaneSeen(instance_id=welcome.instance_id, epoch=welcome.epoch)
        if welcome.want_facts:
            self.send(frame(codec.encode_agent(self.facts)))
        if welcome.want_workloads:
            everything = Workloads(observed=tuple(self.workloads.values()), complete=True)
            self.send(frame(codec.encode_agent(everything)))

    def _settle(self) -> None:
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)


def _told(message: ServerMessage | None) -> Told:
    match message:
        case Desired(pipeline=pipeline, generation=generation, sha256=sha256):
            now = datetime.now(UTC)
            observed = Observed(
                pipeline=pipeline,
                desired=generation,
                attempt=Attempt(generation=generation, state=AttemptState.OK, at=now),
                running=Running(
                    generation=generation, sha256=sha256, health=Health.HEALTHY, engine=Engine.EMBEDDED, since=now
                ),
                good=generation,
            )
            return Told(message, observed, frame(codec.encode_agent(Workloads(observed=(observed,)))))
        case Remove(pipeline=pipeline):
            gone = Workloads(observed=(Observed(pipeline=pipeline),))
            return Told(message, None, frame(codec.encode_agent(gone)))
        case _:
            return Told(message)


async def enroll(swarm: Swarm, *, target: str, token: str, names: list[str]) -> dict[str, Any]:
    """Enrols agents by these names, over one connection, many at a time."""
    connection = Connection(target, tls=swarm.client_tls)
    turns = asyncio.Semaphore(50)

    async def one(name: str) -> None:
        facts = Facts(name=name, version="0", os="linux", arch="x86_64", labels={"role": "bench", "zone": name[-1]})
        async with turns:
            request = EnrollRequest(token=token, facts=facts)
            response = await connection.unary(CHANNEL["Enroll"], request, timeout=60.0)
        swarm.agents.append(SwarmAgent(swarm, response.agent_id, response.credential, facts))

    try:
        async with asyncio.TaskGroup() as tasks:
            for name in names:
                tasks.create_task(one(name), name=f"enrolment of {name}")
    finally:
        await connection.close()
    return {"enrolled": len(swarm.agents)}


async def connect(swarm: Swarm, *, target: str, concurrency: int, timeout: float) -> dict[str, Any]:
    """Connects all agents, so many at a time, each until it is complete; nobody tries twice."""
    swarm.target = target
    turns = asyncio.Semaphore(concurrency)

    async def one(agent: SwarmAgent) -> None:
        async with turns:
            await agent.connect()

    began = time.monotonic()
    tasks = [asyncio.create_task(one(agent), name=f"connection of {agent.id}") for agent in swarm.agents]
    _, late = await asyncio.wait(tasks, timeout=timeout)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    back = [agent for agent in swarm.agents if agent.complete_at and agent.is_open]
    return {
        "began": began,
        "complete_at": sorted(agent.complete_at for agent in back),
        "lost": len(swarm.agents) - len(back),
        "why": sorted({agent.end or "too late" for agent in swarm.agents if not agent.complete_at})[:5],
        "message_bytes": sum(agent.resume_bytes for agent in back),
        "wire_bytes": sum(agent.sent_bytes + agent.received_bytes for agent in back),
    }


async def disconnect(swarm: Swarm) -> dict[str, Any]:
    """Cuts every connection."""
    for agent in swarm.agents:
        agent.close()
    return {}


async def taken(swarm: Swarm, *, generation: int, timeout: float) -> dict[str, Any]:
    """When each agent got this generation; waits for the last."""
    try:
        async with asyncio.timeout(timeout):
            while swarm.took[generation] < len(swarm.agents):
                swarm.everybody.clear()
                await swarm.everybody.wait()
    except TimeoutError:
        pass
    at = sorted(agent.taken[1] for agent in swarm.agents if agent.taken[0] >= generation)
    return {"at": at, "missing": len(swarm.agents) - len(at)}


async def count(swarm: Swarm) -> dict[str, Any]:
    """How many messages came so far."""
    return {"messages": swarm.messages}


async def heartbeats(swarm: Swarm, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Each agent sends so many heartbeats, all of them spread evenly over the time."""
    total, sent = rounds * len(swarm.agents), 0
    began = time.monotonic()
    while sent < total:
        due = min(total, int(total * (time.monotonic() - began) / seconds))
        for number in range(sent, due):
            swarm.agents[number % len(swarm.agents)].heartbeat()
        sent = max(sent, due)
        await asyncio.sleep(_TICK_S)
    return {"sent": sent}


async def report(swarm: Swarm, *, series: int, interval: float, rounds: int, seconds: float) -> dict[str, Any]:
    """Every agent begins to report; `reported` waits for the end of it."""
    credentials = [agent.credential for agent in swarm.agents]
    if swarm.reporting is None:
        swarm.reporting = Reporting(swarm.target, credentials, series=series)
    swarm.reporting.start(interval=interval, rounds=rounds, seconds=seconds)
    return {}


async def reported(swarm: Swarm) -> dict[str, Any]:
    """What came of the reports."""
    assert swarm.reporting is not None
    return await swarm.reporting.end()


_COMMANDS: Mapping[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    command.__name__: command for command in (enroll, connect, disconnect, taken, count, heartbeats, report, reported)
}


async def main(tls_folder: str = "") -> None:
    """Obeys until stdin ends."""
    machine.raise_open_files()
    swarm = Swarm()
    if tls_folder:
        certificates = Certificates(Path(tls_folder))
        swarm.tls, swarm.client_tls = certificates.context(), certificates.client()
    reader = asyncio.StreamReader(limit=64 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        answer = await _COMMANDS[command.pop("do")](swarm, **command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
