"""A pipeline's configuration as its engine gets it: the service keys that management needs, put in place. Pure.

For the real Fluent Bit an input also keeps its records on disk until they are delivered, unless the pipeline says by
`storage.type` or `mem_buf_limit` how it wants that: in memory they are lost with the process, and its reload waits for
ever while an output is down. Where nothing is in memory the reload need not wait at all, and loses nothing.

Nothing else is touched, and no value is pasted into text: variables travel by the child's environment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from headrace.config import Document, Format, Position, Property, Section, merge_service, parse
from headrace.config import render as render_document
from headrace.config.service import MANAGED
from headrace.types import Engine, Fault

NAMES: dict[Format, str] = {"yaml": "headrace.yaml", "classic": "headrace.conf"}
"""What the rendered configuration is called, by its format."""

LOG_FILE = "/dev/stderr"
RELOAD_TIMEOUT_S = "60"
"""After this Fluent Bit ends itself; longer than the agent waits, for when there is no agent to look."""


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


def render(document: Document, *, engine: Engine, port: int, storage: str) -> Rendered:
    """With the monitoring API on this loopback port and chunks in this folder."""
    service = document.service or Section(kind="service", position=MANAGED)
    keys = managed_keys(engine, port=port, storage=storage)
    if service.find("daemon"):
        keys["daemon"] = "off"  # In the background it would be nobody's child.
    if service.find("log_file"):
        keys["log_file"] = LOG_FILE  # What it says is how the agent knows what went wrong.
    notes: tuple[str, ...] = ()
    if engine is Engine.FLUENT_BIT and not service.find("storage.type"):
        document, notes = _kept_on_disk(document)
        if not notes and not service.find("hot_reload.ensure_thread_safety"):
            keys["hot_reload.ensure_thread_safety"] = "off"
    merged, overridden = merge_service(document, keys)
    overrides = tuple(
        f"service key {each.key!r} ({each.user_value}) is managed by the agent, which sets {each.managed_value}"
        for each in overridden
        if str(each.user_value).lower() not in _SAME.get(each.managed_value, ())
    )
    name = NAMES[merged.format]
    return Rendered(name=name, text=render_document(merged), document=merged, notes=(*overrides, *notes))


def managed_keys(engine: Engine, *, port: int, storage: str) -> dict[str, str]:
    """What the agent needs to see and change an engine; everything else in the service section is the user's."""
    keys = {
        "http_server": "on",
        "http_listen": "127.0.0.1",
        "http_port": str(port),
        "hot_reload": "on",
        "health_check": "on",
        "storage.path": storage,
    }
    if engine is Engine.FLUENT_BIT:
        keys["hot_reload.timeout"] = RELOAD_TIMEOUT_S
    return keys


_SAME = {"on": ("on", "true", "yes"), "off": ("off", "false", "no")}


_EMITTERS = frozenset({"multiline", "rewrite_tag"})
"""Filters that put records back in front of the pipeline, and so hold some."""


def _kept_on_disk(document: Document) -> tuple[Document, tuple[str, ...]]:
    """With all records on disk until they are delivered; notes tell which are not, because the pipeline says so."""
    sections: list[Section] = []
    notes: list[str] = []
    for section in document.sections:
        prefix = _buffer_prefix(section)
        if prefix is not None:
            key = f"{prefix}storage.type"
            said = section.find(key) or section.find(f"{prefix}mem_buf_limit")
            if said is None:
                section = replace(section, properties=(*section.properties, Property(key, "filesystem", MANAGED)))
            elif said.value != "filesystem":
                notes.append(
                    f"{section.kind} {section.alias or section.name!r} keeps records in memory, by its {said.name}: "
                    f"those under way are lost with the engine; '{key}: filesystem' keeps them"
                )
        sections.append(section)
    return replace(document, sections=tuple(sections)), tuple(notes)


def _buffer_prefix(section: Section) -> str | None:
    """How the properties begin that say where a plugin keeps records; None when it keeps none."""
    if section.kind == "input":
        return ""
    return "emitter_" if section.kind == "filter" and section.name in _EMITTERS else None


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
