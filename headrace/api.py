"""The management API's messages as frozen dataclasses: what `headrace.management` sends and the control plane answers.

They mirror `proto/headrace/v1/management.proto` field by field; the comments there say what each field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from headrace.types import AgentState, Engine, Facts, Fault, Observed, Phase, Role, Severity


class Action(StrEnum):
    """What a change does to a pipeline."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A pipeline as people write it."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    selector: str = ""
    engine: Engine = Engine.AUTO
    config: str = ""
    files: tuple[File, ...] = ()
    secrets: tuple[SecretReference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One pipeline on one agent; `generation` is what the agent should run, 0 when it should not run it."""

    pipeline: str
    agent_id: str = ""
    agent_name: str = ""
    agent_state: AgentState = AgentState.PENDING
    phase: Phase = Phase.PENDING
    observed: Observed | None = None
    generation: int = 0
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline as it is: its manifest, numbers, and where its agents are."""

    manifest: Manifest
    revision: int = 0
    generation: int = 0
    sha256: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    phases: Mapping[str, int] = field(default_factory=dict)
    workloads: tuple[Workload, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One immutable version of a pipeline: who, when, why, and what."""

    pipeline: str
    number: int = 0
    generation: int = 0
    sha256: str = ""
    action: Action = Action.UNCHANGED
    author: str = ""
    reason: str = ""
    at: datetime | None = None
    manifest: Manifest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a change did, or (dry run) would do, to one pipeline: agents that match, gain and lose it."""

    pipeline: str
    action: Action = Action.UNCHANGED
    revision: int = 0
    generation: int = 0
    agents: int = 0
    gained: int = 0
    lost: int = 0
    findings: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPipelinesRequest:
    """Asks for `ApplyPipelines`."""

    manifests: tuple[Manifest, ...] = ()
    reason: str = ""
    dry_run: bool = False
    force: bool = False
    prune: str = ""
    if_revision: int | None = None
    confirm: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyPipelinesResponse:
    """Answers `ApplyPipelines`."""

    changes: tuple[Change, ...] = ()
    fleet_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePipelinesRequest:
    """Asks for `DeletePipelines`."""

    names: tuple[str, ...] = ()
    reason: str = ""
    dry_run: bool = False
    confirm: int = 0
    purge: bool = False
    orphaned_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePipelinesResponse:
    """Answers `DeletePipelines`."""

    changes: tuple[Change, ...] = ()
    fleet_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPipelineRequest:
    """Asks for `RollbackPipeline`."""

    name: str
    to_revision: int = 0
    reason: str = ""
    confirm: int = 0
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPipelineResponse:
    """Answers `RollbackPipeline`."""

    change: Change
    fleet_revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPipelinesRequest:
    """Asks for `ListPipelines`."""

    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPipelinesResponse:
    """Answers `ListPipelines`."""

    pipelines: tuple[Pipeline, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPipelineRequest:
    """Asks for `GetPipeline`."""

    name: str
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPipelineResponse:
    """Answers `GetPipeline`."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRevisionsRequest:
    """Asks for `ListRevisions`."""

    name: str
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRevisionsResponse:
    """Answers `ListRevisions`."""

    revisions: tuple[Revision, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPipelineRequest:
    """Asks for `WatchPipeline`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPipelineResponse:
    """Answers `WatchPipeline`."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPipelineRequest:
    """Asks for `RestartPipeline`."""

    name: str
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPipelineResponse:
    """Answers `RestartPipeline`."""

    results: tuple[CommandResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPipelineRequest:
    """Asks for `RetryPipeline`."""

    name: str
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPipelineResponse:
    """Answers `RetryPipeline`."""

    results: tuple[CommandResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """How a command ended on one agent."""

    agent_id: str
    ok: bool = False
    message: str = ""
    agent_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogsRequest:
    """Asks for `GetLogs`."""

    pipeline: str
    agent: str = ""
    lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLogsResponse:
    """Answers `GetLogs`."""

    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptWorkloadRequest:
    """Asks for `AdoptWorkload`."""

    pipeline: str
    agent: str = ""
    selector: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptWorkloadResponse:
    """Answers `AdoptWorkload`."""

    change: Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An enrolled agent, its effective labels and what it runs."""

    id: str
    facts: Facts
    labels: Mapping[str, str] = field(default_factory=dict)
    state: AgentState = AgentState.PENDING
    enrolled_at: datetime | None = None
    last_seen: datetime | None = None
    connected_at: datetime | None = None
    replica: str = ""
    token_id: str = ""
    workloads: tuple[Workload, ...] = ()
    shown: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgentsRequest:
    """Asks for `ListAgents`."""

    selector: str = ""
    all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAgentsResponse:
    """Answers `ListAgents`."""

    agents: tuple[Agent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentRequest:
    """Asks for `GetAgent`."""

    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAgentResponse:
    """Answers `GetAgent`."""

    agent: Agent


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabelsRequest:
    """Asks for `SetLabels`."""

    agent: str
    set: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    confirm: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLabelsResponse:
    """Answers `SetLabels`."""

    agent: Agent
    gained: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeAgentRequest:
    """Asks for `RevokeAgent`."""

    agent: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeAgentResponse:
    """Answers `RevokeAgent`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A value of `${NAME}` for the agents that a selector matches."""

    name: str
    value: str = ""
    selector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariablesRequest:
    """Asks for `SetVariables`."""

    set: tuple[Variable, ...] = ()
    unset: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetVariablesResponse:
    """Answers `SetVariables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVariablesRequest:
    """Asks for `ListVariables`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVariablesResponse:
    """Answers `ListVariables`."""

    variables: tuple[Variable, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bootstrap token without its secret; `max_uses` and `max_agents` 0 are without limit."""

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    uses: int = 0
    max_uses: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    revoked: bool = False
    author: str = ""
    description: str = ""
    max_agents: int = 0
    scope: str = ""
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenRequest:
    """Asks for `CreateToken`."""

    ttl_seconds: int = 0
    max_uses: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    max_agents: int = 0
    scope: str = ""
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenResponse:
    """Answers `CreateToken`."""

    token: Token
    secret: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokensRequest:
    """Asks for `ListTokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokensResponse:
    """Answers `ListTokens`."""

    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokenRequest:
    """Asks for `RevokeToken`."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokenResponse:
    """Answers `RevokeToken`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who uses the management API, without the token; without `expires_at` it does not end."""

    name: str
    role: Role | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    author: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUserRequest:
    """Asks for `CreateUser`."""

    name: str
    role: Role | None = None
    ttl_seconds: int = 0
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUserResponse:
    """Answers `CreateUser`."""

    user: User
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersRequest:
    """Asks for `ListUsers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersResponse:
    """Answers `ListUsers`."""

    users: tuple[User, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeUserRequest:
    """Asks for `RevokeUser`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeUserResponse:
    """Answers `RevokeUser`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """A secret without its value: which version, which pipelines name it, and (`problem`) why it cannot be used."""

    name: str
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    author: str = ""
    pipelines: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecretRequest:
    """Asks for `SetSecret`."""

    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecretResponse:
    """Answers `SetSecret`."""

    secret: SecretInfo
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecretsRequest:
    """Asks for `ListSecrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecretsResponse:
    """Answers `ListSecrets`."""

    secrets: tuple[SecretInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecretRequest:
    """Asks for `DeleteSecret`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecretResponse:
    """Answers `DeleteSecret`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeySecretsRequest:
    """Asks for `RekeySecrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeySecretsResponse:
    """Answers `RekeySecrets`."""

    changed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at a fleet revision; without a severity it is mere information."""

    revision: int = 0
    at: datetime | None = None
    kind: str = ""
    severity: Severity | None = None
    actor: str = ""
    pipeline: str = ""
    agent_id: str = ""
    generation: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEventsRequest:
    """Asks for `ListEvents`."""

    pipeline: str
    agent: str = ""
    limit: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEventsResponse:
    """Answers `ListEvents`."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEventsRequest:
    """Asks for `WatchEvents`."""

    after: int = 0
    pipeline: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEventsResponse:
    """Answers `WatchEvents`."""

    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatusRequest:
    """Asks for `GetStatus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatusResponse:
    """Answers `GetStatus`."""

    instance_id: str = ""
    epoch: int = 0
    fleet_revision: int = 0
    generation: int = 0
    version: str = ""
    replica: str = ""
    state: str = ""
    metrics: str = ""
    started_at: datetime | None = None
    agents: Mapping[str, int] = field(default_factory=dict)
    pipelines: int = 0
    sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """Asks for `Backup`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResponse:
    """Answers `Backup`."""

    data: bytes = b""


class Within(StrEnum):
    """What one step of one series gives. `increase` and `rate` are of counters: a fall is a start from zero."""

    LAST = "last"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    SUM = "sum"
    COUNT = "count"
    INCREASE = "increase"
    RATE = "rate"


class Across(StrEnum):
    """How the series of a group become one line."""

    SUM = "sum"
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    COUNT = "count"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMetricsRequest:
    """Asks for `QueryMetrics`."""

    name: str
    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    start: datetime | None = None
    end: datetime | None = None
    step_seconds: int = 0
    within: Within | None = None
    across: Across = Across.SUM
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """What a step gave; `at` is where it begins."""

    at: datetime
    value: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricLine:
    """One group of a query."""

    tags: Mapping[str, str] = field(default_factory=dict)
    points: tuple[MetricPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMetricsResponse:
    """Answers `QueryMetrics`."""

    lines: tuple[MetricLine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestMetricsRequest:
    """Asks for `LatestMetrics`."""

    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    by: tuple[str, ...] = ()
    window_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What people ask of one group; a figure that cannot be told is not in `values`."""

    tags: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestMetricsResponse:
    """Answers `LatestMetrics`."""

    figures: tuple[Figures, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMetricsRequest:
    """Asks for `WatchMetrics`."""

    pipeline: str = ""
    agent: str = ""
    plugin: str = ""
    selector: str = ""
    by: tuple[str, ...] = ()
    window_seconds: int = 0
    interval_seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchMetricsResponse:
    """Answers `WatchMetrics`."""

    figures: tuple[Figures, ...] = ()
