"""Record accessors: `$key`, `$key['nested'][0]` — where in a record a filter looks.

A name without `$` is a plain top-level key. Pure; the returned function never raises.
"""

import re
from collections.abc import Callable
from typing import Any

from agent.engine.record import Record

MISSING: Any = object()
"""What an accessor returns where a record has nothing; None is a value of its own."""

_HEAD = re.compile(r"\$([A-Za-z_][A-Za-z0-9_.\-/]*)")
_STEP = re.compile(r"\[(?:'((?:[^']|'')*)'|(0|[1-9][0-9]*))\]")

Accessor = Callable[[Record], Any]


def accessor(text: str) -> Accessor:
    """A function from a record to the value at `text`, or MISSING. Raises ValueError when `text` is malformed."""
    path = parse_path(text) if text.startswith("$") else (text,)
    head, steps = path[0], path[1:]
    if not steps:
        return lambda record: record.get(head, MISSING)

    def walk(record: Record) -> Any:
        value = record.get(head, MISSING)
        for step in steps:
            if isinstance(step, str):
                value = value.get(step, MISSING) if isinstance(value, dict) else MISSING
            else:
                value = value[step] if isinstance(value, list) and step < len(value) else MISSING
        return value

    return walk


def parse_path(text: str) -> tuple[str, *tuple[str | int, ...]]:
    """The steps of a `$…` accessor: the top-level key, then keys and list indexes."""
    head = _HEAD.match(text)
    if not head:
        raise ValueError(f"{text!r} is not a record accessor; write $key or $key['nested']")
    steps: list[str | int] = []
    at = head.end()
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            raise ValueError(f"{text!r} is not a record accessor: unexpected {text[at:]!r}; write $key['nested']")
        steps.append(step[1].replace("''", "'") if step[1] is not None else int(step[2]))
        at = step.end()
    return (head[1], *steps)
