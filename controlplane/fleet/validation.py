"""Gathers what the pure rules of `controlplane.validate` look at, and turns their findings into a decision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane import validate
from controlplane.catalogue import Catalogues
from controlplane.changes import follow
from controlplane.fleet.contents import Contents, manifest_of
from controlplane.fleet.reach import beside, pruned
from controlplane.model import PipelineRow
from controlplane.secrets import Secrets
from controlplane.state.store import Store
from controlplane.validate import AgentFacts, Findings, FleetFacts
from controlplane.validate.secrets import MOST
from controlplane.view import AgentView, View
from controlplane.words import some
from headrace import selector
from headrace.api import Manifest
from headrace.errors import InvalidError
from headrace.limits import Limits
from headrace.selector import Selector
from headrace.types import Fault, Severity

_AT_ONCE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found, and beside which contents of other pipelines, by their names."""

    findings: Mapping[str, Findings]
    beside: Mapping[str, str]


class Validation:
    """Checks manifests against the fleet as it is now; safe to use from many tasks of one loop.

    The rules run in a thread, since a hostile text can cost seconds, and at most two at once.
    """

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        contents: Contents,
        catalogues: Catalogues,
        secrets: Secrets,
        limits: Limits,
    ) -> None:
        self._store = store
        self._view = view
        self._contents = contents
        self._catalogues = catalogues
        self._secrets = secrets
        self._limits = limits
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def check(self, manifests: Sequence[Manifest], *, prune: Selector | None = None) -> Judgement:
        """Judges manifests that are applied together; `prune` takes the pipelines away that it chooses."""
        await self._catalogues.asked()
        async with self._store.read() as reader:
            await follow(self._view, reader)
            agents = self._agents(manifests)
            rows = self._beside(manifests, agents, prune)
            others = {
                row.name: manifest_of(row.name, row, dict(row.labels), await self._contents.get(reader, row.sha256))
                for row in rows
            }
        variables = {agent.row.id: self._view.values(agent) for agent in agents} if self._view.variables else {}
        hashes = {info.catalogue_sha256 for agent in agents for info in agent.row.facts.engines}
        facts = FleetFacts(
            agents=tuple(_facts(agent) for agent in agents),
            catalogues=await self._catalogues.of(hashes),
            embedded=self._catalogues.embedded,
            pipelines=others,
            variables=variables,
            secrets={name: self._secrets.problem(name) for name in _secret_names(manifests)},
            limits=self._limits,
        )
        async with self._turns:
            findings = await asyncio.to_thread(validate.check, manifests, facts)
        return Judgement(findings=findings, beside={row.name: row.sha256 for row in rows})

    def holds(self, judgement: Judgement, manifests: Sequence[Manifest], *, prune: Selector | None = None) -> bool:
        """Whether the view still has the same pipelines beside these, and the secrets that these refer to.

        An agent that joined meanwhile is no matter.
        """
        if not _secret_names(manifests) <= self._view.secrets.keys():
            return False
        rows = self._beside(manifests, self._agents(manifests), prune)
        return all(judgement.beside.get(row.name) == row.sha256 for row in rows)

    def _agents(self, manifests: Sequence[Manifest]) -> list[AgentView]:
        selectors = list(_selectors(manifests))
        return [agent for agent in self._view.present() if any(one.matches(agent.labels) for one in selectors)]

    def _beside(
        self, manifests: Sequence[Manifest], agents: Sequence[AgentView], prune: Selector | None
    ) -> list[PipelineRow]:
        kept = {manifest.name for manifest in manifests}
        gone = pruned(self._view, prune, kept=kept) if prune is not None else []
        return beside(self._view, agents, without={*kept, *gone})


def decide(findings: Mapping[str, Findings], *, force: bool) -> None:
    """Raises InvalidError that lists every fault, if there is an error, or a warning that is not forced."""
    refused = [
        fault if fault.file else _named(fault, name)
        for name, found in findings.items()
        for fault in found.faults
        if fault.severity is Severity.ERROR or not force
    ]
    if not refused:
        return
    errors = sum(fault.severity is Severity.ERROR for fault in refused)
    count = some(errors, "error") if errors else some(len(refused), "warning")
    advice = "" if errors else "; --force accepts them"
    first = refused[0]
    rest = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    # What could not be checked goes along, so that nobody takes the list for all there is.
    notes = [note for found in findings.values() for note in found.notes]
    raise InvalidError(f"refused for {count}, nothing is changed{advice}: {first}{rest}", faults=[*refused, *notes])


def said(found: Findings | None) -> tuple[Fault, ...]:
    """What goes along with a change that was accepted."""
    return () if found is None else (*found.faults, *found.notes)


def _secret_names(manifests: Sequence[Manifest]) -> frozenset[str]:
    """Those that are looked up; a manifest that names too many is refused for that."""
    return frozenset(
        reference.name for manifest in manifests if len(manifest.secrets) <= MOST for reference in manifest.secrets
    )


def _selectors(manifests: Sequence[Manifest]) -> Iterator[Selector]:
    """Those that can be read; the others are faults."""
    for manifest in manifests:
        with contextlib.suppress(InvalidError):
            yield selector.parse(manifest.selector)


def _named(fault: Fault, pipeline: str) -> Fault:
    """A fault that no position ties to its pipeline says which one it is about."""
    named = f"pipeline {pipeline!r}"
    return fault if named in fault.message else replace(fault, message=f"{named}: {fault.message}")


def _facts(agent: AgentView) -> AgentFacts:
    facts = agent.row.facts
    return AgentFacts(
        id=agent.row.id,
        name=agent.row.name,
        labels=agent.labels,
        engines=facts.engines,
        capabilities=facts.capabilities,
    )
