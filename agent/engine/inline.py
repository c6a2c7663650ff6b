"""Plugins named on the command line: `-i dummy -p rate=5 -t app -o stdout -m 'app*'`, as sections of a configuration.

`-p`, `-t` and `-m` belong to the plugin before them. Positions count the flags: `command line:1:3` is the third.
"""

from collections.abc import Iterable
from typing import TypeAlias

from headrace.config import ConfigError, Fault, Kind, Position, Property, Section

Flag: TypeAlias = tuple[str, str]
"""What is said (a kind of plugin, `property`, `tag` or `match`) and the text after it."""

_KINDS: dict[str, Kind] = {"input": "input", "filter": "filter", "output": "output"}
_SHORT = {"tag": ("input",), "match": ("filter", "output")}
FILE = "command line"


def sections(flags: Iterable[Flag]) -> tuple[Section, ...]:
    """The sections that the flags describe. Raises ConfigError with every fault."""
    found: list[tuple[Kind, Position, list[Property]]] = []
    faults: list[Fault] = []
    for number, (what, text) in enumerate(flags, 1):
        here = Position(FILE, 1, number)
        kind = _KINDS.get(what)
        if kind is not None:
            found.append((kind, here, [Property("name", text, here)]))
            continue
        name, equals, value = text.partition("=") if what == "property" else (what, "=", text)
        if not found:
            faults.append(Fault(here, f"{text!r} comes before any plugin; name one with -i, -F or -o first"))
        elif not equals or not name.strip():
            faults.append(Fault(here, f"{text!r} is not a property; write name=value"))
        elif what in _SHORT and found[-1][0] not in _SHORT[what]:
            faults.append(Fault(here, f"{what} {text!r} does not go with the {found[-1][0]} before it"))
        else:
            found[-1][2].append(Property(name.strip().lower(), value, here))
    if faults:
        raise ConfigError(faults)
    return tuple(Section(kind=kind, position=here, properties=tuple(given)) for kind, here, given in found)
