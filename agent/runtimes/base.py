"""What the agent asks of an engine: a runtime validates and starts, an instance is one running process.

Faults come as exceptions: ConfigurationFault when the configuration cannot work, EnvironmentFault when something else
is in the way, EngineLostError when a process is of no more use. All methods may be cancelled, and then leave no process
behind that they started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.errors import AgentError
from agent.model import Child
from agent.restart import Exit
from headrace.config import Document
from headrace.types import EngineInfo, Fault


class EngineLostError(AgentError):
    """A process ended, hangs or does not do what it says; only a new one helps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; `stop` comes on top of the grace that a pipeline asks for."""

    start: float = 20.0
    reload: float = 10.0
    stop: float = 5.0
    answer: float = 3.0
    validate: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What a process is started with, or reloaded to. `sha256` is of the configuration file's bytes."""

    folder: Path
    config: Path
    sha256: str
    environment: Mapping[str, str]
    port: int
    log: Path
    lock: Path
    grace: float = 5.0
    """Seconds that the pipeline asks for to flush at a stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How an instance is doing: whether it is well, and how many records or chunks it gave up, ever."""

    is_well: bool
    given_up: int = 0
    message: str = ""


class Instance(Protocol):
    """One engine process."""

    @property
    def child(self) -> Child:
        """By what it is found again."""

    @property
    def alive(self) -> bool: ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Called once when it has ended."""

    def ending(self, now: float) -> Exit:
        """How it ended."""

    async def reload(self, launch: Launch) -> None:
        """Change to another configuration at the same path. Returns once that runs.

        Raises ConfigurationFault when it was refused and the old one runs on, EngineLostError in every other case.
        """

    async def report(self) -> Report:
        """How it is doing. Raises EngineLostError when it does not answer."""

    async def scrape(self) -> str:
        """Its metrics in the Prometheus text format. Raises EngineLostError when it does not answer."""

    async def stop(self) -> bool:
        """End it; whether it went by itself in time."""


class Runtime(Protocol):
    """One engine on this host."""

    @property
    def info(self) -> EngineInfo: ...

    async def catalogue(self) -> bytes:
        """The plugins and properties that it knows, as its JSON schema. Raises EnvironmentFault."""

    async def validate(self, launch: Launch) -> tuple[Fault, ...]:
        """What it objects to without running anything. Raises EnvironmentFault."""

    async def try_out(
        self, launch: Launch, document: Document, expanded: Document, *, scratch: Path
    ) -> tuple[str, ...]:
        """Start it beside what runs, where it can do no harm; says what of it was not tried.

        `document` is what `launch.config` holds, `expanded` the same with its variables' values; `scratch` is a folder
        for this alone. Raises ConfigurationFault and EnvironmentFault, and OSError from the scratch folder.
        """

    async def start(self, launch: Launch) -> Instance:
        """A process that is ready. Raises ConfigurationFault and EnvironmentFault."""

    def adopt(self, child: Child, launch: Launch) -> Instance | None:
        """The process that an earlier agent started, if it still runs."""
