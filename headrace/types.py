"""The vocabulary that the control plane, the agent and integrators share, as frozen dataclasses.

Each class mirrors the message of the same name in `proto/headrace/v1`, field by field; `headrace.codec` translates by
these names, and a test holds the two against each other. Times are aware datetimes in UTC; sha256 is lower-case hex.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Engine(StrEnum):
    """What executes a pipeline; `auto` takes the first engine that the agent has."""

    AUTO = "auto"
    FLUENT_BIT = "fluent-bit"
    EMBEDDED = "embedded"


class Role(StrEnum):
    """What somebody may do with the management API; each may do what those before it may."""

    READ = "read"
    EDIT = "edit"
    DEPLOY = "deploy"
    ADMIN = "admin"


class KnownBy(StrEnum):
    """By what somebody who uses the management API is known; `local` is the token of whoever started the plane."""

    TOKEN = "token"
    CERTIFICATE = "certificate"
    HEADER = "header"
    GROUP = "group"
    KUBERNETES = "kubernetes"
    LOCAL = "local"


class AttemptState(StrEnum):
    """How far an attempt at a generation got."""

    PENDING = "pending"
    VALIDATING = "validating"
    APPLYING = "applying"
    OK = "ok"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Step(StrEnum):
    """The steps by which a change is applied, in order."""

    RENDER = "render"
    VALIDATE = "validate"
    TRIAL = "trial"
    APPLY = "apply"
    SETTLE = "settle"


class Health(StrEnum):
    """Of a running workload."""

    STARTING = "starting"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRASH_LOOPING = "crash_looping"
    STOPPED = "stopped"


class Phase(StrEnum):
    """The one word that people see for a workload; see `phase_of`."""

    PENDING = "pending"
    APPLYING = "applying"
    RUNNING = "running"
    GOOD = "good"
    DEGRADED = "degraded"
    FAILED = "failed"
    CRASH_LOOPING = "crash_looping"
    STOPPED = "stopped"
    REMOVING = "removing"
    ORPHANED = "orphaned"


class AgentState(StrEnum):
    """Where an agent is in its life."""

    PENDING = "pending"
    CONNECTED = "connected"
    SUSPECT = "suspect"
    LOST = "lost"
    GONE = "gone"
    REVOKED = "revoked"


class Severity(StrEnum):
    """Of a fault or an event."""

    WARNING = "warning"
    ERROR = "error"


class Encoding(StrEnum):
    """Of a desired payload."""

    IDENTITY = "identity"
    DEFLATE = "deflate"


class CommandKind(StrEnum):
    """What an agent is asked to do once."""

    RESTART = "restart"
    RETRY = "retry"
    LOGS = "logs"
    UPLOAD = "upload"


class CloseReason(StrEnum):
    """Why the control plane ends a session."""

    SUPERSEDED = "superseded"
    DUPLICATE_IDENTITY = "duplicate_identity"
    REVOKED = "revoked"
    PROTOCOL = "protocol"
    TOO_SLOW = "too_slow"
    DRAINED = "drained"
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with a configuration, and where; line and column are 1-based, 0 when unknown."""

    message: str
    plugin: str = ""
    property: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file and self.line else ""
        return f"{place}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The newest thing that an agent tried for a workload.

    A configuration fault quarantines the generation; an environment fault leaves `retry_at`.
    """

    generation: int
    state: AttemptState = AttemptState.PENDING
    step: Step | None = None
    faults: tuple[Fault, ...] = ()
    quarantined: bool = False
    retry_at: datetime | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What really runs: a generation, the hash of its content, and how it is doing."""

    generation: int
    sha256: str
    health: Health = Health.STARTING
    engine: Engine | None = None
    since: datetime | None = None
    restarts: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The three truths about one workload: asked for, tried, running; and the newest generation that settled."""

    pipeline: str
    desired: int = 0
    attempt: Attempt | None = None
    running: Running | None = None
    good: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInfo:
    """An engine that an agent has, and the hash of its plugin catalogue."""

    engine: Engine
    version: str = ""
    catalogue_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an agent says of itself; the labels are claims."""

    name: str
    version: str = ""
    os: str = ""
    arch: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    engines: tuple[EngineInfo, ...] = ()
    clock_ahead_ms: int = 0


def clock_text(ahead_ms: int) -> str:
    """How wrong an agent's clock is, in words."""
    seconds = round(abs(ahead_ms) / 1000)
    parts = [(seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    length = " ".join(f"{count}{unit}" for count, unit in parts if count) or "0s"
    return f"{length} {'ahead of' if ahead_ms > 0 else 'behind'} the control plane's"


def phase_of(observed: Observed | None, *, generation: int | None, known: bool = True) -> Phase:
    """The phase of a workload.

    `generation` is what the agent should run, None when it should not run the pipeline; `known` is whether this
    instance knows the pipeline at all. Pure and total.
    """
    if observed is None:
        return Phase.PENDING
    if not known:
        return Phase.ORPHANED
    if generation is None:
        return Phase.REMOVING
    attempt, running = observed.attempt, observed.running
    if attempt is None or observed.desired < generation or attempt.generation < generation:
        return Phase.PENDING
    match attempt.state:
        case AttemptState.FAILED:
            return Phase.FAILED
        case AttemptState.PENDING | AttemptState.SUPERSEDED:
            return Phase.PENDING
        case AttemptState.VALIDATING | AttemptState.APPLYING:
            return Phase.APPLYING
        case AttemptState.OK:
            return _running_phase(observed, running, generation)


_PHASE_BY_HEALTH = {
    Health.DEGRADED: Phase.DEGRADED,
    Health.CRASH_LOOPING: Phase.CRASH_LOOPING,
    Health.STOPPED: Phase.STOPPED,
}


def _running_phase(observed: Observed, running: Running | None, generation: int) -> Phase:
    if running is None:
        return Phase.STOPPED
    if running.health in _PHASE_BY_HEALTH:
        return _PHASE_BY_HEALTH[running.health]
    return Phase.GOOD if observed.good >= generation else Phase.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that a configuration refers to."""

    name: str
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """A secret, and the environment variable that carries it."""

    name: str
    env: str = ""
