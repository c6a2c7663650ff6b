"""An agent that runs nothing and says that it does, on the real channel."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from headrace.client import AgentChannel, Backlog, ChannelState, Identity, OnTime, PlaneSeen, enroll
from headrace.content import check, unpack
from headrace.errors import HeadraceError
from headrace.messages import (
    Answer,
    Authorities,
    Command,
    Complete,
    Desired,
    EnrollRequest,
    Remove,
    Secrets,
    Variables,
    Welcome,
)
from headrace.security import ClientTls
from headrace.testing.waiting import Changes
from headrace.types import Attempt, AttemptState, Engine, Facts, Health, Observed, Running


def succeeds(desired: Desired, before: Observed | None) -> Observed:
    """What is desired runs, and is good."""
    generation = desired.generation
    return Observed(
        pipeline=desired.pipeline,
        desired=generation,
        attempt=Attempt(generation=generation, state=AttemptState.OK),
        running=Running(generation=generation, sha256=desired.sha256, health=Health.HEALTHY, engine=Engine.EMBEDDED),
        good=generation,
    )


class FakeAgent:
    """Enrols, connects and reports success for whatever is desired; an async context manager.

    `outcome` says how a Desired ends, given what was observed before it. A content is fetched when it does not ride
    along, and its hash is checked. `identity` continues an agent that enrolled before.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str = "token",
        identity: Identity | None = None,
        facts: Facts | None = None,
        boot_id: str = "",
        tls: ClientTls | None = None,
        rng: random.Random | None = None,
        outcome: Callable[[Desired, Observed | None], Observed] = succeeds,
        answer: Callable[[Command], Answer] | None = None,
        backlog: Backlog | None = None,
        on_time: OnTime | None = None,
    ) -> None:
        self.contents: dict[str, bytes] = {}
        """Canonical bytes of what was last desired, by pipeline."""
        self.welcome: Welcome | None = None
        """What the last session was opened with."""
        self.variables = Variables()
        self.secrets = Secrets()
        self.authorities: list[Authorities] = []
        """What it was told of them, in order."""
        self.completed = 0
        """How often Complete came."""
        self.history: list[Desired | Remove] = []
        """What was handed on, in order."""
        self.refusals: list[HeadraceError] = []
        self.commands: list[Command] = []
        self._target = target
        self._token = token
        self._identity = identity
        self._facts = facts or Facts(name="fake", version="0", capabilities=("secrets",))
        self._tls = tls
        self._outcome = outcome
        self._answer = answer or (lambda command: Answer(command_id=command.id, ok=True))
        self._plane = PlaneSeen()
        self._observed: dict[str, Observed] = {}
        self._changes = Changes()
        self.channel = AgentChannel(
            target,
            self,
            boot_id=boot_id or secrets.token_hex(8),
            tls=tls,
            rng=rng,
            on_state=lambda state: self._changes.announce(),
            backlog=backlog,
            on_time=on_time,
        )
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._identity is None:
            request = EnrollRequest(token=self._token, facts=self._facts)
            response = await enroll(self._target, request, tls=self._tls)
            self._identity = Identity(agent_id=response.agent_id, credential=response.credential)
        self._running = asyncio.create_task(self.channel.run(), name=f"channel of {self.agent_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
            if not self._running.cancelled():
                self._running.result()

    @property
    def agent_id(self) -> str:
        """Once entered."""
        return self.identity().agent_id

    @property
    def state(self) -> ChannelState:
        """Of the channel."""
        return self.channel.state

    def report(self, observed: Observed) -> None:
        """Changes what it says of one pipeline."""
        self._observed[observed.pipeline] = observed
        self.channel.notify(observed.pipeline)
        self._changes.announce()

    def set_facts(self, facts: Facts) -> None:
        """Changes what it says of itself."""
        self._facts = facts
        self.channel.notify_facts()

    async def until(self, condition: Callable[[Self], bool], *, timeout: float = 10.0) -> None:
        """Waits until the condition holds of this agent."""
        await self._changes.until(lambda: condition(self), timeout=timeout, shown=lambda: (self.state, self._observed))

    # The handler of the channel; see `headrace.client.AgentHandler`.

    def identity(self) -> Identity:
        """As enrolled."""
        if self._identity is None:
            raise RuntimeError("the agent has not enrolled yet; enter it first")
        return self._identity

    def facts(self) -> Facts:
        """As given."""
        return self._facts

    def observed(self) -> Mapping[str, Observed]:
        """What it says that it runs, by pipeline."""
        return self._observed

    def plane(self) -> PlaneSeen:
        """What the last Welcome said."""
        return self._plane

    async def on_welcome(self, welcome: Welcome) -> None:
        """Remembers the plane."""
        self.welcome = welcome
        self._plane = PlaneSeen(instance_id=welcome.instance_id, epoch=welcome.epoch)
        self._changes.announce()

    async def on_desired(self, desired: Desired) -> None:
        """Takes the content, checks it, and lets `outcome` say how it ends."""
        if desired.payload:
            data = unpack(desired)
        else:
            data = await self.channel.get_blob(desired.sha256)
            check(data, sha256=desired.sha256, what=desired.pipeline)
        self.history.append(desired)
        self.contents[desired.pipeline] = data
        self.report(self._outcome(desired, self._observed.get(desired.pipeline)))

    async def on_remove(self, remove: Remove) -> None:
        """Forgets the pipeline."""
        self.history.append(remove)
        self._observed.pop(remove.pipeline, None)
        self.contents.pop(remove.pipeline, None)
        self.channel.notify(remove.pipeline)
        self._changes.announce()

    async def on_variables(self, variables: Variables) -> None:
        """Remembers them."""
        self.variables = variables
        self._changes.announce()

    async def on_secrets(self, secrets: Secrets) -> None:
        """Remembers them."""
        self.secrets = secrets
        self._changes.announce()

    async def on_authorities(self, authorities: Authorities) -> None:
        """Remembers it, and renews nothing."""
        self.authorities.append(authorities)
        self._changes.announce()

    async def on_complete(self, complete: Complete) -> None:
        """Counts."""
        self.completed += 1
        self._changes.announce()

    async def on_command(self, command: Command) -> Answer:
        """As `answer` says; by default, all is well."""
        self.commands.append(command)
        return self._answer(command)

    async def on_refused(self, error: HeadraceError) -> bool:
        """Remembers it, and waits."""
        self.refusals.append(error)
        self._changes.announce()
        return False
