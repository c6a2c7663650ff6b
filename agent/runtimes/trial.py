"""A configuration in two halves that can be started beside the engine that runs it, and do no harm.

    inputs   as they are, on copies of their databases, other ports and sockets, before an output that takes all
    outputs  as they are, behind the filters and an input that stays silent

So everything is initialised and no record can flow through: nothing is sent, run or bound twice, and what is read goes
nowhere. Inputs and outputs whose mere start has effects are left out, and named. Only reads; the caller writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from agent.runtimes.listeners import listener_of
from agent.runtimes.ports import free_port
from agent.runtimes.render import managed_keys
from headrace.config import Document, Kind, Property, Section, merge_service
from headrace.config.service import MANAGED
from headrace.types import Engine

EFFECTS: dict[str, frozenset[str]] = {
    "input": frozenset({"blob", "ebpf", "exec", "exec_wasi", "kafka", "lib", "serial", "stdin"}),
    "output": frozenset({"azure_blob", "azure_kusto", "exit", "gcs", "kafka", "lib", "pgsql", "s3"}),
}
"""Plugins that run, take, join or send something as soon as they start."""

_SHARED: tuple[Kind, ...] = ("parser", "multiline_parser", "upstream_servers")
_DATABASES = ("db", "database_file")
_SOCKETS = {"forward": "unix_path", "syslog": "path", "unix_socket": "socket_path"}
_SILENT = {"name": "dummy", "tag": "headrace.trial", "interval_sec": "86400"}
_ALL = {"name": "null", "match": "*"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """What one child is started with; its monitoring API is on this port."""

    name: str
    document: Document
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The halves, which databases to copy where before they start, and what is left out."""

    halves: tuple[Half, ...]
    copies: tuple[tuple[Path, Path], ...]
    left_out: tuple[str, ...]


def trial_of(document: Document, expanded: Document, *, folder: Path, files: Path, scratch: Path) -> Trial:
    """The trial of a configuration that runs in `folder`, for children that run in `files`, where its files are.

    `expanded` is the same document with its variables' values, by which is decided; what is started has none of them.
    Raises OSError when there is no free port.
    """
    if document.of_kind("plugins") or (document.service and document.service.find("plugins_file")):
        return Trial(halves=(), copies=(), left_out=("nothing was tried before the change: it brings its own plugins",))
    pairs = list(zip(document.sections, expanded.sections, strict=True))
    left_out = [section for section in expanded.sections if _has_effects(section)]
    sandbox = _Sandbox(folder, files, scratch)
    inputs = tuple(sandbox.confined(*pair) for pair in pairs if _is_tried(pair[1], "input"))
    outputs = tuple(sandbox.confined(*pair) for pair in pairs if _is_tried(pair[1], "output"))
    filters = document.filters
    halves = []
    if inputs:
        taken = _section("output", _ALL)
        halves.append(_half("inputs", document, (*inputs, taken), scratch))
    if filters or outputs:
        ends = outputs or (_section("output", _ALL),)
        halves.append(_half("outputs", document, (_section("input", _SILENT), *filters, *ends), scratch))
    notes = tuple(
        f"{each.kind} {each.name!r} was not tried before the change: its start has effects" for each in left_out
    )
    return Trial(halves=tuple(halves), copies=tuple(sandbox.copies), left_out=notes)


class _Sandbox:
    """Gives each instance names of its own for what it would share with the engine that runs."""

    def __init__(self, folder: Path, files: Path, scratch: Path) -> None:
        self._folder = folder
        self._files = files
        self._scratch = scratch
        self._count = 0
        self.copies: list[tuple[Path, Path]] = []

    def confined(self, section: Section, expanded: Section) -> Section:
        changes = dict(self._changes(expanded))
        # Where records go by name, in place of a match, is to outputs that are not here.
        kept = tuple(prop for prop in section.properties if prop.name not in changes and prop.name != "routes")
        return replace(section, properties=(*kept, *_properties(changes)))

    def _changes(self, section: Section) -> Iterator[tuple[str, str]]:
        for key in _DATABASES:
            if (value := section.get(key)) and os.access((self._folder / str(value)).parent, os.W_OK):
                # Else it stays as it is, and the engine itself says what is wrong with it.
                copy = self._new("db")
                self.copies.append((self._folder / str(value), copy))
                yield key, str(copy)
        if listener_of(section) is not None:
            yield "port", str(free_port())
        else:
            socket = _SOCKETS.get((section.name or "").lower()) if section.kind == "input" else None
            if socket is not None and section.get(socket):
                yield socket, os.path.relpath(self._new("sock"), self._files)  # Sockets' names have to be short.

    def _new(self, suffix: str) -> Path:
        self._count += 1
        return self._scratch / f"{self._count}.{suffix}"


def _half(name: str, document: Document, sections: tuple[Section, ...], scratch: Path) -> Half:
    port = free_port()
    keys = managed_keys(Engine.FLUENT_BIT, port=port, storage=str(scratch / f"{name}-storage"))
    service = document.service
    if service is not None:  # What these name are streams of the whole pipeline.
        service = replace(service, properties=tuple(prop for prop in service.properties if prop.name != "streams_file"))
    shared = tuple(section for section in document.sections if section.kind in _SHARED)
    part, _ = merge_service(replace(document, service=service, sections=(*shared, *sections)), keys)
    return Half(name=name, document=part, port=port)


def _is_tried(section: Section, kind: Kind) -> bool:
    return section.kind == kind and not _has_effects(section)


def _has_effects(section: Section) -> bool:
    return (section.name or "").lower() in EFFECTS.get(section.kind, ()) or section.kind == "custom"


def _section(kind: Kind, values: dict[str, str]) -> Section:
    return Section(kind=kind, position=MANAGED, properties=_properties(values))


def _properties(values: dict[str, str]) -> tuple[Property, ...]:
    return tuple(Property(name, value, MANAGED) for name, value in values.items())
