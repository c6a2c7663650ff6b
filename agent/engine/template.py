"""Texts that are filled in from a record and its tag: `$TAG`, `$TAG[1]`, `$key`, `$key['nested'][0]` (pure).

A key ends at a space, a dot, a comma or a double quote outside brackets. What is missing is left out, and so is a list;
a map is written as JSON.
"""

import re
from collections.abc import Callable

from agent.engine.accessor import MISSING, accessor
from agent.engine.encode import json_text
from agent.engine.record import Record

Template = Callable[[str, Record], str]

_PLACE = re.compile(r"""\$(?:TAG(?:\[(\d+)\])?|\d|((?:[^\d .,"'$]|'[^']*')(?:[^ .,"']|'[^']*')*))""")


def template(text: str) -> Template:
    """A function from a tag and a record to the text. Raises ValueError for what is no place in a record."""
    pieces: list[Template] = []
    at = 0
    for found in _PLACE.finditer(text):
        pieces += [_literal(text[at : found.start()]), _place(found)]
        at = found.end()
    pieces.append(_literal(text[at:]))
    if len(pieces) == 1:
        return pieces[0]
    return lambda tag, record: "".join([piece(tag, record) for piece in pieces])


def needs_record(text: str) -> bool:
    """Whether a template fills in anything of a record."""
    return any(found[2] is not None for found in _PLACE.finditer(text))


def as_text(value: object) -> str:
    """A value as it stands in a text."""
    match value:
        case str():
            return value
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:f}"
        case int():
            return str(value)
        case dict():
            return json_text(value).decode()
        case _:
            return ""


def _literal(text: str) -> Template:
    return lambda _tag, _record: text


def _place(found: re.Match[str]) -> Template:
    part, key = found[1], found[2]
    if key is not None:
        value_of = accessor("$" + key)
        return lambda _tag, record: "" if (value := value_of(record)) is MISSING else as_text(value)
    if part is not None:
        index = int(part)
        return lambda tag, _record: parts[index] if index < len(parts := tag.split(".")) else ""
    return (lambda tag, _record: tag) if found[0] == "$TAG" else _literal("")
