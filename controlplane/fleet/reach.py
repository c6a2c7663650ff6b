"""Which agents a change touches: who matches, gains and loses a pipeline; and which pipelines. Pure, over one view."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.model import PipelineRow
from controlplane.view import AgentView, PipelineView, View
from headrace.selector import Operator, Selector


@dataclass(frozen=True, slots=True)
class Reach:
    """Agents by id."""

    matching: frozenset[str]
    gained: frozenset[str]
    lost: frozenset[str]


def reach(view: View, pipeline: str, after: Selector | None) -> Reach:
    """What happens to a pipeline's agents when its selector becomes `after`; None deletes it."""
    current = view.pipelines.get(pipeline)
    if after is None and current is None:
        return Reach(frozenset(), frozenset(), frozenset())
    had = frozenset() if current is None or current.row.deleted else _ids(view, current.selector)
    if current is not None and not current.row.deleted and after == current.selector:
        return Reach(had, frozenset(), frozenset())
    has = frozenset() if after is None else _ids(view, after)
    return Reach(has, has - had, had - has)


def losing(reaches: Mapping[str, Reach]) -> frozenset[str]:
    """The agents that lose at least one pipeline."""
    return frozenset().union(*(one.lost for one in reaches.values()))


def pruned(view: View, chosen: Selector, *, kept: Collection[str]) -> list[str]:
    """The pipelines that a prune takes: those with such labels of their own, but for the ones that are kept."""
    return [each.row.name for each in _live(view, without=kept) if chosen.matches(each.row.labels)]


def beside(view: View, agents: Sequence[AgentView], *, without: Collection[str]) -> list[PipelineRow]:
    """The pipelines for any of these agents. Neither a pipeline for each host nor many for nobody cost a square."""
    by_label: dict[tuple[str, str], list[AgentView]] = defaultdict(list)
    for agent in agents:
        for label in agent.labels.items():
            by_label[label].append(agent)
    kinds: dict[tuple[str, ...], Iterable[AgentView]] = {}

    def candidates(chosen: Selector) -> Iterable[AgentView]:
        """Those with a label that it asks for; else one of each kind that it can tell apart."""
        for each in chosen.requirements:
            if each.operator is Operator.IN:
                return (agent for value in each.values for agent in by_label.get((each.key, value), ()))
        keys = tuple(each.key for each in chosen.requirements)
        if keys not in kinds:
            kinds[keys] = {tuple(map(agent.labels.get, keys)): agent for agent in agents}.values()
        return kinds[keys]

    return [
        each.row
        for each in _live(view, without=without)
        if any(each.selector.matches(agent.labels) for agent in candidates(each.selector))
    ]


def _live(view: View, *, without: Collection[str]) -> Iterator[PipelineView]:
    ordered = sorted(view.pipelines.items())
    return (pipeline for name, pipeline in ordered if name not in without and not pipeline.row.deleted)


def _ids(view: View, chosen: Selector) -> frozenset[str]:
    return frozenset(agent.row.id for agent in view.matching(chosen))
