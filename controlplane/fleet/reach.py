"""Which agents a change touches: who matches, gains and loses a pipeline. Pure, over one view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.view import View
from headrace.selector import Selector


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


def _ids(view: View, chosen: Selector) -> frozenset[str]:
    return frozenset(agent.row.id for agent in view.matching(chosen))
