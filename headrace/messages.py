"""The messages of the control channel as frozen dataclasses; `headrace.codec` puts them on the wire.

`AgentMessage` is what an agent sends on `Connect`, `ServerMessage` what it gets. docs/protocol.md tells the story.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headrace.types import CloseReason, CommandKind, Encoding, Facts, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollRequest:
    """A bootstrap token and what the agent says of itself, in exchange for an identity."""

    token: str
    facts: Facts
    csr: bytes = b""
    claims: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollResponse:
    """An identity, or (`pending_until`) when to ask again."""

    pending_until: datetime | None = None
    agent_id: str = ""
    credential: str = ""
    certificate: bytes = b""
    ca_bundle: bytes = b""
    instance_id: str = ""
    certificate_port: int = 0
    certificate_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Opens a session: who, which process start, what was last seen, and two digests."""

    agent_id: str
    boot_id: str
    session_number: int
    instance_id: str = ""
    epoch: int = 0
    protocol_min: int = 1
    protocol_max: int = 1
    facts_digest: str = ""
    workloads_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Accepts a session and says which lists are wanted."""

    session_id: str
    instance_id: str
    epoch: int
    protocol: int = 1
    heartbeat_ms: int = 20_000
    want_facts: bool = False
    want_workloads: bool = False
    metrics: bool = False
    max_message_bytes: int = 4 << 20
    at: datetime | None = None
    sample_interval_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Asks the agent to prove that it has its key."""

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Answers a challenge."""

    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Workloads:
    """What changed among the workloads, or (`complete`) all of them."""

    observed: tuple[Observed, ...] = ()
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Says nothing but that the sender is there."""

    reply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """One pipeline at one generation, the same bytes for every agent; an empty payload is fetched by `GetBlob`."""

    pipeline: str
    generation: int
    sha256: str
    encoding: Encoding = Encoding.IDENTITY
    size: int = 0
    payload: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """The explicit tombstone of a pipeline on an agent."""

    pipeline: str
    generation: int
    purge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """The agent's effective labels, and the operators' values for it."""

    labels: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One version of a secret's value."""

    name: str
    version: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """All secrets that the agent's desired pipelines name."""

    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """By whom the control plane knows agents' certificates (PEM, the one that signs first), while that changes.

    `renew_within_ms`, when it is not 0: the agent's certificate is by one that signs no more, and is to be renewed.
    """

    ca_bundle: bytes
    renew_within_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """All that was desired at this fleet revision has been sent."""

    fleet_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Open a new session within the window, then close this one."""

    window_ms: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something to do at most once, before a deadline."""

    id: str
    kind: CommandKind
    pipeline: str = ""
    deadline: datetime | None = None
    lines: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a command ended."""

    command_id: str
    ok: bool
    message: str = ""
    output: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodbye:
    """The agent leaves on purpose."""

    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """The control plane ends the session, and why."""

    reason: CloseReason
    message: str = ""
    retry_after_ms: int = 0


AgentMessage = Hello | Proof | Facts | Workloads | Heartbeat | Answer | Goodbye
ServerMessage = (
    Welcome
    | Challenge
    | Desired
    | Remove
    | Variables
    | Secrets
    | Authorities
    | Complete
    | Drain
    | Command
    | Heartbeat
    | Close
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Defines a series once per `Report` stream."""

    id: int
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Values of some series at one moment; `series` and `values` are equally long."""

    at: datetime
    series: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """A batch of metrics; acknowledged by its sequence once it is stored."""

    sequence: int
    series: tuple[Series, ...] = ()
    samples: tuple[Samples, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportResponse:
    """Everything up to `stored` may be forgotten."""

    stored: int
    retry_after_ms: int = 0
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlobRequest:
    """Asks for a blob that the agent's own desired set names."""

    sha256: str
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlobResponse:
    """A piece of a blob."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBlobRequest:
    """A piece of a blob; the first one names it."""

    sha256: str = ""
    size: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBlobResponse:
    """The blob is stored."""
