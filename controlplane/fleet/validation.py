"""Gathers what the pure rules of `controlplane.validate` look at, and turns their findings into a decision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from controlplane import validate
from controlplane.catalogue import Catalogues
from controlplane.fleet.contents import Contents, manifest_of
from controlplane.state.store import Store
from controlplane.validate import AgentFacts, Findings, FleetFacts
from controlplane.view import AgentView, View
from controlplane.words import some
from headrace import selector
from headrace.api import Manifest
from headrace.errors import InvalidError
from headrace.limits import Limits
from headrace.types import Fault, Severity


class Validation:
    """Checks manifests against the fleet as the view has it."""

    def __init__(self, *, store: Store, view: View, contents: Contents, catalogues: Catalogues, limits: Limits) -> None:
        self._store = store
        self._view = view
        self._contents = contents
        self._catalogues = catalogues
        self._limits = limits

    async def check(self, manifests: Sequence[Manifest], *, gone: Iterable[str] = ()) -> dict[str, Findings]:
        """The findings of each manifest, by its name; `gone` are the pipelines that the same change deletes."""
        selectors = list(_selectors(manifests))
        agents = [agent for agent in self._view.present() if any(one.matches(agent.labels) for one in selectors)]
        facts = FleetFacts(
            agents=tuple(_facts(agent) for agent in agents),
            catalogues=await self._catalogues.of(
                {info.catalogue_sha256 for agent in agents for info in agent.row.facts.engines}
            ),
            embedded=self._catalogues.embedded,
            pipelines=await self._others({manifest.name for manifest in manifests} | set(gone)),
            variables={agent.row.id: self._view.values(agent) for agent in agents} if self._view.variables else {},
            limits=self._limits,
        )
        return dict(validate.check(manifests, facts))

    async def _others(self, names: set[str]) -> Mapping[str, Manifest]:
        others = [view.row for name, view in self._view.pipelines.items() if name not in names and not view.row.deleted]
        async with self._store.read() as reader:
            return {
                row.name: manifest_of(row.name, row, dict(row.labels), await self._contents.get(reader, row.sha256))
                for row in others
            }


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
    raise InvalidError(f"refused for {count}, nothing is changed{advice}: {first}{rest}", faults=refused)


def said(found: Findings | None) -> tuple[Fault, ...]:
    """What goes along with a change that was accepted."""
    return () if found is None else (*found.faults, *found.notes)


def _selectors(manifests: Sequence[Manifest]) -> Iterator[selector.Selector]:
    """Those that can be read; the others are faults."""
    for manifest in manifests:
        with contextlib.suppress(InvalidError):
            yield selector.parse(manifest.selector)


def _named(fault: Fault, pipeline: str) -> Fault:
    """A fault that no position ties to its pipeline says which one it is about."""
    named = f"pipeline {pipeline!r}"
    return fault if named in fault.message else replace(fault, message=f"{named}: {fault.message}")


def _facts(agent: AgentView) -> AgentFacts:
    return AgentFacts(id=agent.row.id, name=agent.row.name, labels=agent.labels, engines=agent.row.facts.engines)
