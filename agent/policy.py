"""What this host lets a pipeline do: a local rule that the control plane cannot override. Pure.

A rule is a list of shell-style patterns. A plugin is refused when a `deny` pattern matches it and no `allow` pattern
does; a pattern is `exec`, or `input:exec`. Paths and destinations are free until a rule names some; then everything
else is refused. The workload's own folder is always allowed. Paths are compared as they are written, after `..` is
resolved: a symbolic link inside an allowed folder is the business of whoever may make links there. `memory` bounds what
each engine may allocate. Engines run as the agent's own user: there is no rule for another one.
"""

from __future__ import annotations

import posixpath
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any

from headrace.config import Document, Property, Section, did_you_mean, parse_size
from headrace.types import Fault

DENIED_AS_ROOT = ("exec", "exec_wasi", "lua", "plugins")
"""Run code that the configuration brings along; `plugins` stands for the section that loads shared objects."""

LEAST_MEMORY = 64_000_000
"""Fluent Bit takes some 35 MB before it has a record, most of it room for its threads' stacks."""

_READ = frozenset(
    {
        "kube_meta_preload_cache_dir",
        "parsers_file",
        "plugins_file",
        "script",
        "streams_file",
        "tls.ca_file",
        "tls.ca_path",
        "tls.crt_file",
    }
)
_READ_SUFFIXES = ("_file", ".file", "_path", ".path")
_WRITTEN = frozenset({"db", "log_file", "storage.path", "store_dir", "unix_path", "upload_chunk_path"})
_FILE_OUTPUTS = frozenset({"file", "plot", "flowcounter"})
_HTTP_PATHS = frozenset({"http", "es", "opensearch", "loki", "splunk", "prometheus_remote_write", "prometheus_scrape"})
"""Plugins whose `path` is not in the file system."""
_DESTINATIONS = frozenset({"host", "uri", "url", "endpoint", "upstream", "proxy", "brokers", "cloud_id"})
_TOLD_A_TOKEN = frozenset({"kube_url", "kubelet_host"})
"""Servers that get no records but the token of the host's service account."""
_LISTENING = frozenset({"prometheus_exporter", "vivo_exporter"})
"""Outputs whose `host` is the address that they listen on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules; each is a tuple of patterns, but `memory`, the bytes that an engine may allocate; 0 is no bound."""

    allow_plugins: tuple[str, ...] = ()
    deny_plugins: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    destinations: tuple[str, ...] = ()
    memory: int = 0

    def check(self, document: Document, *, folder: str) -> tuple[Fault, ...]:
        """Every violation in a configuration whose variables have been filled in; `folder` is the workload's own."""
        sections = list(_sections(document))
        return (
            *(fault for section in sections for fault in self._plugin_faults(section)),
            *(fault for section in sections for fault in self._path_faults(section, folder)),
            *(fault for section in sections for fault in self._destination_faults(section)),
        )

    def _plugin_faults(self, section: Section) -> Iterator[Fault]:
        if section.kind not in ("input", "filter", "output", "processor", "custom", "plugins"):
            return
        name = (section.name or section.kind).lower()
        words = (name, f"{section.kind}:{name}")
        if _matches(words, self.deny_plugins) and not _matches(words, self.allow_plugins):
            yield _fault(
                section,
                None,
                f"{section.kind} {name!r} is denied by this agent's policy; start the agent with --allow-plugin {name}",
            )

    def _path_faults(self, section: Section, folder: str) -> Iterator[Fault]:
        for prop, path, is_written in _paths(section):
            allowed = self.write if is_written else (*self.read, *self.write)
            verb = "written" if is_written else "read"
            if (self.read or self.write) and not _is_under(path, folder, allowed):
                yield _fault(
                    section,
                    prop,
                    f"path {path!r} may not be {verb} by this agent's policy; "
                    f"allowed are {', '.join(allowed) or 'none'} and the workload's own folder",
                )

    def _destination_faults(self, section: Section) -> Iterator[Fault]:
        if not self.destinations:
            return
        sends = section.kind == "output" and (section.name or "").lower() not in _LISTENING
        for prop in section.properties:
            if prop.name not in (_DESTINATIONS if sends else _TOLD_A_TOKEN):
                continue
            value = _cloud_host(str(prop.value)) if prop.name == "cloud_id" else str(prop.value)
            if prop.name == "uri" and "://" not in value:
                continue
            for host in value.split(","):
                if not _matches((_host(host),), self.destinations):
                    yield _fault(
                        section,
                        prop,
                        f"destination {host.strip()!r} is not allowed by this agent's policy; "
                        f"allowed are {', '.join(self.destinations)}",
                    )


