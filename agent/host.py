"""What all workloads of an agent share: its engines, its rules, its disk, its clock and its dice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent.counts import Counts
from agent.environment import known_variables
from agent.folders import Folder
from agent.policy import Policy
from agent.preparation import Prepared, prepare
from agent.runtimes import Instance, Runtime, resolve
from agent.state import State
from headrace.content import Content
from headrace.types import Engine


async def _nobody_looks(pipeline: str, instance: Instance) -> None:
    pass


def _nobody_cares(pipeline: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Shared by reference; only `state` and `counts` change.

    `before_end` is called right before an engine is changed or ended, since its counters end with it, and `disturbed`
    when that did not come about, or when an engine ended by itself.

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
    counts: Counts = field(default_factory=Counts)
    before_end: Callable[[str, Instance], Awaitable[None]] = _nobody_looks
    disturbed: Callable[[str], None] = _nobody_cares
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
            secrets={name: (held.value, held.mark) for name, held in self.state.secrets.held.items()},
        )
