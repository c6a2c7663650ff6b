"""What a rule says: an error, a warning, or a note, at the place that it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import TypeAlias

from controlplane.validate.facts import AgentFacts, Findings
from headrace.config import Position, Property, Section
from headrace.types import Fault, Severity

_NAMED = 3
_LISTED = 500
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Note:
    """What could not be checked, or will be done differently; it refuses nothing."""

    fault: Fault


Finding: TypeAlias = Fault | Note


def error(message: str, section: Section | None = None, prop: Property | None = None) -> Fault:
    """Refuses the change."""
    return _fault(message, section, prop, Severity.ERROR)


def warning(message: str, section: Section | None = None, prop: Property | None = None) -> Fault:
    """Refuses the change unless it is forced."""
    return _fault(message, section, prop, Severity.WARNING)


def note(message: str, section: Section | None = None, prop: Property | None = None) -> Note:
    """Goes along with the change."""
    return Note(_fault(message, section, prop, Severity.WARNING))


def error_at(message: str, place: Position) -> Fault:
    """An error that is about a place in a text rather than a section."""
    return Fault(message=_cut(message), file=place.file, line=place.line, column=place.column)


def collect(found: Iterable[Finding]) -> Findings:
    """Each thing once, in the order of the text; what has no place comes first.

    Looks no further than the first 500: a text that is wrong all over must not cost more than that.
    """
    unique = dict.fromkeys(islice(found, _LISTED))
    if len(unique) == _LISTED:
        unique[error(f"there may be more than these {_LISTED} faults; correct these first")] = None
    return Findings(
        faults=tuple(sorted((each for each in unique if isinstance(each, Fault)), key=_order)),
        notes=tuple(sorted((each.fault for each in unique if isinstance(each, Note)), key=_order)),
    )


def named(agents: Iterable[AgentFacts]) -> str:
    """`agent 'a-1'`, or the first few of them in the order of their names and how many more."""
    names = [agent.name or agent.id for agent in agents]
    shown = ", ".join(map(repr, nsmallest(_NAMED, names)))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"agent{'s' * (len(names) != 1)} {shown}{more}"


def _order(fault: Fault) -> tuple[str, int, int, str]:
    return fault.file, fault.line, fault.column, fault.message


def _fault(message: str, section: Section | None, prop: Property | None, severity: Severity) -> Fault:
    place = prop.position if prop else section.position if section else None
    return Fault(
        message=_cut(message),
        plugin=_cut(section.name or "") if section else "",
        property=_cut(prop.name) if prop else "",
        file=place.file if place else "",
        line=place.line if place else 0,
        column=place.column if place else 0,
        severity=severity,
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
