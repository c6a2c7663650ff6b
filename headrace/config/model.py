"""The parsed form of a Fluent Bit configuration: a document of sections of properties.

One shape serves both formats that Fluent Bit reads, so nobody behind the parser asks which one was written. Everything
is immutable. Two documents are equal when they mean the same: where a thing was read, in which format, and from which
files takes no part in comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Value: TypeAlias = "str | int | float | bool | tuple[Value, ...] | Mapping[str, Value] | None"
"""A property's value: text, as Fluent Bit itself keeps it (`true` and `5` too), in either format.

Only what YAML can nest has other types: inside the properties of a processor, `routes`, `telemetry`, `extensions`.
"""

Format: TypeAlias = Literal["yaml", "classic"]
Signal: TypeAlias = Literal["logs", "metrics", "traces"]
Kind: TypeAlias = Literal[
    "service",
    "custom",
    "extensions",
    "plugins",
    "upstream_servers",
    "stream_processor",
    "parser",
    "multiline_parser",
    "input",
    "filter",
    "output",
    "processor",
]

SIGNALS: tuple[Signal, ...] = ("logs", "metrics", "traces")


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a text; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Property:
    """One name with its value. `name` is in lower case; the YAML key `readFromHead` is `read_from_head`."""

    name: str
    value: Value
    position: Position = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One block of properties: the service, a plugin instance, a parser, a processor …

    A property may be repeated (`set`, `record`, `rule`, …); a YAML list is the same as repeating it. Lists of things
    become repeated properties too: `rule` of a multiline parser (a map of `state`, `regex`, `next_state`), `node` of an
    upstream server (a map), `path` of `plugins`. Only inputs and outputs have `processors`; only those have a `signal`.
    """

    kind: Kind
    position: Position = field(compare=False)
    properties: tuple[Property, ...] = ()
    processors: tuple["Section", ...] = ()
    signal: Signal | None = None

    def find(self, name: str) -> Property | None:
        """The last property of that name: where one is repeated that should not be, Fluent Bit takes the last."""
        return next((p for p in reversed(self.properties) if p.name == name), None)

    def get(self, name: str, default: Value = None) -> Value:
        """The value of the last property of that name, else `default`."""
        found = self.find(name)
        return default if found is None else found.value

    def all(self, name: str) -> tuple[Value, ...]:
        """Every value of that name in order; a processor's list counts as its elements."""
        values: list[Value] = []
        for prop in self.properties:
            if prop.name == name:
                values.extend(prop.value if isinstance(prop.value, tuple) else (prop.value,))
        return tuple(values)

    @property
    def name(self) -> str | None:
        """Which plugin this is an instance of, or what a parser is called."""
        return self._text("name")

    @property
    def alias(self) -> str | None:
        """What the user calls this plugin instance."""
        return self._text("alias")

    def _text(self, name: str) -> str | None:
        value = self.get(name)
        return value if isinstance(value, str) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole configuration with what it includes.

    `sections` holds all but the service, grouped by kind, in the order of the text within a kind (across kinds the
    order means nothing to Fluent Bit). `env` are the variables that the configuration itself sets (`env:`, `@SET`);
    their names keep their case, and the value is text, or a map with `uri`, `refresh_interval` and `value`.
    """

    format: Format = field(compare=False)
    service: Section | None = None
    env: tuple[Property, ...] = ()
    sections: tuple[Section, ...] = ()
    includes: tuple[str, ...] = field(default=(), compare=False)

    def of_kind(self, kind: Kind) -> tuple[Section, ...]:
        """The sections of one kind, in order."""
        return tuple(section for section in self.sections if section.kind == kind)

    @property
    def inputs(self) -> tuple[Section, ...]:
        return self.of_kind("input")

    @property
    def filters(self) -> tuple[Section, ...]:
        return self.of_kind("filter")

    @property
    def outputs(self) -> tuple[Section, ...]:
        return self.of_kind("output")

    @property
    def parsers(self) -> tuple[Section, ...]:
        return self.of_kind("parser")

    @property
    def multiline_parsers(self) -> tuple[Section, ...]:
        return self.of_kind("multiline_parser")

    @property
    def customs(self) -> tuple[Section, ...]:
        return self.of_kind("custom")
