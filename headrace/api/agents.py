"""Agents: the fleet as people see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headrace.api.pipelines import Workload
from headrace.types import AgentState, Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent, its effective labels and what it runs.

    One that `waits` has not enrolled: it needs an operator's approval, and nothing is desired of it.
    """

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
    waits: bool = False
    source: str = ""
    claimed: str = ""


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
class ApproveAgentRequest:
    """Asks for `ApproveAgent`."""

    agent: str
    replaces: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveAgentResponse:
    """Answers `ApproveAgent` with the id that the agent gets."""

    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyAgentRequest:
    """Asks for `DenyAgent`."""

    agent: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenyAgentResponse:
    """Answers `DenyAgent`."""
