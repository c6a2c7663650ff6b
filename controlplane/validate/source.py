"""A pipeline as text becomes what the other rules look at: the document, its parsers, and what it refers to. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from controlplane.validate.findings import Finding, error_at, note
from headrace import config
from headrace.api import Manifest
from headrace.config import ConfigError, Document, Property, Reference, Section
from headrace.types import Fault

BUILT_IN_MULTILINE = frozenset({"docker", "cri", "java", "go", "ruby", "python"})
"""Multi-line parsers that Fluent Bit has without a definition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A configuration that can be read.

    In `document` the variables that it sets itself are in place; references to others (`variables`) are as written.
    """

    manifest: Manifest
    document: Document
    variables: tuple[Reference, ...]
    parsers: frozenset[str]
    multiline_parsers: frozenset[str]
    unseen_parsers: bool = False
    """Whether there are parsers files that cannot be read here, so that more parsers may be defined."""
    own_plugins: bool = False
    """Whether the configuration loads plugins, which no catalogue has."""

    def plugins(self) -> Iterator[Section]:
        """Every plugin instance, processors after the one that they belong to."""
        for section in self.document.sections:
            if section.kind in ("input", "filter", "output", "custom"):
                yield section
                yield from section.processors


def is_open(value: object) -> bool:
    """Whether a text has a reference in it, so that its value is known on an agent only."""
    return isinstance(value, str) and "${" in value


def is_on_agents(path: str) -> bool:
    """Whether a file is one that the agents have, or one that only they know the name of."""
    return is_open(path) or posixpath.isabs(path)


def texts_of(prop: Property) -> tuple[str, ...]:
    """The single texts of a property; nested values are none."""
    values = prop.value if isinstance(prop.value, tuple) else (prop.value,)
    return tuple(value for value in values if isinstance(value, str))


def shipped(manifest: Manifest) -> dict[str, bytes]:
    """The files of a pipeline by the path under which its engine finds them."""
    return {posixpath.normpath(file.name): file.content for file in manifest.files}


def read(manifest: Manifest) -> tuple[Source | None, list[Finding]]:
    """The source, None where the configuration cannot be read, and what is wrong with it or its parsers files."""
    files = _Files(manifest)
    try:
        document = files.parse(manifest.config, manifest.name)
    except ConfigError as refusal:
        return None, list(_as_faults(refusal))
    variables = config.variables(document)
    kept = {reference.name: _as_written(reference) for reference in reversed(variables)}
    document = config.substitute(document, kept, missing="empty")
    documents, found = _parsers_files(document, files)
    source = Source(
        manifest=manifest,
        document=document,
        variables=variables,
        parsers=frozenset(section.name or "" for each in documents if each for section in each.parsers),
        multiline_parsers=BUILT_IN_MULTILINE
        | {section.name or "" for each in documents if each for section in each.multiline_parsers},
        unseen_parsers=None in documents,
        own_plugins=_loads_plugins(document, files),
    )
    return source, found


class _Files:
    """What came with a pipeline, as its engine finds it."""

    def __init__(self, manifest: Manifest) -> None:
        self.by_path = shipped(manifest)

    def parse(self, text: str, name: str) -> Document:
        """Raises ConfigError."""
        return config.parse(text, file=name, read=self._matching)

    def document(self, path: str) -> Document | None:
        """A file as a configuration of its own; None when it did not come along. Raises ConfigError."""
        name = posixpath.normpath(path)
        return self.parse(_text(self.by_path[name]), name) if name in self.by_path else None

    def _matching(self, pattern: str) -> Mapping[str, str]:
        wanted = posixpath.normpath(pattern)
        return {name: _text(data) for name, data in self.by_path.items() if fnmatchcase(name, wanted)}


def _parsers_files(document: Document, files: _Files) -> tuple[list[Document | None], list[Finding]]:
    """The documents that may define parsers, None for each that is not known here."""
    documents: list[Document | None] = [document]
    found: list[Finding] = []
    for prop, path in _service_texts(document, "parsers_file"):
        try:
            documents.append(files.document(path))
        except ConfigError as refusal:
            found.extend(_as_faults(refusal))
            documents.append(None)
        if is_on_agents(path):
            message = f"parsers file {path!r} is not shipped, so parsers are not checked"
            found.append(note(message, document.service, prop))
    return documents, found


def _loads_plugins(document: Document, files: _Files) -> bool:
    """Many a configuration names a plugins file that names no plugin."""
    documents: list[Document | None] = [document]
    for _, path in _service_texts(document, "plugins_file"):
        try:
            documents.append(files.document(path))
        except ConfigError:
            return True
    return any(each is None or any(s.properties for s in each.of_kind("plugins")) for each in documents)


def _service_texts(document: Document, name: str) -> Iterator[tuple[Property, str]]:
    for prop in document.service.properties if document.service else ():
        if prop.name == name:
            yield from ((prop, text) for text in texts_of(prop))


def _as_written(reference: Reference) -> str:
    return f"${{{reference.name}}}" if reference.default is None else f"${{{reference.name}:-{reference.default}}}"


def _as_faults(refusal: ConfigError) -> Iterator[Fault]:
    return (error_at(fault.message, fault.position) for fault in refusal.faults)


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
