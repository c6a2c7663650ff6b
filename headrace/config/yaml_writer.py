"""A document as Fluent Bit YAML. Values are emitted, never pasted: reading the text gives the document again."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import TypeAlias

import yaml

from headrace.config.errors import ConfigError, Fault
from headrace.config.model import SIGNALS, Document, Kind, Property, Section, Value
from headrace.config.tables import BLANK, MAPS, NESTED, REPEATABLE, text_of_value
from headrace.config.yaml_values import typed

try:
    from yaml import CDumper as Dumper
except ImportError:  # PyYAML built without libyaml: the same text, more slowly
    from yaml import Dumper  # type: ignore[assignment]  # the two have no common class

_Events: TypeAlias = Iterator[yaml.Event]

_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_ODD_BREAKS = re.compile("[\r\x85\u2028\u2029]")

_SECTIONS: dict[Kind, str] = {
    "parser": "parsers",
    "multiline_parser": "multiline_parsers",
    "upstream_servers": "upstream_servers",
    "stream_processor": "stream_processor",
    "custom": "customs",
}
_PIPELINE: dict[Kind, str] = {"input": "inputs", "filter": "filters", "output": "outputs"}


def write_yaml(document: Document) -> str:
    """The document as YAML text. Raises ConfigError with everything that Fluent Bit's YAML cannot hold."""
    if faults := tuple(_faults(document)):
        raise ConfigError(faults)
    events = chain(
        (yaml.StreamStartEvent(), yaml.DocumentStartEvent(explicit=False)),
        _map(_document(document)),
        (yaml.DocumentEndEvent(explicit=False), yaml.StreamEndEvent()),
    )
    return str(yaml.emit(events, Dumper=Dumper, allow_unicode=True, width=2**30))


def _faults(document: Document) -> Iterator[Fault]:
    sections = ((document.service,) if document.service else ()) + document.sections
    units = (unit for section in sections for unit in section.processors)
    for prop in chain(document.env, *(section.properties for section in chain(sections, units))):
        if any(_UNWRITABLE.search(text) for text in chain((prop.name,), _texts(prop.value))):
            yield Fault(prop.position, f"{prop.name!r} holds U+0000 or a lone surrogate, which no configuration can")
    for section in sections:
        for prop in section.properties:
            nestable = section.kind == "extensions" or prop.name in NESTED or prop.name in ("rule", "node")
            if isinstance(prop.value, Mapping | tuple) and not nestable:
                yield Fault(prop.position, f"{prop.name!r} of a {section.kind} must be text; it is nested")


def _texts(value: Value) -> Iterator[str]:
    match value:
        case str():
            yield value
        case tuple():
            yield from chain.from_iterable(map(_texts, value))
        case Mapping():
            yield from chain(value, *map(_texts, value.values()))


def _document(document: Document) -> Iterator[tuple[str, _Events]]:
    if document.service:
        yield "service", _section(document.service)
    if document.env:
        yield "env", _env(document.env)
    for kind, key in _SECTIONS.items():
        if sections := document.of_kind(kind):
            yield key, _list(_section(section) for section in sections)
    for section in document.of_kind("plugins"):
        yield "plugins", _list(_text(path) for path in map(text_of_value, section.all("path")))
    for section in document.of_kind("extensions"):
        yield "extensions", _map((prop.name, _nested(prop.value)) for prop in section.properties)
    parts = [(key, document.of_kind(kind)) for kind, key in _PIPELINE.items()]
    if any(sections for _, sections in parts):
        yield "pipeline", _map((key, _list(map(_section, sections))) for key, sections in parts if sections)


def _env(env: tuple[Property, ...]) -> _Events:
    if all(isinstance(prop.value, str) for prop in env):
        return _map((prop.name, _text(str(prop.value))) for prop in env)
    return _list(_map(_env_entry(prop)) for prop in env)


def _env_entry(prop: Property) -> Iterator[tuple[str, _Events]]:
    yield "name", _text(prop.name)
    if isinstance(prop.value, Mapping):
        for key, value in prop.value.items():
            yield key, _text(text_of_value(value))
    else:
        yield "value", _text(text_of_value(prop.value))


def _section(section: Section) -> _Events:
    return _map(chain(_properties(section), _processors(section.processors)))


def _properties(section: Section) -> Iterator[tuple[str, _Events]]:
    for name, group in groupby(section.properties, key=lambda prop: prop.name):
        values = [prop.value for prop in group]
        if section.kind in MAPS and name == MAPS[section.kind][1]:
            yield MAPS[section.kind][0], _list(_nested(value) for value in values)
        elif section.kind in REPEATABLE and name not in NESTED and _needs_list(values):
            yield name, _list(_text(text_of_value(value)) for value in values)
        else:
            for value in values:
                yield name, _text(text_of_value(value)) if not isinstance(value, Mapping | tuple) else _nested(value)


def _needs_list(values: list[Value]) -> bool:
    """A repeated property is a list; so is a text with outer blanks, which Fluent Bit trims anywhere else."""
    return len(values) > 1 or any(text != text.strip(BLANK) for text in map(text_of_value, values))


def _processors(processors: tuple[Section, ...]) -> Iterator[tuple[str, _Events]]:
    by_signal = {signal: [unit for unit in processors if unit.signal == signal] for signal in SIGNALS}
    if processors:
        yield "processors", _map((signal, _list(map(_section, units))) for signal, units in by_signal.items() if units)


def _map(pairs: Iterable[tuple[str, _Events]]) -> _Events:
    yield yaml.MappingStartEvent(anchor=None, tag=None, implicit=True, flow_style=False)
    for key, value in pairs:
        yield from _text(key)
        yield from value
    yield yaml.MappingEndEvent()


def _list(items: Iterable[_Events]) -> _Events:
    yield yaml.SequenceStartEvent(anchor=None, tag=None, implicit=True, flow_style=False)
    for item in items:
        yield from item
    yield yaml.SequenceEndEvent()


def _text(text: str, *, plain: bool = True) -> _Events:
    """A scalar; quoted when it must not be plain, and by the emitter wherever YAML needs it."""
    style = "|" if "\n" in text else None if plain else "'"
    if _ODD_BREAKS.search(text):  # in any other style, a YAML reader may fold these as line breaks
        style = '"'
    yield yaml.ScalarEvent(anchor=None, tag=None, implicit=(plain, True), value=text, style=style)


def _nested(value: Value) -> _Events:
    match value:
        case Mapping():
            return _map((key, _nested(item)) for key, item in value.items())
        case tuple():
            return _list(_nested(item) for item in value)
        case str():
            return _text(value, plain=typed(value) == value)
    return _text(text_of_value(value))
