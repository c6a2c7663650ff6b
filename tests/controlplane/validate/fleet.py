"""A small fleet to validate against: two engines, with catalogues in the shape that `-J` prints."""

from __future__ import annotations

from typing import Any

from controlplane.validate import AgentFacts, FleetFacts, check
from headrace.api import Manifest
from headrace.types import Engine, EngineInfo, Fault, File, Severity


def plugin(name: str, *common: dict[str, str], **options: str) -> dict[str, Any]:
    """A plugin with these options, by their types; `__` in a name stands for a dot."""
    own = [{"name": key.replace("__", "."), "type": type_} for key, type_ in options.items()]
    shared = [{"name": key, "type": type_} for each in common for key, type_ in each.items()]
    return {"name": name, "properties": {"options": own, "global_options": shared}}


INPUT = {"tag": "string", "alias": "string", "mem_buf_limit": "size", "log_level": "string", "storage.type": "string"}
FILTER = {"match": "string", "match_regex": "string", "alias": "string"}
OUTPUT = {"match": "string", "match_regex": "string", "alias": "string", "retry_limit": "string"}
PAIR = "space delimited strings (minimum 2)"

FLUENT_BIT: dict[str, Any] = {
    "fluent-bit": {"version": "5.1.1"},
    "customs": [],
    "inputs": [
        plugin("dummy", INPUT, rate="integer", dummy="string", fixed_timestamp="boolean"),
        plugin(
            "tail",
            INPUT,
            path="string",
            db="string",
            parser="string",
            parser_="prefixed string",
            refresh_interval="time",
            multiline__parser="multiple comma delimited strings",
            read_from_head="boolean",
        ),
        plugin("tcp", INPUT, format="string"),
        plugin("http", INPUT, http_server__http2="boolean"),
        plugin("forward", INPUT, unix_path="string"),
        plugin("syslog", INPUT, mode="string", path="string", parser="string"),
        {"name": "lib", "properties": {"global_options": []}},
    ],
    "processors": [plugin("content_modifier", {"alias": "string"}, action="string", key="string")],
    "filters": [
        plugin("grep", FILTER, Regex="string", exclude="string"),
        plugin("parser", FILTER, key_name="string", parser="string"),
        plugin("lua", FILTER, script="string", code="string", call="string"),
        plugin("record_modifier", FILTER, record=PAIR),
        plugin("rewrite_tag", FILTER, rule="space delimited strings (minimum 4)"),
        plugin("modify", FILTER, add="string"),
    ],
    "outputs": [
        plugin("null", OUTPUT),
        plugin("stdout", OUTPUT, format="string"),
        plugin("file", OUTPUT, path="string", file="string"),
        plugin("http", OUTPUT, uri="string", net__io_timeout="time"),
        plugin("prometheus_exporter", OUTPUT),
    ],
}
EMBEDDED: dict[str, Any] = {
    "fluent-bit": {"version": "headrace-1"},
    "inputs": [
        plugin("dummy", INPUT, rate="integer", dummy="string"),
        plugin("tail", INPUT, path="string", db="string", parser="string"),
    ],
    "filters": [plugin("grep", FILTER, regex="string", exclude="string")],
    "outputs": [plugin("null", OUTPUT), plugin("file", OUTPUT, path="string", file="string")],
}
CATALOGUES: dict[str, Any] = {"c-fluent-bit": FLUENT_BIT, "c-embedded": EMBEDDED}

REAL = EngineInfo(engine=Engine.FLUENT_BIT, version="5.1.1", catalogue_sha256="c-fluent-bit")
OURS = EngineInfo(engine=Engine.EMBEDDED, version="1", catalogue_sha256="c-embedded")
ROUTED = "  outputs: [{name: 'null', match: '*'}]\n"


def agent(name: str, *engines: EngineInfo, **labels: str) -> AgentFacts:
    """An agent; with the real engine unless others are given."""
    return AgentFacts(id=f"id-{name}", name=name, labels=labels, engines=engines or (REAL,), capabilities=("secrets",))


def facts(*agents: AgentFacts, **more: Any) -> FleetFacts:
    """A fleet of these agents, or of one that has the real engine."""
    return FleetFacts(agents=agents or (agent("a"),), catalogues=CATALOGUES, embedded="c-embedded", **more)


def manifest(config: str, name: str = "edge", *, selector: str = "*", files: dict[str, str] | None = None) -> Manifest:
    """A pipeline with this configuration."""
    shipped = tuple(File(name=file, content=text.encode()) for file, text in (files or {}).items())
    return Manifest(name=name, selector=selector, config=config, files=shipped)


def inputs(*sections: str, rest: str = ROUTED) -> str:
    """A configuration with these inputs, each in YAML's flow style, whose records all go somewhere."""
    return "pipeline:\n  inputs:\n" + "".join(f"    - {{{section}}}\n" for section in sections) + rest


def filters(*sections: str) -> str:
    """A configuration with these filters between an input with tag `t` and an output."""
    return inputs(
        "name: dummy, tag: t", rest=f"  filters: [{', '.join(f'{{{each}}}' for each in sections)}]\n" + ROUTED
    )


def outputs(*sections: str) -> str:
    """A configuration with these outputs for an input with tag `t`."""
    return inputs("name: dummy, tag: t", rest=f"  outputs: [{', '.join(f'{{{each}}}' for each in sections)}]\n")


def said(manifest: Manifest, fleet: FleetFacts | None = None, *others: Manifest) -> list[str]:
    """What is found about a manifest: the severity, then the text, notes at the end."""
    found = check([manifest, *others], fleet or facts())[manifest.name]
    return [*map(_line, found.faults), *(f"note {note}" for note in found.notes)]


def errors(manifest: Manifest, fleet: FleetFacts | None = None, *others: Manifest) -> list[str]:
    """The errors alone."""
    return [line.removeprefix("error ") for line in said(manifest, fleet, *others) if line.startswith("error ")]


def _line(fault: Fault) -> str:
    return f"{'error' if fault.severity is Severity.ERROR else 'warning'} {fault}"
