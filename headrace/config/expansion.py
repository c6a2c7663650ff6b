"""Variables: which ones a configuration refers to, and the configuration with their values in place.

Expands where Fluent Bit does: in values that are text and in the nodes of an upstream, not in a multiline rule, not in
what is nested in a processor, and not in the values of `env` themselves. A value is put in place once; what looks like
a reference in it stays. Two corners differ on purpose: after a reference that is not closed, and after a `}` that
closes none, Fluent Bit drops text, and here the text stays as it was written.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from headrace.config.errors import ConfigError, Fault
from headrace.config.model import Document, Position, Property, Section, Value

_LONGEST = 4096
_EXPANDED_MAPS = frozenset({"node", "telemetry"})


@dataclass(frozen=True, slots=True)
class Reference:
    """One `${name}` or `${name:-default}`; the position is that of the property which has it."""

    name: str
    position: Position
    default: str | None = None


def variables(document: Document) -> tuple[Reference, ...]:
    """What the environment is asked for, in order. Names that the configuration sets itself are not among them.

    Fluent Bit itself sets `HOSTNAME` where the environment does not.
    """
    own = {prop.name for prop in document.env}
    found: list[Reference] = []

    def note(text: str, position: Position) -> str:
        found.extend(Reference(name, position, default) for _, _, name, default in references(text) if name not in own)
        return text

    _each_text(document, note)
    return tuple(found)


def substitute(
    document: Document, values: Mapping[str, str], *, missing: Literal["refuse", "empty"] = "refuse"
) -> Document:
    """The document with every reference replaced: by `env`, else by `values`, else by its own default.

    An empty value counts as none, as in Fluent Bit. A variable that `env` takes from a file is looked for in `values`.
    Raises ConfigError that lists every reference without a value, unless missing ones are to be `empty`.
    """
    own = {prop.name: prop.value for prop in document.env if _is_own_text(prop.value)}
    faults: list[Fault] = []

    def value_of(name: str, default: str | None) -> str | None:
        if name in own:
            return str(own[name]) or default or ""
        return values.get(name) or default

    def expand(text: str, position: Position) -> str:
        parts: list[str] = []
        done = 0
        for start, end, name, default in references(text):
            value = value_of(name, default)
            if value is None and missing == "refuse":
                faults.append(
                    Fault(position, f"variable ${{{name}}} has no value; set it, or write ${{{name}:-default}}")
                )
            parts += (text[done:start], value or "")
            done = end
        return "".join((*parts, text[done:]))

    expanded = _each_text(document, expand)
    if faults:
        raise ConfigError(faults)
    return expanded


def references(text: str) -> Iterator[tuple[int, int, str, str | None]]:
    """Each reference in a text: start, end, name and default; up to the first place that only looks like one."""
    at = 0
    while (start := text.find("${", at)) >= 0:
        end = text.find("}", at)
        if not start + 2 < end < start + 2 + _LONGEST:
            return
        content = text[start + 2 : end]
        name, separator, default = content.partition(":")
        at = end + 1
        if separator and default.startswith("-"):
            yield start, at, name, default[1:]
        else:
            yield start, at, content, None


def _is_own_text(value: Value) -> bool:
    return isinstance(value, str) and not value.startswith("file://")


def _each_text(document: Document, change: Callable[[str, Position], str]) -> Document:
    """The document with `change` applied to every text in which Fluent Bit expands variables."""

    def of_section(section: Section) -> Section:
        return replace(
            section,
            properties=tuple(of_property(prop) for prop in section.properties),
            processors=tuple(of_section(processor) for processor in section.processors),
        )

    def of_property(prop: Property) -> Property:
        if isinstance(prop.value, str) or prop.name in _EXPANDED_MAPS:
            return replace(prop, value=of_value(prop.value, prop.position))
        return prop

    def of_value(value: Value, position: Position) -> Value:
        if isinstance(value, str):
            return change(value, position)
        if isinstance(value, Mapping):
            return {key: of_value(item, position) for key, item in value.items()}
        return value

    return replace(
        document,
        service=of_section(document.service) if document.service else None,
        sections=tuple(of_section(section) for section in document.sections),
    )
