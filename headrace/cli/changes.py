"""How the changes of a call are told: a line for each with whom it touches, and every warning under it."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.api import Action, Change
from headrace.cli.exits import say
from headrace.cli.output import Format, plain, show_document, show_lines


def report(changes: Sequence[Change], *, format: Format, dry_run: bool = False) -> None:
    """Print the changes on stdout, what was found on stderr."""
    if format is Format.TABLE:
        show_lines([line_of(change, dry_run=dry_run) for change in changes])
    else:
        show_document(plain(changes), format)
    for change in changes:
        for fault in change.findings:
            say(f"{fault.severity}: pipeline {change.pipeline!r}: {fault}")
    if not changes:
        say("nothing to change")


def line_of(change: Change, *, dry_run: bool = False) -> str:
    """`pipeline/nginx updated (revision 3, generation 17): 12 agents match, 2 gain it, 1 loses it`."""
    numbers = f"revision {change.revision}, generation {change.generation}"
    dry = " (dry run)" if dry_run else ""
    reach = reach_of(change)
    return f"pipeline/{change.pipeline} {change.action}{dry} ({numbers})" + (f": {reach}" if reach else "")


def reach_of(change: Change) -> str:
    """`12 agents match, 2 gain it`; empty for a deletion that touches nobody."""
    reach = [] if change.action is Action.DELETED else [_count(change.agents, "matches", "match")]
    if change.gained:
        reach.append(f"{change.gained} {'gains' if change.gained == 1 else 'gain'} it")
    if change.lost:
        reach.append(f"{_count(change.lost, 'loses', 'lose') if not reach else _short(change.lost)} it")
    return ", ".join(reach)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} agent {one}" if number == 1 else f"{number} agents {many}"


def _short(number: int) -> str:
    return f"{number} {'loses' if number == 1 else 'lose'}"
