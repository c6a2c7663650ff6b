"""What the control plane remembers: one frozen dataclass per table, in the words of the glossary.

A row class names its primary key in `KEY`; `controlplane.state` stores any of them by that and nothing else. Times are
aware datetimes in UTC. Rows hold no behaviour beyond what follows from their own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from headrace.api import Action
from headrace.types import AgentState, CommandKind, Engine, Facts, KnownBy, Observed, Phase, Role, Severity

AUTHORITIES_KEY = "authorities"
"""The key of entries of the change log that are about authorities of certificates; their topic is PLANE."""
SECRET_KEY = "secret/"
"""Before a secret's name, the key of its entries in the change log. Their topic is VARIABLE, which every version reads;
no variable's name has a slash."""


class Verdict(StrEnum):
    """What an operator said of an application."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"


class Topic(StrEnum):
    """What an entry of the change log is about; its key names which one."""

    PIPELINE = "pipeline"
    AGENT = "agent"
    OBSERVED = "observed"
    VARIABLE = "variable"
    TOKEN = "token"
    COMMAND = "command"
    EVENT = "event"
    PLANE = "plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneRow:
    """The one counter row: who this instance is and how far it has counted."""

    KEY: ClassVar = ("id",)
    id: int = 1
    instance_id: str
    epoch: int
    fleet_revision: int
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRow:
    """A pipeline as it is now; a deleted one stays as a tombstone, so that its revisions go on counting."""

    KEY: ClassVar = ("name",)
    name: str
    revision: int
    generation: int
    sha256: str
    engine: Engine
    selector: str
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    deleted: bool = False
    purge: bool = False
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRow:
    """One immutable version of a pipeline; with the content of `sha256` it is the whole manifest."""

    KEY: ClassVar = ("pipeline", "number")
    pipeline: str
    number: int
    generation: int
    sha256: str
    selector: str
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    action: Action
    author: str
    reason: str = ""
    at: datetime
    author_known_by: KnownBy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRow:
    """Bytes by their hash: canonical contents and plugin catalogues."""

    KEY: ClassVar = ("sha256",)
    sha256: str
    data: bytes
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """An enrolled agent. Of its labels, those of the token win over the operator's over the claimed ones."""

    KEY: ClassVar = ("id",)
    id: str
    name: str
    state: AgentState
    facts: Facts
    token_labels: Mapping[str, str] = field(default_factory=dict)
    operator_labels: Mapping[str, str] = field(default_factory=dict)
    credential_hash: str
    token_id: str = ""
    enrolled_at: datetime
    last_seen: datetime | None = None
    state_since: datetime
    scope: str = ""
    """Selector text that names the labels which the agent may claim, from its token; empty is any."""
    public_key: str = ""
    """SubjectPublicKeyInfo in base64; empty for an agent that enrolled without a key."""
    serial: str = ""
    """Of its certificate, in hex; empty when it has none."""
    next_hash: str = ""
    """Of the credential that takes over once the agent has shown that it has it, with its key and serial."""
    next_key: str = ""
    next_serial: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The effective ones."""
        return {**self.facts.labels, **self.operator_labels, **self.token_labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """Who owns an agent's session: compared and set, never guessed."""

    KEY: ClassVar = ("agent_id",)
    agent_id: str
    session_id: str
    boot_id: str
    session_number: int
    replica: str
    lease_until: datetime
    opened_at: datetime
    superseded: tuple[str, ...] = ()
    """Boot ids that were replaced, newest last, the last eight."""
    shown: str = ""
    """By what the agent showed who it is: `credential`, `key` or `certificate`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRow:
    """The three truths about one workload, and the phase that follows from them."""

    KEY: ClassVar = ("agent_id", "pipeline")
    agent_id: str
    pipeline: str
    observed: Observed
    phase: Phase
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TransitionRow:
    """A workload's phase changed."""

    KEY: ClassVar = ("revision",)
    revision: int
    at: datetime
    agent_id: str
    pipeline: str
    generation: int
    before: Phase | None
    after: Phase
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A bootstrap token; only the hash of its secret is kept."""

    KEY: ClassVar = ("id",)
    id: str
    secret_hash: str
    created_at: datetime
    expires_at: datetime
    uses: int = 0
    max_uses: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    revoked: bool = False
    author: str = ""
    description: str = ""
    max_agents: int = 0
    """How many agents that enrolled with it may be there at one time; 0 is without limit."""
    scope: str = ""
    """Selector text that names the labels which an agent may claim; empty is any."""
    networks: tuple[str, ...] = ()
    """From where it may be used, as CIDRs; empty is anywhere."""
    approve: bool = False
    """Whether an operator has to approve of each agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRow:
    """An agent that wants to enrol and needs an operator's approval, or has it and has not come back yet."""

    KEY: ClassVar = ("id",)
    id: str
    """The agent's id, should it be approved."""
    public_key: str
    name: str
    facts: Facts
    token_id: str
    source: str
    """The address that it came from."""
    claimed: str = ""
    """The agent whose credential it showed, without the key that belongs to it."""
    asked_at: datetime
    expires_at: datetime
    verdict: Verdict = Verdict.WAITING
    replaces: str = ""
    """The agent whose id it gets instead."""
    author: str = ""
    """Who decided."""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRow:
    """A certificate that was given out, until it expires; one that was revoked is good for nothing before that."""

    KEY: ClassVar = ("serial",)
    serial: str
    agent_id: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    reason: str = ""
    authority: str = ""
    """The fingerprint of the authority that signed it; empty is the oldest, from before they were recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityRow:
    """An authority of agents' certificates, without its key. The newest signs; one that ended stays, to be known."""

    KEY: ClassVar = ("fingerprint",)
    fingerprint: str
    """SHA-256 of the certificate, in hex."""
    number: int
    certificate: bytes
    """PEM."""
    added_at: datetime
    ended_at: datetime | None = None
    """Since when nobody is known by it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """Somebody who uses the management API; of a token only the hash is kept."""

    KEY: ClassVar = ("name",)
    name: str
    role: Role
    token_hash: str
    revoked: bool = False
    author: str = ""
    description: str = ""
    created_at: datetime
    expires_at: datetime | None = None
    known_by: KnownBy = KnownBy.TOKEN
    subject: str = ""
    """Whom a certificate or a header names, or the group; empty for who has a token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableRow:
    """A value of `${NAME}` for the agents that the selector matches."""

    KEY: ClassVar = ("name", "selector")
    name: str
    selector: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRow:
    """A secret's newest value, encrypted; a deleted one stays without it, so that its versions go on counting."""

    KEY: ClassVar = ("name",)
    name: str
    version: int
    value: bytes = field(repr=False)
    """As `headrace.keyring` closes it."""
    deleted: bool = False
    author: str = ""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRow:
    """Something that an agent is asked to do at most once, and its answer."""

    KEY: ClassVar = ("id",)
    id: str
    agent_id: str
    kind: CommandKind
    pipeline: str = ""
    lines: int = 0
    sha256: str = ""
    deadline: datetime
    done: bool = False
    ok: bool = False
    message: str = ""
    output: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """An entry of the change log: at this fleet revision, this became different."""

    KEY: ClassVar = ("revision",)
    revision: int
    topic: Topic
    key: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Who did what, what happened where; for people."""

    KEY: ClassVar = ("revision",)
    revision: int
    at: datetime
    kind: str
    severity: Severity | None = None
    """None for mere information."""
    actor: str = ""
    pipeline: str = ""
    agent_id: str = ""
    generation: int = 0
    message: str = ""
    actor_known_by: KnownBy | None = None
    source: str = ""
    """The address that whoever did it called from."""


Row = (
    PlaneRow
    | PipelineRow
    | RevisionRow
    | BlobRow
    | AgentRow
    | SessionRow
    | ObservedRow
    | TransitionRow
    | TokenRow
    | ApplicationRow
    | CertificateRow
    | AuthorityRow
    | UserRow
    | VariableRow
    | SecretRow
    | CommandRow
    | ChangeRow
    | EventRow
)
LogRow = TransitionRow | ChangeRow | EventRow
"""Rows that are only appended, keyed by fleet revision, and trimmed by age."""
