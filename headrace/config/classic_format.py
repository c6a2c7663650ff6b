"""Fluent Bit's classic format: `[SECTION]` headers, indented `key value` lines, `@INCLUDE` and `@SET`.

Keeps Fluent Bit's own rules for what is refused: the first indented line of a file sets the indentation for that file,
twice as deep is let pass, and a line that holds only blanks must be indented as well.
"""

from dataclasses import dataclass, field
from dataclasses import replace as replaced

from headrace.config.draft import Draft
from headrace.config.model import Kind, Position, Property, Section
from headrace.config.rules import with_rules
from headrace.config.suggest import did_you_mean
from headrace.config.tables import BLANK, CLASSIC_HEADERS

_KINDS: dict[str, Kind] = {header.lower(): kind for kind, header in CLASSIC_HEADERS.items()}


def read_classic(draft: Draft, text: str, file: str) -> None:
    """Read one classic file, and what it includes, into the draft."""
    if text.startswith("\ufeff"):
        draft.fault(Position(file, 1, 1), "a byte order mark, which Fluent Bit reads as text; save the file without")
    elif draft.is_readable(text, file):
        reader = _Reader(draft, file)
        for number, line in enumerate(text.split("\n"), start=1):
            reader.line(number, line.removesuffix("\r"))
        reader.close()


@dataclass(slots=True)
class _Open:
    """The section that is being read, and its place among all sections."""

    kind: Kind
    position: Position
    index: int
    properties: list[Property] = field(default_factory=list)


class _Reader:
    """Reads one file line by line; a section belongs to the file in which it starts."""

    def __init__(self, draft: Draft, file: str) -> None:
        self.draft = draft
        self.file = file
        self.indent = ""
        self.section: _Open | None = None
        self.node: dict[str, str] | None = None
        self.in_unknown_section = False

    def line(self, number: int, line: str) -> None:
        at = Position(self.file, number, 1)
        if not line or line.startswith("#"):
            return
        if line.startswith("@"):
            self._command(line, at)
        elif line.startswith("["):
            self._header(line, at)
        else:
            self._indented(line, at)

    def close(self) -> None:
        """Keep the section that has ended."""
        opened, self.section, self.node = self.section, None, None
        if opened is None:
            return
        properties = tuple(opened.properties)
        if opened.kind == "multiline_parser":
            properties = with_rules(self.draft, properties)
        section = Section(kind=opened.kind, position=opened.position, properties=properties)
        if section.kind != "service":
            self.draft.sections.insert(opened.index, self.draft.checked(section))
        elif (service := self.draft.service) is None:
            self.draft.service = section
        else:  # Fluent Bit goes on with the first one: what comes later wins, key by key
            self.draft.service = replaced(service, properties=service.properties + properties)

    def _command(self, line: str, at: Position) -> None:
        command, _, argument = line[1:].partition(" ")
        argument = argument.strip(BLANK)
        match command.lower():
            case "include" if argument:
                self._include(argument, at)
            case "set" if argument.find("=") > 0:
                name, _, value = argument.partition("=")
                self.draft.env.append(Property(name, value, at))
            case "include" | "set" as known:
                self.draft.fault(at, f"@{command} needs {'a file name' if known == 'include' else 'NAME=value'}")
            case _:
                near = did_you_mean(command, ("INCLUDE", "SET")) or "; there are @INCLUDE and @SET"
                self.draft.fault(at, f"there is no command @{command}{near}")

    def _include(self, pattern: str, at: Position) -> None:
        """What is included comes between the properties before it and those after it, which are one section still."""
        opened = self.section
        if opened and opened.kind == "service":
            self.close()
            self.section = _Open("service", opened.position, opened.index)
        self.draft.include(pattern, at, beside=self.draft.files[0], parse=read_classic)

    def _header(self, line: str, at: Position) -> None:
        name, bracket, _ = line[1:].partition("]")
        kind = _KINDS.get(name.lower())
        self.in_unknown_section = False
        if bracket and name.lower() == "node" and self.section and self.section.kind == "upstream_servers":
            self.node = {}
            self.section.properties.append(Property("node", self.node, at))
            return
        self.close()
        if not bracket:
            self.in_unknown_section = True
            self.draft.fault(at, f"bad header definition {line!r}: the closing ']' is missing")
        elif kind is None:
            self.in_unknown_section = True
            near = did_you_mean(name, CLASSIC_HEADERS.values()) or f"; there are {', '.join(CLASSIC_HEADERS.values())}"
            self.draft.fault(at, f"unknown section [{name}]{near}")
        else:
            self.section = _Open(kind, at, len(self.draft.sections))

    def _indented(self, line: str, at: Position) -> None:
        body = line.lstrip(" \t")
        blank = line[: len(line) - len(body)]
        if not blank:
            self.draft.fault(at, f"{line.split(' ')[0]!r} is not indented; put blanks before each property")
            return
        self.indent = self.indent or blank
        if wrong := self._indentation_fault(blank):
            self.draft.fault(at, f"invalid indentation level: {wrong}")
        elif body and not body.startswith("#"):
            self._property(body, replaced(at, column=len(blank) + 1))

    def _indentation_fault(self, blank: str) -> str:
        """What is wrong with a line's indentation, in Fluent Bit's words."""
        indent = self.indent
        if not blank.startswith(indent):
            mixed = len(blank) > len(_common(blank, indent))
            return "inconsistent use of tab and space" if mixed else "indentation level is too low"
        extra = len(blank) - len(indent)
        return "" if extra in (0, len(indent)) else "extra indentation level found"

    def _property(self, body: str, at: Position) -> None:
        key, space, value = body.partition(" ")
        key = key.strip(BLANK).lower()
        if body.startswith("["):
            self.draft.fault(at, f"group {body!r}: nothing that is written in the classic format has groups; use YAML")
        elif not space:
            self.draft.fault(at, f"undefined value: {key!r} needs a value after a space")
        elif not value:
            self.draft.fault(at, f"{key!r} has an empty value")
        elif self.node is not None:
            self.node[key] = value.strip(BLANK)
        elif self.section is not None:
            self.section.properties.append(Property(key, value.strip(BLANK), at))
        elif not self.in_unknown_section:
            self.draft.fault(at, f"{key!r} stands before the first [SECTION] of this file")


def _common(left: str, right: str) -> str:
    length = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return left[:length]
