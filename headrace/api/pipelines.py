"""Pipelines: what people write, what is kept of it, and what of it runs where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from headrace.types import AgentState, Engine, Fault, File, KnownBy, Observed, Phase, SecretReference


class Action(StrEnum):
    """What a change does to a pipeline."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


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
    author_known_by: KnownBy | None = None


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