def policy_of(document: Mapping[str, Any]) -> Policy:
    """The policy that a file states, as a mapping of rules. Raises ValueError that names the bad rule."""
    known = {field.name for field in fields(Policy)}
    rules: dict[str, Any] = {}
    for name, patterns in document.items():
        if name not in known:
            raise ValueError(
                f"unknown rule {name!r}{did_you_mean(str(name), known)}; rules are {', '.join(sorted(known))}"
            )
        if name == "memory":
            rules[name] = _memory(patterns)
            continue
        if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
            raise ValueError(f"rule {name!r} must be a list of patterns")
        rules[name] = tuple(patterns)
    return Policy(**rules)


def _memory(value: Any) -> int:
    try:
        size = parse_size(value)
    except ValueError as error:
        raise ValueError(f"rule 'memory': {error}") from error
    if size < LEAST_MEMORY:
        raise ValueError(f"rule 'memory': {value} is too little; an engine needs {LEAST_MEMORY // 1_000_000}M to start")
    return size


def _sections(document: Document) -> Iterator[Section]:
    if document.service is not None:
        yield document.service
    for section in document.sections:
        yield section
        yield from section.processors


def _paths(section: Section) -> Iterator[tuple[Property, str, bool]]:
    """Each path that a section names, and whether it is written."""
    for prop in section.properties:
        if not isinstance(prop.value, str) or not prop.value:
            continue
        if prop.name in _WRITTEN:
            yield prop, prop.value, True
        elif prop.name in ("path", "file") and section.name not in _HTTP_PATHS:
            is_written = section.kind == "output" or (section.name or "").lower() == "syslog"  # a socket is made there
            if prop.name == "file" and is_written and section.name in _FILE_OUTPUTS:
                yield prop, posixpath.join(str(section.get("path") or ""), prop.value), True
                continue
            for path in prop.value.split(","):
                yield prop, path.strip(), is_written
        elif prop.name in _READ or prop.name.endswith(_READ_SUFFIXES):
            yield prop, prop.value, False


def _is_under(path: str, folder: str, allowed: Iterable[str]) -> bool:
    full = posixpath.normpath(posixpath.join(folder, path))
    return any(_covers(pattern, full) for pattern in (folder, *allowed))


def _covers(pattern: str, path: str) -> bool:
    """A pattern allows what it names and everything below; a path with wildcards is judged by its fixed part."""
    pattern = posixpath.normpath(pattern)
    if pattern == "/":
        return True
    depth = pattern.count("/") + 1
    head = "/".join(path.split("/")[:depth])
    return (not any(character in head for character in "*?[") and fnmatchcase(head, pattern)) or head == pattern


def _host(text: str) -> str:
    """The host of `host`, `host:port` or a URL."""
    rest = text.strip().rpartition("://")[2].partition("/")[0]
    return rest.rpartition("@")[2].rsplit(":", 1)[0] if rest.count(":") == 1 or "@" in rest else rest


def _cloud_host(text: str) -> str:
    """The host that an Elastic cloud id stands for, `name:base64 of region$host$…`; the text where it is none."""
    try:
        region, host, *_ = b64decode(text.partition(":")[2], validate=True).decode().split("$")
    except ValueError:
        return text
    return f"{host.partition(':')[0]}.{region}"


def _matches(words: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(word, pattern.lower()) for word in words for pattern in patterns)


def _fault(section: Section, prop: Property | None, message: str) -> Fault:
    place = prop.position if prop else section.position
    return Fault(
        message=message,
        plugin=section.name or "",
        property=prop.name if prop else "",
        file=place.file,
        line=place.line,
        column=place.column,
    )
