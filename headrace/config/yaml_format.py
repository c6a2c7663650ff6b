"""Fluent Bit's YAML format: which sections there are, and what each may hold.

One function reads one shape of section; the tables at the end say which section has which shape.
"""

from collections.abc import Callable
from typing import TypeAlias

from headrace.config.draft import Draft
from headrace.config.model import SIGNALS, Kind, Property, Section, Signal
from headrace.config.rules import with_rules
from headrace.config.suggest import did_you_mean
from headrace.config.tables import BLANK, MAPS, NESTED, REPEATABLE
from headrace.config.yaml_nodes import List, Map, Node, Scalar, compose
from headrace.config.yaml_values import (
    items_of,
    maps_of,
    pairs_of,
    property_name,
    take,
    text_of,
    texts_of,
    value_of,
)

_Reader: TypeAlias = Callable[[Draft, Node], None]


def read_yaml(draft: Draft, text: str, file: str) -> None:
    """Read one YAML file, and what it includes, into the draft."""
    if draft.is_readable(text, file):
        for root in compose(draft, text, file):
            _dispatch(draft, root, _SECTIONS, "configuration", "section")


def _dispatch(draft: Draft, node: Node, readers: dict[str, _Reader], whole: str, part: str) -> None:
    for key, value in pairs_of(draft, node, f"a {whole}"):
        if reader := readers.get(key.text.lower()):
            reader(draft, value)
        else:
            near = did_you_mean(key.text, readers) or f"; there are {', '.join(readers)}"
            draft.fault(key.position, f"{key.text!r} is no {part} of a {whole}{near}")


def _service(draft: Draft, node: Node) -> None:
    properties = _properties(draft, node, "service")
    if draft.service is not None:
        draft.fault(node.position, f"a second 'service'; one is allowed, and {draft.service.position} has it already")
    else:
        draft.service = Section(kind="service", position=node.position, properties=properties)


def _env(draft: Draft, node: Node) -> None:
    if isinstance(node, List):
        for item in node.items:
            _env_entry(draft, item)
    else:
        for key, value in pairs_of(draft, node, "env"):
            if (text := text_of(draft, value, f"variable {key.text!r}")) is not None:
                draft.env.append(Property(key.text, text, key.position))


def _env_entry(draft: Draft, node: Node) -> None:
    """`name` with `value`, or with `uri` (a file that is read again every `refresh_interval`); or `NAME: value`."""
    if isinstance(node, Map) and len(node.items) == 1 and node.items[0][0].text != "name":
        _env(draft, node)
        return
    texts = {
        key.text: text
        for key, value in pairs_of(draft, node, "an entry of env")
        if (text := text_of(draft, value, f"{key.text!r} of an entry of env")) is not None
    }
    name = texts.pop("name", "")
    if not name:
        draft.fault(node.position, "this entry of env has no 'name'; say which variable it sets")
    elif unknown := texts.keys() - {"value", "uri", "refresh_interval"}:
        draft.fault(node.position, f"variable {name!r} has {min(unknown)!r}, and may have value, uri, refresh_interval")
    else:
        draft.env.append(Property(name, texts["value"] if texts.keys() == {"value"} else texts, node.position))


def _includes(draft: Draft, node: Node) -> None:
    for item in items_of(draft, node, "includes"):
        if (pattern := text_of(draft, item, "an include")) is not None:
            draft.include(pattern, item.position, beside=item.position.file, parse=read_yaml)


def _pipeline(draft: Draft, node: Node) -> None:
    _dispatch(draft, node, _PIPELINE, "pipeline", "part")


def _plugins(draft: Draft, node: Node) -> None:
    paths = tuple(
        Property("path", text.strip(BLANK), item.position)
        for item in items_of(draft, node, "plugins")
        if (text := text_of(draft, item, "the path of a plugin")) is not None
    )
    draft.sections.append(draft.checked(Section(kind="plugins", position=node.position, properties=paths)))


