"""Whether what a pipeline wants is free on every agent: against itself, and against the other pipelines there. Pure.

Agents that the selectors cannot tell apart, with the same values of the variables in question, are looked at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations
from typing import TypeAlias, TypeVar

from controlplane.validate.claims import Claim, claims_of
from controlplane.validate.facts import AgentFacts, FleetFacts
from controlplane.validate.findings import Finding, error, named, warning
from controlplane.validate.source import Source, read
from controlplane.validate.variables import value_of
from headrace import selector
from headrace.api import Manifest
from headrace.config.expansion import references
from headrace.errors import InvalidError
from headrace.selector import Operator, Selector
from headrace.types import File

Key = TypeVar("Key", bound=Hashable)

_SMALL = 1 << 14
"""Bytes in a pipeline whose claims are remembered."""
_PAIRED = 50
"""Of claims to one thing in one configuration, so many are compared with each other."""

Wanted: TypeAlias = tuple[str, Claim]
"""Whose claim it is, in words, and the claim."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A pipeline that will be there."""

    manifest: Manifest
    selector: Selector

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """Its claims; none while its configuration cannot be read. Small ones are remembered: the same come again."""
        size = len(self.manifest.config) + sum(len(file.content) for file in self.manifest.files)
        find = _remembered if size <= _SMALL else _wanted
        return find(self.manifest.name, self.manifest.config, self.manifest.files)


def _wanted(name: str, config: str, files: tuple[File, ...]) -> tuple[Wanted, ...]:
    source, _ = read(Manifest(name=name, config=config, files=files))
    claims = claims_of(source) if source else ()
    return tuple((f"pipeline {name!r} ({_who(claim)})", claim) for claim in claims)


_remembered = lru_cache(maxsize=1024)(_wanted)


def neighbours_of(manifests: Iterable[Manifest]) -> dict[str, Neighbour]:
    """By name, without those whose selector cannot be read."""
    found: dict[str, Neighbour] = {}
    for manifest in manifests:
        try:
            found[manifest.name] = Neighbour(manifest, selector.parse(manifest.selector))
        except InvalidError:
            continue
    return found


def check_alone(source: Source) -> Iterator[Finding]:
    """Sections of one pipeline that want the same thing; engines share files, though rarely as it was meant."""
    by_key: dict[tuple[str, ...], list[Claim]] = defaultdict(list)
    for claim in claims_of(source):
        by_key[claim.key].append(claim)
    for claims in by_key.values():
        for one, other in combinations(claims[:_PAIRED], 2):
            if one.conflicts(other):
                say = error if other.is_exclusive else warning
                yield say(f"{_of(other)} is wanted by {_who(one)}, too", other.section, other.given)


def check_together(
    source: Source, agents: Sequence[AgentFacts], neighbours: Mapping[str, Neighbour], fleet: FleetFacts
) -> Iterator[Finding]:
    """What another pipeline on the same agents wants, too, and agents that would have too many pipelines."""
    own = tuple(claims_of(source))
    others = [neighbours[name] for name in sorted(neighbours) if name != source.manifest.name]
    labels = sorted({requirement.key for other in others for requirement in other.selector.requirements})
    candidates = _Candidates(others)
    crowded: dict[int, list[AgentFacts]] = defaultdict(list)
    clashes: dict[tuple[int, str], tuple[Claim, list[AgentFacts]]] = {}
    for alike in _alike(agents, lambda agent: tuple(agent.labels.get(key) for key in labels)):
        present = [other for other in candidates.of(alike[0]) if other.selector.matches(alike[0].labels)]
        crowded[len(present) + 1] += alike
        for claim, whose, members in _clashes(own, present, alike, fleet) if own else ():
            clashes.setdefault((id(claim), whose), (claim, []))[1].extend(members)
    limit = fleet.limits.pipelines_per_agent
    for count, crowd in sorted(crowded.items()):
        if count > limit:
            yield error(f"{named(crowd)} would run {count} pipelines, the limit is {limit}")
    for (_, whose), (claim, members) in clashes.items():
        yield error(f"{_of(claim)} is wanted by {whose}, too, on {named(members)}", claim.section, claim.given)


