"""Whether what a configuration refers to is there: parsers, files beside it, and variables on every agent. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from controlplane.validate.findings import Finding, error
from controlplane.validate.source import BUILT_IN_MULTILINE, Source, is_on_agents, is_open, shipped, texts_of
from headrace.config import Property, Section, did_you_mean

_PARSERS = frozenset({"parser", "parser_firstline", "docker_mode_parser", "merge_parser", "regex_parser"})
_NUMBERED_PARSER = "parser_"
"""The parsers after the first line's, for an input `tail`: `parser_1` and so on."""

_FILES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("filter", "lua"): ("script",),
        ("filter", "checklist"): ("file",),
        ("filter", "geoip2"): ("database",),
        ("input", "collectd"): ("typesdb",),
    }
)
_FILES_OF_ANY = ("tls.ca_file", "tls.crt_file", "tls.key_file", "upstream")
_FILES_OF_SERVICE = ("parsers_file", "plugins_file", "streams_file")


def check_parsers(source: Source) -> Iterator[Finding]:
    """Each parser that is named and defined nowhere; nothing where parsers files lie on the agents."""
    if source.unseen_parsers:
        return
    for section in (*source.plugins(), *source.document.multiline_parsers):
        for prop in section.properties:
            if prop.name == "multiline.parser":
                known, names = source.multiline_parsers, [n.strip() for t in texts_of(prop) for n in t.split(",")]
                what = "multiline parser"
            elif prop.name in _PARSERS or (section.name == "tail" and prop.name.startswith(_NUMBERED_PARSER)):
                known, names = source.parsers, [text.strip() for text in texts_of(prop)]
                what = "parser"
            else:
                continue
            for name in names:
                if name and name not in known and not is_open(name):
                    yield error(f"{what} {name!r} is not defined{_advice(what, name, known)}", section, prop)


def check_files(source: Source) -> Iterator[Finding]:
    """Each relative path of a file that is to be read and did not come along; absolute ones are on the agents."""
    files = shipped(source.manifest)
    upstreams = {section.name for section in source.document.of_kind("upstream_servers")}
    for section, prop in _named_files(source):
        for path in texts_of(prop):
            name = posixpath.normpath(path)
            if not path or is_on_agents(path) or name in files or path in upstreams:
                continue
            hint = did_you_mean(name, files) or "; add it to files, or give the absolute path that it has on agents"
            yield error(f"file {path!r} is not among the pipeline's files{hint}", section, prop)


def _named_files(source: Source) -> Iterator[tuple[Section, Property]]:
    service = source.document.service
    if service:
        yield from ((service, prop) for prop in service.properties if prop.name in _FILES_OF_SERVICE)
    for section in source.document.of_kind("plugins"):
        yield from ((section, prop) for prop in section.properties if prop.name == "path")
    for section in source.plugins():
        kind = "filter" if section.kind == "processor" else section.kind
        names: Sequence[str] = (*_FILES.get((kind, (section.name or "").lower()), ()), *_FILES_OF_ANY)
        yield from ((section, prop) for prop in section.properties if prop.name in names)


def _advice(what: str, name: str, known: frozenset[str]) -> str:
    hint = did_you_mean(name, known)
    if hint:
        return hint
    place = "; define it in the configuration, or in a file that parsers_file names"
    return f"{place} (built in are {', '.join(sorted(BUILT_IN_MULTILINE))})" if what != "parser" else place
