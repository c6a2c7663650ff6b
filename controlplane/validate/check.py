"""The rules in their order: what cannot be read is not judged further, and nobody's fault hides another's. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from controlplane.validate.conflicts import Neighbour, check_alone, check_together, neighbours_of
from controlplane.validate.engines import engines_of
from controlplane.validate.facts import AgentFacts, Findings, FleetFacts
from controlplane.validate.findings import Finding, collect
from controlplane.validate.manifest import manifest_faults
from controlplane.validate.plugins import check_plugins
from controlplane.validate.references import check_files, check_parsers
from controlplane.validate.routes import check_routes
from controlplane.validate.secrets import check_secrets, check_takers
from controlplane.validate.service import check_service
from controlplane.validate.source import read
from controlplane.validate.variables import check_variables
from headrace.api import Manifest


def check(manifests: Sequence[Manifest], fleet: FleetFacts) -> dict[str, Findings]:
    """The findings of each manifest, by its name. Never raises, whatever the manifests and catalogues hold.

    The cost grows with the texts and with the kinds of agents that there are, not with their number.
    """
    neighbours = neighbours_of({**fleet.pipelines, **{manifest.name: manifest for manifest in manifests}}.values())
    return {manifest.name: collect(_found(manifest, neighbours, fleet)) for manifest in manifests}


def _found(manifest: Manifest, neighbours: Mapping[str, Neighbour], fleet: FleetFacts) -> Iterator[Finding]:
    yield from manifest_faults(manifest, fleet.limits)
    yield from check_secrets(manifest, fleet.secrets)
    if len(manifest.config) > fleet.limits.configuration:
        return
    source, found = read(manifest)
    yield from found
    if source is None:
        return
    agents = _matching(manifest, neighbours, fleet)
    yield from check_takers(manifest, agents)
    engines, found = engines_of(manifest.engine, agents, fleet)
    yield from found
    yield from check_plugins(source, engines)
    yield from check_service(source)
    yield from check_parsers(source)
    yield from check_files(source)
    yield from check_variables(source, agents, fleet.variables)
    yield from check_routes(source)
    yield from check_alone(source)
    yield from check_together(source, agents, neighbours, fleet)


def _matching(manifest: Manifest, neighbours: Mapping[str, Neighbour], fleet: FleetFacts) -> Sequence[AgentFacts]:
    """The agents that the manifest is for; none while its selector cannot be read."""
    own = neighbours.get(manifest.name)
    return [agent for agent in fleet.agents if own is not None and own.selector.matches(agent.labels)]
