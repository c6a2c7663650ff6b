"""What validation looks at besides the manifests, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.api import Manifest
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.types import EngineInfo, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """An agent as validation sees it; `labels` are the effective ones."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    engines: tuple[EngineInfo, ...] = ()
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """What there is to check against. `pipelines` are the others that will be there, by name."""

    agents: tuple[AgentFacts, ...] = ()
    catalogues: Mapping[str, Any] = field(default_factory=dict)
    """Parsed plugin catalogues by their sha256; one that an agent names may be missing."""
    embedded: str = ""
    """The sha256 of this version's own embedded engine, empty when it could not be asked."""
    pipelines: Mapping[str, Manifest] = field(default_factory=dict)
    variables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The operators' variables of each agent, by its id."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Of each secret that a manifest names, why it cannot be used; empty when it can."""
    limits: Limits = DEFAULT_LIMITS


@dataclass(frozen=True, slots=True)
class Findings:
    """What is to be said about one pipeline; faults may be errors or warnings."""

    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()