def _extensions(draft: Draft, node: Node) -> None:
    properties = tuple(
        Property(property_name(key.text), value_of(draft, value), key.position)
        for key, value in pairs_of(draft, node, "extensions")
    )
    draft.sections.append(draft.checked(Section(kind="extensions", position=node.position, properties=properties)))


def _instances(kind: Kind, *, processors: bool) -> _Reader:
    """A list of plugin instances, with processors or without."""

    def read(draft: Draft, node: Node) -> None:
        for item in maps_of(draft, node, kind.removesuffix("s")):
            chain, rest = take(draft, item, "processors")
            if chain and not processors:
                draft.fault(chain.position, f"{kind}s have no processors; only inputs and outputs do")
            section = Section(
                kind=kind,
                position=item.position,
                properties=_properties(draft, rest, kind),
                processors=_processors(draft, chain) if chain and processors else (),
            )
            draft.sections.append(draft.checked(section))

    return read


def _processors(draft: Draft, node: Node) -> tuple[Section, ...]:
    found: list[Section] = []
    for key, value in pairs_of(draft, node, "processors"):
        signal: Signal | None = next((signal for signal in SIGNALS if signal == key.text.lower()), None)
        if signal is None:
            near = did_you_mean(key.text, SIGNALS)
            draft.fault(key.position, f"processors are for {', '.join(SIGNALS)}, not for {key.text!r}{near}")
            continue
        for item in maps_of(draft, value, f"{signal} processor"):
            properties = _properties(draft, item, "processor")
            section = Section(kind="processor", position=item.position, properties=properties, signal=signal)
            found.append(draft.checked(section))
    return tuple(sorted(found, key=lambda section: SIGNALS.index(section.signal or "logs")))


def _definitions(kind: Kind) -> _Reader:
    """A list of maps of text; in each, there may be a list of maps, every one of which becomes a property."""
    nested, name, _ = MAPS.get(kind, ("", "", ()))

    def read(draft: Draft, node: Node) -> None:
        for item in maps_of(draft, node, kind.removesuffix("s")):
            entries, rest = take(draft, item, nested)
            properties = list(_properties(draft, rest, kind))
            for entry in maps_of(draft, entries, name) if entries else ():
                texts = texts_of(draft, entry, f"a {name} of a {kind}")
                properties.append(Property(name, texts, entry.position))
            known = with_rules(draft, properties) if kind == "multiline_parser" else tuple(properties)
            draft.sections.append(draft.checked(Section(kind=kind, position=item.position, properties=known)))

    return read


def _properties(draft: Draft, node: Node, kind: Kind) -> tuple[Property, ...]:
    properties: list[Property] = []
    for key, value in pairs_of(draft, node, f"a {kind}"):
        name = key.text.lower() if kind == "processor" else property_name(key.text)
        at = key.position
        match value:
            case Scalar(text=text) if kind == "processor":
                properties.append(Property(name, text, at))
            case _ if not name:
                draft.fault(at, "a property without a name")
            case Scalar(text=text):
                properties.append(Property(name, text.strip(BLANK), at))
            case _ if kind == "processor" or name in NESTED:
                properties.append(Property(name, value_of(draft, value), at))
            case List(items=items) if kind in REPEATABLE:
                texts = ((text_of(draft, item, f"each entry of {name!r}"), item.position) for item in items)
                properties.extend(Property(name, entry, position) for entry, position in texts if entry is not None)
            case _:
                draft.fault(value.position, f"the value of {name!r} must be text here; only processors take more")
    return tuple(properties)


_PIPELINE: dict[str, _Reader] = {
    "inputs": _instances("input", processors=True),
    "filters": _instances("filter", processors=False),
    "outputs": _instances("output", processors=True),
}

_SECTIONS: dict[str, _Reader] = {
    "service": _service,
    "env": _env,
    "includes": _includes,
    "parsers": _definitions("parser"),
    "multiline_parsers": _definitions("multiline_parser"),
    "pipeline": _pipeline,
    "customs": _instances("custom", processors=False),
    "plugins": _plugins,
    "upstream_servers": _definitions("upstream_servers"),
    "stream_processor": _definitions("stream_processor"),
    "extensions": _extensions,
}
