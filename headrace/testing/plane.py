"""A control plane in memory: every agent that enrols is to run everything; what agents report can be awaited."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from headrace import codec
from headrace.content import Content, canonical, desired_of, sha256_of
from headrace.digests import facts_digest, workloads_digest
from headrace.errors import NotFoundError, UnauthenticatedError, UnavailableError
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import (
    Answer,
    Command,
    Complete,
    Desired,
    EnrollRequest,
    EnrollResponse,
    Goodbye,
    Hello,
    Proof,
    Remove,
    ReportRequest,
    ReportResponse,
    ServerMessage,
    Variables,
    Welcome,
    Workloads,
)
from headrace.outbox import key_of
from headrace.security import ServerTls
from headrace.server import ChannelService, Link, Listener
from headrace.session import CloseError
from headrace.testing.waiting import Changes
from headrace.types import CloseReason, Facts, Observed

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], dict[datetime, float]]
"""Values by name and sorted tags of their series, then by time."""


@dataclass(slots=True)
class _Agent:
    """What this plane knows of one agent."""

    id: str
    credential: str
    facts: Facts
    observed: dict[str, Observed] = field(default_factory=dict)
    link: Link | None = None
    boot_id: str = ""
    superseded: set[str] = field(default_factory=set)
    is_synced: bool = False
    is_stranger: bool = False
    """It comes from another instance or epoch, so its generations say nothing here."""
    is_revoked: bool = False


class FakeControlPlane:
    """Serves the real channel on loopback; an async context manager. It keeps the channel's promises, and no store."""

    def __init__(
        self,
        *,
        token: str = "token",
        address: str = "127.0.0.1:0",
        instance_id: str = "i-1",
        epoch: int = 1,
        heartbeat_ms: int = 20_000,
        limits: Limits = DEFAULT_LIMITS,
        tls: ServerTls | None = None,
        metrics: bool = False,
    ) -> None:
        """With `metrics`, Welcome says that there is a metric store, and agents report."""
        self.instance_id = instance_id
        self.epoch = epoch
        self.generation = 0
        """The newest that was given."""
        self.enrolments: list[EnrollRequest] = []
        self.sessions: list[Hello] = []
        """Every Hello that was let in, in order."""
        self.farewells: list[str] = []
        """Why each session ended, in order."""
        self.reports: list[ReportRequest] = []
        """Every batch of metrics that came, in order; the same may come again."""
        self.ahead = timedelta()
        """By how much its clock is ahead of the host's."""
        self.sample_interval_ms = 0
        """How often agents are told to measure; 0 says nothing."""
        self.retry_reports_ms = 0
        """While it is set, nothing is stored, and agents are told to come again after so long."""
        self.blobs: dict[str, bytes] = {}
        """What agents uploaded, by sha256."""
        self._token = token
        self._metrics = metrics
        self._numbers: dict[str, Numbers] = {}
        self._heartbeat_ms = heartbeat_ms
        self._limits = limits
        self._agents: dict[str, _Agent] = {}
        self._contents: dict[str, bytes] = {}
        self._messages: dict[str, ServerMessage] = {}
        self._answers: dict[str, Answer] = {}
        self._changes = Changes()
        self._service = ChannelService(self, limits=limits)
        self._listener = Listener(address, [self._service], tls=tls, limits=limits)

    async def __aenter__(self) -> Self:
        await self._listener.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.stop()

    @property
    def address(self) -> str:
        """host:port, once entered."""
        return self._listener.address

    # What is desired.

    def desire(self, pipeline: str, content: Content, *, generation: int = 0) -> int:
        """Every agent is to run this content; returns the generation, the next one unless given."""
        data = canonical(content)
        self._contents[pipeline] = data
        return self._stamp(pipeline, lambda number: desired_of(pipeline, number, data, self._limits), generation)

    def remove(self, pipeline: str, *, purge: bool = False) -> int:
        """Every agent is to stop it; returns the generation of the tombstone."""
        self._contents.pop(pipeline, None)
        return self._stamp(pipeline, lambda number: Remove(pipeline=pipeline, generation=number, purge=purge), 0)

    def set_variables(self, values: Mapping[str, str], *, labels: Mapping[str, str] | None = None) -> None:
        """What every agent gets as Variables."""
        self._put(Variables(labels=labels or {}, values=values))

    def send(self, message: ServerMessage, *, agent_id: str = "") -> None:
        """Sends any message to one agent, as it is, and forgets it: for tests of what should not happen."""
        link = self._agent(agent_id).link
        if link is not None:
            link.post(key_of(message), codec.encode_server(message))

    # What is there.

    @property
    def agents(self) -> Mapping[str, Facts]:
        """The facts of each agent that enrolled, by id."""
        return {agent.id: agent.facts for agent in self._agents.values()}

    @property
    def links(self) -> Collection[Link]:
        """The open sessions."""
        return self._service.links

    def observed(self, agent_id: str = "") -> Mapping[str, Observed]:
        """What an agent reported, by pipeline; without an id, of the only agent."""
        return dict(self._agent(agent_id).observed)

    async def until(
        self, condition: Callable[[Mapping[str, Observed]], bool], *, agent_id: str = "", timeout: float = 10.0
    ) -> Mapping[str, Observed]:
        """Waits until what an agent reported meets the condition; TimeoutError shows what was reported."""

        def observed() -> Mapping[str, Observed]:
            return self._agent(agent_id).observed if self._agents else {}

        await self._changes.until(lambda: condition(observed()), timeout=timeout, shown=observed)
        return dict(observed())

    def numbers(self, agent_id: str = "") -> Numbers:
        """What an agent measured, by series and time; without an id, the only agent."""
        return self._numbers.get(self._agent(agent_id).id, {})

    async def until_numbers(
        self, condition: Callable[[Numbers], bool], *, agent_id: str = "", timeout: float = 10.0
    ) -> Numbers:
        """Waits until what an agent measured meets the condition."""

        def numbers() -> Numbers:
            return self.numbers(agent_id) if self._agents else {}

        await self._changes.until(lambda: condition(numbers()), timeout=timeout, shown=lambda: sorted(numbers()))
        return numbers()

    async def until_connected(self, *, count: int = 1, timeout: float = 10.0) -> None:
        """Waits until so many agents have a session, and have sent what it asked for."""

        def connected() -> list[str]:
            return [agent.id for agent in self._agents.values() if agent.is_synced]

        await self._changes.until(lambda: len(connected()) >= count, timeout=timeout, shown=connected)

    async def until_closed(self, *, count: int = 1, timeout: float = 10.0) -> None:
        """Waits until so many sessions have ended since the start."""
        await self._changes.until(lambda: len(self.farewells) >= count, timeout=timeout, shown=lambda: self.farewells)

    # What happens to agents.

    async def command(self, command: Command, *, agent_id: str = "", timeout: float = 10.0) -> Answer:
        """Sends a command and waits for its answer."""
        self.send(command, agent_id=agent_id)
        await self._changes.until(
            lambda: command.id in self._answers, timeout=timeout, shown=lambda: f"no answer to {command.kind}"
        )
        return self._answers[command.id]

    def close_session(self, reason: CloseReason, *, agent_id: str = "", retry_after_ms: int = 0) -> None:
        """Ends an agent's session."""
        link = self._agent(agent_id).link
        if link is not None:
            link.close(reason, f"the test closes it: {reason}", retry_after_ms)

    def revoke(self, agent_id: str = "") -> None:
        """The agent's credential is good for nothing from now on, and its session ends."""
        agent = self._agent(agent_id)
        agent.is_revoked = True
        self.close_session(CloseReason.REVOKED, agent_id=agent.id)

    async def drain(self, window_ms: int = 1000) -> None:
        """Asks every agent to move, and waits until they have; lets nobody in any more."""
        await self._listener.drain(window_ms / 1000)

    def ask_to_move(self, window_ms: int = 0) -> None:
        """Asks every agent to open a new session, here or elsewhere; as a rebalancing server does."""
        for link in tuple(self._service.links):
            link.drain(window_ms)

    # The handler of the channel; see `headrace.server.ChannelHandler`.

    async def enroll(self, request: EnrollRequest, peer: str) -> EnrollResponse:
        """One token, any number of agents."""
        self.enrolments.append(request)
        if request.token != self._token:
            raise UnauthenticatedError("the bootstrap token is not known; ask for a new one")
        id = f"a-{len(self._agents) + 1}"
        agent = _Agent(id=id, credential=f"credential of {id}", facts=request.facts)
        self._agents[id] = agent
        self._changes.announce()
        return EnrollResponse(agent_id=id, credential=agent.credential, instance_id=self.instance_id)

    async def renew(self, agent_id: str, request: EnrollRequest) -> EnrollResponse:
        """It gives out no certificates, so there is nothing to renew."""
        raise UnavailableError("this control plane renews nothing")

    async def authenticate(self, credential: str, peer: str, certificate: bytes = b"") -> str:
        """By the credential that `enroll` gave, unless it was revoked."""
        for agent in self._agents.values():
            if agent.credential == credential and not agent.is_revoked:
                return agent.id
        raise UnauthenticatedError("the credential is unknown or revoked; enrol again")

    async def open(self, link: Link, hello: Hello) -> Welcome:
        """The newer session of a process wins; so does a newer process, and the older may not come back."""
        agent = self._agents[link.agent_id]
        if hello.boot_id in agent.superseded:
            raise CloseError(CloseReason.DUPLICATE_IDENTITY, f"another process is agent {agent.id} now")
        if agent.boot_id and agent.boot_id != hello.boot_id:
            agent.superseded.add(agent.boot_id)
        if agent.link is not None:
            agent.link.close(CloseReason.SUPERSEDED, "a newer session took over")
        agent.link, agent.boot_id, agent.is_synced = link, hello.boot_id, False
        agent.is_stranger = (hello.instance_id, hello.epoch) != (self.instance_id, self.epoch)
        self.sessions.append(hello)
        return Welcome(
            session_id=link.session_id,
            instance_id=self.instance_id,
            epoch=self.epoch,
            heartbeat_ms=self._heartbeat_ms,
            want_facts=hello.facts_digest != facts_digest(agent.facts),
            want_workloads=hello.workloads_digest != workloads_digest(agent.observed.values()),
            metrics=self._metrics,
            at=self._now(),
            sample_interval_ms=self.sample_interval_ms,
        )

    async def opened(self, link: Link) -> None:
        """Sends what differs; a plane that was restored, or is new to the agent, first raises its counter."""
        agent = self._agents[link.agent_id]
        agent.is_synced = True
        if any(observed.desired > self._given(observed.pipeline) for observed in agent.observed.values()):
            self._start_epoch(max(observed.desired for observed in agent.observed.values()))
        for message in self._messages.values():
            self._post(message, agent)
        link.post("complete", codec.encode_server(Complete(fleet_revision=self.generation)))
        self._changes.announce()

    async def receive(self, link: Link, message: Facts | Workloads | Answer | Goodbye | Proof) -> None:
        """Remembers what is said."""
        agent = self._agents[link.agent_id]
        match message:
            case Facts():
                agent.facts = message
            case Workloads():
                if message.complete:
                    agent.observed.clear()
                for observed in message.observed:
                    agent.observed[observed.pipeline] = observed
                    if observed == Observed(pipeline=observed.pipeline):
                        del agent.observed[observed.pipeline]
            case Answer():
                self._answers[message.command_id] = message
        self._changes.announce()

    async def closed(self, link: Link, why: str) -> None:
        """Forgets the session."""
        agent = self._agents[link.agent_id]
        if agent.link is link:
            agent.link, agent.is_synced = None, False
        self.farewells.append(why)
        self._changes.announce()

    async def get_blob(self, agent_id: str, sha256: str) -> bytes:
        """The contents that are desired."""
        for data in self._contents.values():
            if sha256_of(data) == sha256:
                return data
        raise NotFoundError(f"blob {sha256[:12]}: no desired pipeline of agent {agent_id!r} names it")

    async def expect_blob(self, agent_id: str, sha256: str) -> None:
        """Whatever comes is welcome."""

    async def put_blob(self, agent_id: str, sha256: str, data: bytes) -> None:
        """Into `blobs`."""
        self.blobs[sha256] = data
        self._changes.announce()

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        """Into `reports`, and each point once into `numbers`."""
        self.reports.append(request)
        if self.retry_reports_ms:
            return ReportResponse(stored=0, retry_after_ms=self.retry_reports_ms, at=self._now())
        series = {each.id: (each.name, tuple(sorted(each.tags.items()))) for each in request.series}
        numbers = self._numbers.setdefault(agent_id, {})
        for samples in request.samples:
            for id, value in zip(samples.series, samples.values, strict=True):
                numbers.setdefault(series[id], {})[samples.at] = value
        self._changes.announce()
        return ReportResponse(stored=request.sequence, at=self._now())

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def _agent(self, agent_id: str) -> _Agent:
        if agent_id:
            return self._agents[agent_id]
        (agent,) = self._agents.values()
        return agent

    def _stamp(self, pipeline: str, message: Callable[[int], ServerMessage], generation: int) -> int:
        self.generation = generation or self.generation + 1
        self._put(message(self.generation))
        return self.generation

    def _given(self, pipeline: str) -> int:
        """The newest generation of the pipeline that an agent can have from here."""
        message = self._messages.get(f"desired/{pipeline}")
        return message.generation if isinstance(message, Desired) else self.generation

    def _start_epoch(self, above: int) -> None:
        """Stamps what is desired anew, above what an agent has seen of a lost or foreign history.

        Removals keep their numbers: a pipeline with a newer one is not what was removed here, and stays as an orphan.
        """
        self.generation = max(self.generation, above)
        self.epoch += 1
        for message in tuple(self._messages.values()):
            if isinstance(message, Desired):
                pipeline, data = message.pipeline, self._contents[message.pipeline]
                self.generation += 1
                self._put(desired_of(pipeline, self.generation, data, self._limits))

    def _put(self, message: ServerMessage) -> None:
        self._messages[key_of(message)] = message
        for agent in self._agents.values():
            if agent.is_synced:
                self._post(message, agent)

    def _post(self, message: ServerMessage, agent: _Agent) -> None:
        if agent.link is not None and self._is_news(message, agent):
            agent.link.post(key_of(message), codec.encode_server(message))

    def _is_news(self, message: ServerMessage, agent: _Agent) -> bool:
        match message:
            case Desired():
                observed = agent.observed.get(message.pipeline)
                return agent.is_stranger or observed is None or observed.desired != message.generation
            case Remove():
                observed = agent.observed.get(message.pipeline)
                return observed is not None and observed.desired <= message.generation
            case _:
                return True
