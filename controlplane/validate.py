"""Whether pipelines would do what their author means, before anything is stored. Pure.

Every fault is listed, not only the first. An error refuses the change, a warning refuses it unless the author insists
(`force`), a note refuses nothing: it says what could not be checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from headrace import config
from headrace.api import Manifest
from headrace.types import EngineInfo, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """An agent as validation sees it; `labels` are the effective ones."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    engines: tuple[EngineInfo, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Findings:
    """What is to be said about one pipeline; faults may be errors or warnings."""

    faults: tuple[Fault, ...] = ()
    notes: tuple[Fault, ...] = ()


def check(manifests: Sequence[Manifest], fleet: FleetFacts) -> dict[str, Findings]:
    """The findings of each manifest, by its name."""
    return {manifest.name: _check(manifest) for manifest in manifests}


def _check(manifest: Manifest) -> Findings:
    texts = {file.name: file.content.decode(errors="replace") for file in manifest.files}
    try:
        config.parse(manifest.config, file=manifest.name, read=lambda pattern: _matching(texts, pattern))
    except config.ConfigError as error:
        return Findings(
            tuple(
                Fault(
                    message=fault.message,
                    file=fault.position.file,
                    line=fault.position.line,
                    column=fault.position.column,
                )
                for fault in error.faults
            )
        )
    return Findings()


def _matching(texts: Mapping[str, str], pattern: str) -> dict[str, str]:
    return {name: text for name, text in texts.items() if fnmatchcase(name, pattern.removeprefix("./"))}
