"""What an agent must be told, from what it should run and what it has been asked for. Pure and total.

Absence removes nothing: a workload is taken away only where this instance knows its pipeline, and knows it at least as
well as the agent does. Everything else that an agent runs and should not is an orphan: it runs on, and is shown.
Numbers are compared within one history only: another one gives the same numbers to other contents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Known:
    """A pipeline as this instance knows it; a deleted one is a tombstone."""

    generation: int
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What an agent was last asked for: a generation, or (`removed`) that generation's end."""

    generation: int
    removed: bool = False


class Mark(StrEnum):
    """What was decided about a workload until this instance sends its own: its generation says nothing here."""

    ORPHANED = "orphaned"
    """It came from another history. What is wanted is sent anew; the rest is kept until it is adopted or deleted."""
    REMOVING = "removing"
    """Somebody asked for the end of this orphan."""


class Act(StrEnum):
    """What to do about one pipeline on one agent."""

    NOTHING = "nothing"
    SEND = "send"
    REMOVE = "remove"
    ORPHAN = "orphan"


def act(*, wanted: int | None, known: Known | None, asked: Asked | None, mark: Mark | None = None) -> Act:
    """`wanted` is the generation that the agent should run, None when it should not run the pipeline."""
    present = asked is not None and not asked.removed
    if wanted is not None:
        # A generation above ours shows that our history was cut; see `observed.history`, which stamps ours anew.
        is_there = present and mark is None and asked is not None and asked.generation >= wanted
        return Act.NOTHING if is_there else Act.SEND
    if not present or asked is None:
        return Act.NOTHING
    if mark is not None:
        return Act.REMOVE if mark is Mark.REMOVING else Act.ORPHAN
    if known is None or known.generation < asked.generation:
        return Act.ORPHAN
    return Act.REMOVE


@dataclass(frozen=True, slots=True)
class Plan:
    """Pipelines by what to do about them; each in order of the name."""

    sends: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


def plan(
    *,
    wanted: Mapping[str, int],
    known: Mapping[str, Known],
    asked: Mapping[str, Asked],
    marks: Mapping[str, Mark],
) -> Plan:
    """For every pipeline that the agent should run or was asked for."""
    acts: dict[Act, list[str]] = {kind: [] for kind in Act}
    for name in sorted(wanted.keys() | asked.keys()):
        decision = act(wanted=wanted.get(name), known=known.get(name), asked=asked.get(name), mark=marks.get(name))
        acts[decision].append(name)
    return Plan(sends=tuple(acts[Act.SEND]), removes=tuple(acts[Act.REMOVE]), orphans=tuple(acts[Act.ORPHAN]))


def strangers(*, known: Mapping[str, Known], asked: Mapping[str, Asked], foreign: bool) -> Iterator[str]:
    """What to mark on an agent that comes from another instance (`foreign`) or from an older epoch of this one.

    Of an older epoch's workloads, only those go whose deletion is known to be later than what the agent runs: labels
    and selectors may be what the cut history changed, and nothing may stop because of that.
    """
    for name, what in asked.items():
        if what.removed:
            continue
        pipeline = known.get(name)
        deleted_later = pipeline is not None and pipeline.deleted and pipeline.generation >= what.generation
        if foreign or not deleted_later:
            yield name
