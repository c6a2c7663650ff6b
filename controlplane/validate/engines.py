"""Which engine would run a pipeline on which agents, so that each engine is asked once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controlplane.validate.catalogue import Catalogue
from controlplane.validate.facts import AgentFacts, FleetFacts
from controlplane.validate.findings import Finding, error, named, note, warning
from headrace.types import Engine, EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Agents on which the same engine, with the same plugins, would run a pipeline; `agents` may be empty."""

    engine: Engine
    catalogue: Catalogue
    agents: tuple[AgentFacts, ...] = ()

    def __str__(self) -> str:
        return named(self.agents) if self.agents else f"the {self.engine} engine"


@dataclass(frozen=True, slots=True)
class Engines:
    """The groups that can be checked; `partial` when there are agents beside them that cannot."""

    groups: tuple[Group, ...] = ()
    partial: bool = False


def engines_of(wanted: Engine, agents: Sequence[AgentFacts], fleet: FleetFacts) -> tuple[Engines, list[Finding]]:
    """Groups the agents; says which ones lack the engine, and for which ones plugins are not checked."""
    if not agents:
        return _without_agents(wanted, fleet)
    alike: dict[EngineInfo | None, list[AgentFacts]] = {}
    lacking: list[AgentFacts] = []
    for agent in agents:
        engine = _engine(wanted, agent)
        if engine is None and agent.engines:
            lacking.append(agent)
        else:
            alike.setdefault(engine, []).append(agent)
    groups: list[Group] = []
    unknown: list[AgentFacts] = []
    for info, members in alike.items():
        if info is None or info.catalogue_sha256 not in fleet.catalogues:
            unknown += members
        else:
            catalogue = Catalogue(fleet.catalogues[info.catalogue_sha256], info.engine)
            groups.append(Group(engine=info.engine, catalogue=catalogue, agents=tuple(members)))
    found: list[Finding] = []
    if lacking:
        say = error if len(lacking) == len(agents) else warning
        found.append(say(f"engine {wanted.value!r} is not on {named(lacking)}; install it there, or use engine auto"))
    if unknown:
        found.append(note(f"plugins are not checked for {named(unknown)}, whose engine is not known yet"))
    groups.sort(key=lambda group: min(agent.id for agent in group.agents))
    return Engines(tuple(groups), partial=bool(unknown)), found


def _without_agents(wanted: Engine, fleet: FleetFacts) -> tuple[Engines, list[Finding]]:
    if wanted is Engine.EMBEDDED and fleet.embedded in fleet.catalogues:
        own = Group(engine=Engine.EMBEDDED, catalogue=Catalogue(fleet.catalogues[fleet.embedded], Engine.EMBEDDED))
        return Engines((own,)), []
    return Engines(), [note("plugins are not checked: no agent matches the selector now")]


def _engine(wanted: Engine, agent: AgentFacts) -> EngineInfo | None:
    """What the agent itself would take."""
    return next(_fitting(wanted, agent), None)


def _fitting(wanted: Engine, agent: AgentFacts) -> Iterator[EngineInfo]:
    return (info for info in agent.engines if wanted in (Engine.AUTO, info.engine))
