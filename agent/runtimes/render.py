"""A pipeline's configuration as its engine gets it: the service keys that management needs, put in place. Pure.

Nothing else is touched, and no value is pasted into text: variables travel by the child's environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from headrace.config import Document, Format, Position, Section, merge_service, parse
from headrace.config import render as render_document
from headrace.config.service import MANAGED
from headrace.types import Fault

NAMES: dict[Format, str] = {"yaml": "headrace.yaml", "classic": "headrace.conf"}
"""What the rendered configuration is called, by its format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The text that an engine reads, under a name that fits its format; `notes` tell what was overridden."""

    name: str
    text: str
    document: Document
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the bytes that the engine reads; the embedded engine reports it as what it runs."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def traced(self, faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
        """Faults that an engine found in this text, at the places where the user wrote what they are about."""
        if not any(fault.line for fault in faults):
            return faults
        places = {
            there.line: here for here, there in zip(_places(self.document), _places(parse(self.text)), strict=True)
        }
        return tuple(_moved(fault, places.get(fault.line)) for fault in faults)


def render(document: Document, *, port: int, storage: str) -> Rendered:
    """With the monitoring API on this loopback port and chunks in this folder."""
    keys = managed_keys(port=port, storage=storage)
    if document.service and document.service.find("daemon"):
        keys["daemon"] = "off"  # In the background it would be nobody's child.
    merged, overridden = merge_service(document, keys)
    notes = tuple(
        f"service key {each.key!r} ({each.user_value}) is managed by the agent, which sets {each.managed_value}"
        for each in overridden
        if str(each.user_value).lower() not in _SAME.get(each.managed_value, ())
    )
    return Rendered(name=NAMES[merged.format], text=render_document(merged), document=merged, notes=notes)


def managed_keys(*, port: int, storage: str) -> dict[str, str]:
    """What the agent needs to see and change an engine; everything else in the service section is the user's."""
    return {
        "http_server": "on",
        "http_listen": "127.0.0.1",
        "http_port": str(port),
        "hot_reload": "on",
        "health_check": "on",
        "storage.path": storage,
    }


_SAME = {"on": ("on", "true", "yes"), "off": ("off", "false", "no")}


def _places(document: Document) -> Iterator[Position]:
    """Each place in the order that parsing and rendering keep; of a line, the last one counts."""
    sections = (document.service, *document.sections) if document.service else document.sections
    for section in sections:
        yield from _section_places(section)


def _section_places(section: Section) -> Iterator[Position]:
    yield section.position
    for prop in section.properties:
        yield prop.position
    for processor in section.processors:
        yield from _section_places(processor)


def _moved(fault: Fault, place: Position | None) -> Fault:
    if place is None or place is MANAGED:
        return replace(fault, file="", line=0, column=0)
    return replace(fault, file=place.file, line=place.line, column=place.column)
