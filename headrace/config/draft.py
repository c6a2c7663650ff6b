"""A configuration while it is being read: what was found so far, and what was wrong with it.

The two format readers write into one draft, file after file, and never stop at a fault. The draft owns the includes:
each file is read once at most, so a cycle is a fault and the cost is bounded by what the caller's reader can supply.
Used by one parse, by one thread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, get_args

from headrace.config.errors import ConfigError, Fault
from headrace.config.model import Document, Format, Kind, Position, Property, Section
from headrace.config.tables import MAPS, NAMED, UNREADABLE

Read: TypeAlias = Callable[[str], Mapping[str, str]]
"""Takes a file name or glob pattern as it is written, gives the text of each file that it matches, by name."""

MAX_FAULTS = 200
MAX_MESSAGE = 400
MAX_INCLUDE_DEPTH = 32

_KIND_ORDER = {kind: index for index, kind in enumerate(get_args(Kind))}


@dataclass(slots=True)
class Draft:
    """What has been read so far; `finish` makes it a document or raises every fault at once."""

    format: Format
    read: Read | None
    faults: list[Fault] = field(default_factory=list)
    more: Fault | None = None
    service: Section | None = None
    env: list[Property] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    depth: int = 0

    def fault(self, position: Position, message: str) -> None:
        """Note what is wrong and go on; past `MAX_FAULTS`, only that there is more."""
        if len(message) > MAX_MESSAGE:  # it quotes a text of any length; what to do about it stands at the end
            message = f"{message[: MAX_MESSAGE // 2]} … {message[-MAX_MESSAGE // 2 :]}"
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(position, message))
        elif self.more is None:
            self.more = Fault(position, f"more than {MAX_FAULTS} faults; the rest is not listed")

    def is_readable(self, text: str, file: str) -> bool:
        """Whether the text holds only what a configuration may; if not, the first other character is noted."""
        found = UNREADABLE.search(text)
        if found is None:
            return True
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        self.fault(
            Position(file, line, column), f"control character U+{ord(found[0]):04X}; is this a text file in UTF-8?"
        )
        return False

    def include(
        self, pattern: str, position: Position, *, beside: str, parse: Callable[["Draft", str, str], None]
    ) -> None:
        """Read what `pattern` names, relative to the folder of the file `beside`."""
        folder, slash, _ = beside.rpartition("/")
        pattern = pattern if pattern.startswith("/") else folder + slash + pattern
        if self.read is None:
            self.fault(position, f"cannot include {pattern!r}: no other files are given here")
            return
        if self.depth >= MAX_INCLUDE_DEPTH:
            self.fault(position, f"cannot include {pattern!r}: includes are nested deeper than {MAX_INCLUDE_DEPTH}")
            return
        texts = self.read(pattern)
        if not texts:
            self.fault(position, f"cannot include {pattern!r}: no such file")
        for file, text in sorted(texts.items()):
            if file in self.files:
                self.fault(position, f"cannot include {file!r} again: each file can be read once (is this a cycle?)")
                continue
            self.files.append(file)
            self.depth += 1
            parse(self, text, file)
            self.depth -= 1

    def checked(self, section: Section) -> Section:
        """The section with its maps after its texts, and faults noted for what it lacks to be anything."""
        if section.kind in NAMED and not section.name:
            self.fault(section.position, f"this {section.kind} has no 'name'; say which {NAMED[section.kind]} it is")
        if section.kind not in MAPS:
            return section
        _, name, needed = MAPS[section.kind]
        for prop in section.properties:
            lacks = [key for key in needed if not prop.value.get(key)] if isinstance(prop.value, Mapping) else []
            if lacks and prop.name == name:
                self.fault(prop.position, f"this {name} has no {lacks[0]!r}; it needs {', '.join(needed)}")
        return replace(section, properties=tuple(sorted(section.properties, key=lambda prop: prop.name == name)))

    def finish(self) -> Document:
        """The document. Raises ConfigError with every fault that was noted, in the order of the text."""
        if self.faults:
            in_order = sorted(self.faults, key=lambda fault: (self.files.index(fault.position.file), fault.position))
            raise ConfigError((*in_order, self.more) if self.more else in_order)
        return Document(
            format=self.format,
            service=self.service,
            env=tuple(self.env),
            sections=tuple(sorted(self.sections, key=lambda section: _KIND_ORDER[section.kind])),
            includes=tuple(self.files[1:]),
        )