class _Candidates:
    """Pipelines by one label that they ask for, so that a fleet with a pipeline for each host costs no square."""

    def __init__(self, pipelines: Iterable[Neighbour]) -> None:
        self._by_label: dict[tuple[str, str], list[Neighbour]] = defaultdict(list)
        self._others: list[Neighbour] = []
        for pipeline in pipelines:
            named = [each for each in pipeline.selector.requirements if each.operator is Operator.IN]
            if not named:
                self._others.append(pipeline)
            for value in named[0].values if named else ():
                self._by_label[named[0].key, value].append(pipeline)

    def of(self, agent: AgentFacts) -> Iterator[Neighbour]:
        """Every pipeline that may match the agent."""
        yield from self._others
        for label in agent.labels.items():
            yield from self._by_label.get(label, ())


def _clashes(
    own: Sequence[Claim], others: Sequence[Neighbour], agents: list[AgentFacts], fleet: FleetFacts
) -> Iterator[tuple[Claim, str, list[AgentFacts]]]:
    """Own claims that others make, too: whose they are, and on which of these agents, which all run the others.

    What depends on no variable is the same on all of them; the rest is looked at for each set of values.
    """
    things = {claim.thing for claim in own}
    wanted = [each for other in others for each in other.wanted if each[1].thing in things]
    fixed = [(claim, claim) for claim in own if not claim.is_open]
    known = _index(each for each in wanted if not each[1].is_open)
    yield from ((claim, whose, agents) for claim, whose in _meeting(fixed, known))
    own_open = [claim for claim in own if claim.is_open]
    wanted_open = [each for each in wanted if each[1].is_open]
    names = sorted({name for claim in (*own_open, *(claim for _, claim in wanted_open)) for name in _references(claim)})
    for same in _alike(agents, partial(_values, names, fleet)) if names else ():
        value = partial(_resolved, same[0], fleet)
        mine = [(claim, settled) for claim in own_open if (settled := claim.settled(value))]
        theirs = _index((whose, settled) for whose, claim in wanted_open if (settled := claim.settled(value)))
        yield from ((claim, whose, same) for claim, whose in _meeting(mine, known))
        yield from ((claim, whose, same) for claim, whose in _meeting([*fixed, *mine], theirs))


def _index(wanted: Iterable[Wanted]) -> Mapping[tuple[str, ...], list[Wanted]]:
    found: dict[tuple[str, ...], list[Wanted]] = defaultdict(list)
    for whose, claim in wanted:
        if claim.is_shared:
            found[claim.key].append((whose, claim))
    return found


def _meeting(
    own: Iterable[tuple[Claim, Claim]], wanted: Mapping[tuple[str, ...], list[Wanted]]
) -> Iterator[tuple[Claim, str]]:
    """Own claims, each given as written and settled, and who else makes them."""
    for claim, settled in own:
        yield from ((claim, whose) for whose, other in wanted.get(settled.key, ()) if settled.conflicts(other))


def _alike(agents: Iterable[AgentFacts], key: Callable[[AgentFacts], Key]) -> Iterable[list[AgentFacts]]:
    groups: dict[Key, list[AgentFacts]] = {}
    for agent in agents:
        groups.setdefault(key(agent), []).append(agent)
    return groups.values()


def _references(claim: Claim) -> Iterator[str]:
    return (name for text in (claim.name, claim.address) for _, _, name, _ in references(text))


def _values(names: Sequence[str], fleet: FleetFacts, agent: AgentFacts) -> tuple[str, ...]:
    return tuple(_value(name, agent, fleet) for name in names)


def _value(name: str, agent: AgentFacts, fleet: FleetFacts) -> str:
    return value_of(name, agent, fleet.variables.get(agent.id, {}))


def _resolved(agent: AgentFacts, fleet: FleetFacts, text: str) -> str:
    parts: list[str] = []
    done = 0
    for start, end, name, default in references(text):
        parts += (text[done:start], _value(name, agent, fleet) or default or "")
        done = end
    return "".join((*parts, text[done:]))


def _of(claim: Claim) -> str:
    return f"{claim} of {_who(claim)}"


def _who(claim: Claim) -> str:
    return f"{claim.section.kind} {claim.section.name!r}"
