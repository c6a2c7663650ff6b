"""Many agents in this process, each with a key, a data folder and the agent's own rotation, but no engines.

What they do about who they are is the agent's code: `agent.state`, `agent.keys`, `agent.rotation` and `agent.handler`;
what they run they only say (`FakeAgent`). They live in a loop of their own, in a thread, so that the test may wait.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self, TypeVar, cast

from agent import keys
from agent.handler import Handler
from agent.rotation import Rotation, identity_of
from agent.state import State
from headrace.client import Identity, enroll
from headrace.errors import HeadraceError
from headrace.messages import Authorities, EnrollRequest, EnrollResponse, Welcome
from headrace.testing import FakeAgent
from headrace.types import Facts

_AT_ONCE = 25
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class Rotating(FakeAgent):
    """A fake that is real in who it is."""

    def __init__(self, target: str, name: str, folder: Path, token: str) -> None:
        facts = Facts(name=name, version="0")
        super().__init__(target, token=token, facts=facts)
        folder.mkdir()
        self.folder = folder
        self.kept = State(folder)
        self.kept.open()
        self.ids: set[str] = set()
        """Every id that it ever had."""
        self._given = facts
        self._rotation = Rotation(
            self.kept,
            facts=lambda: facts,
            request=partial(keys.request, folder),
            call=self._call,
            move=self.channel.move,
            now=_now,
            roll=random.random,
        )
        self._handler = Handler(
            cast("Any", SimpleNamespace(state=self.kept, now=_now)),
            cast("Any", None),
            facts=lambda: facts,
            enrol=self._enrol,
            upload=cast("Any", None),
            commit=self._rotation.commit,
            trust=self._rotation.tell,
        )
        self._renewing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._enrol()
        self._identity = self._handler.identity()
        self._renewing = asyncio.create_task(self._rotation.run(), name=f"rotation of {self.agent_id}")
        return await super().__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
        await super().__aexit__(kind, error, trace)
        self.kept.close()

    def identity(self) -> Identity:
        return self._handler.identity()

    async def on_welcome(self, welcome: Welcome) -> None:
        await super().on_welcome(welcome)
        await self._handler.on_welcome(welcome)

    async def on_authorities(self, authorities: Authorities) -> None:
        await super().on_authorities(authorities)
        await self._handler.on_authorities(authorities)

    async def on_refused(self, error: HeadraceError) -> bool:
        await super().on_refused(error)
        return await self._handler.on_refused(error)

    async def _call(self, request: EnrollRequest) -> EnrollResponse:
        return await self.channel.enroll(request)

    async def _enrol(self) -> bool:
        previous = self.kept.identity
        claims = {"credential": previous.credential} if previous else {}
        request = EnrollRequest(token=self._token, facts=self._given, csr=keys.request(self.folder), claims=claims)
        self.kept.save_identity(identity_of(await enroll(self._target, request, timeout=60), _now()))
        assert self.kept.identity is not None
        self.ids.add(self.kept.identity.agent_id)
        return True


class Swarm:
    """`count` agents that connect to one address; a context manager."""

    def __init__(self, target: str, folder: Path, *, token: str, count: int) -> None:
        folder.mkdir()
        self._target = target
        self._folder = folder
        self._token = token
        self._count = count
        self.agents: list[Rotating] = []
        self._stack = AsyncExitStack()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="swarm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(300)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), self._loop).result(300)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """In the agents' loop: gRPC is used from one loop of a process at a time."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def renewed(self, certificates: dict[str, str]) -> int:
        """How many have another certificate on disk than this, and none that is to take over."""
        return sum(
            agent.kept.next_identity is None and certificates[agent.folder.name] != _certificate(agent)
            for agent in self.agents
        )

    def certificates(self) -> dict[str, str]:
        """By the agent's name."""
        return {agent.folder.name: _certificate(agent) for agent in self.agents}

    async def _start(self) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def enter(agent: Rotating) -> None:
            async with turns:
                await self._stack.enter_async_context(agent)

        self.agents = [
            Rotating(self._target, name, self._folder / name, self._token)
            for name in (f"swarm-{number}" for number in range(self._count))
        ]
        async with asyncio.TaskGroup() as group:
            for agent in self.agents:
                group.create_task(enter(agent))


def _certificate(agent: Rotating) -> str:
    return agent.kept.identity.certificate if agent.kept.identity else ""
