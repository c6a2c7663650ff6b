"""The agent's own nouns: what it keeps about itself, the plane that it last saw, and each workload.

Everything here is immutable and small, so that it can be written to disk at every step; `agent.state` does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headrace.types import Attempt, Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What enrolment gave: who this agent is, and its secret."""

    agent_id: str
    credential: str = field(repr=False)
    instance_id: str = ""
    certificate: str = field(default="", repr=False)
    """PEM; the key that it is for is in a file of its own."""
    ca_bundle: str = field(default="", repr=False)
    """The authorities by which the control plane knows agents, in PEM."""
    certificate_from: datetime | None = None
    certificate_until: datetime | None = None
    certificate_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """What the control plane last said that concerns the agent as a whole."""

    instance_id: str = ""
    epoch: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """A generation of a pipeline, and the hash of its content."""

    generation: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The tombstone of a pipeline; `at` is when its engine had stopped, None before."""

    generation: int
    purge: bool = False
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """Enough to find an engine process again: a pid alone may be another process by now.

    `start_time` is in clock ticks since boot, `port` that of its monitoring API on loopback, `config` the name of the
    file that it was started with, `grace` the seconds that it takes to flush at a stop.
    """

    pid: int
    start_time: int
    port: int
    config: str
    grace: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What was started last, on what basis, and as which process."""

    target: Target
    basis: str
    engine: Engine
    child: Child
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that outlives the agent about one workload.

    A basis is a digest of everything but the content on which the outcome of an attempt depends: the engine and its
    version, the values of the variables that are used, the agent's policy. A new basis is worth a new attempt.
    """

    pipeline: str
    desired: Target | None = None
    removal: Removal | None = None
    attempt: Attempt | None = None
    attempt_basis: str = ""
    run: Run | None = None
    good: Target | None = None
    restarts: int = 0
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> frozenset[str]:
        """Hashes of the contents that must not be collected."""
        targets = (self.desired, self.run and self.run.target, self.good)
        return frozenset(target.sha256 for target in targets if target)
