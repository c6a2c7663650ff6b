"""What one agent may make this plane remember: so many workloads, so many words about each. Pure.

An agent is not trusted with the size of the store. What is too many is refused; what is too long is cut.
"""

from __future__ import annotations

from dataclasses import replace

from headrace.errors import InvalidError, ProtocolError
from headrace.limits import Limits
from headrace.names import validate_name
from headrace.types import Fault, Observed

_FAULTS, _NOTES, _WORDS = 50, 50, 2000
_HIGHEST = 1 << 53


def bounded(observed: Observed) -> Observed:
    """The report with no more words than people read. Raises ProtocolError for a name or number out of range."""
    try:
        validate_name(observed.pipeline, "pipeline name")
    except InvalidError as error:
        raise ProtocolError(error.message) from None
    if highest(observed) >= _HIGHEST:
        raise ProtocolError(f"pipeline {observed.pipeline!r}: generation {highest(observed)} is out of range")
    attempt, running = observed.attempt, observed.running
    if attempt is not None and attempt.faults:
        attempt = replace(attempt, faults=tuple(_fault(fault) for fault in attempt.faults[:_FAULTS]))
    if running is not None and running.message:
        running = replace(running, message=_words(running.message))
    if attempt is observed.attempt and running is observed.running and not observed.notes:
        return observed
    notes = tuple(_words(note) for note in observed.notes[:_NOTES])
    return replace(observed, attempt=attempt, running=running, notes=notes)


def check_count(workloads: int, limits: Limits) -> None:
    """Raises ProtocolError for more workloads than pipelines and orphans can be; names the limit."""
    limit = 2 * limits.pipelines_per_agent
    if workloads > limit:
        raise ProtocolError(f"{workloads} workloads are reported, the limit is {limit}: twice the pipelines per agent")


def highest(observed: Observed) -> int:
    """The highest generation that a report names."""
    attempt, running = observed.attempt, observed.running
    return max(
        observed.desired, observed.good, attempt.generation if attempt else 0, running.generation if running else 0
    )


def _fault(fault: Fault) -> Fault:
    return replace(
        fault,
        message=_words(fault.message),
        plugin=_words(fault.plugin),
        property=_words(fault.property),
        file=_words(fault.file),
    )


def _words(text: str) -> str:
    text = text.replace("\0", "�")
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
