"""Whatever is written in a configuration, checking it ends in order: it is accepted, or its faults are named.

A fixed number of examples, the same in every run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.engine.config import options_of
from agent.engine.engine import Engine, Flags
from agent.engine.plugin import FilterSettings, InputSettings, OutputSettings
from agent.engine.registry import Registration, Registry, filters, inputs, outputs, processors
from headrace.config import ConfigError, Fault

SETTINGS = {"input": InputSettings, "filter": FilterSettings, "output": OutputSettings}
EVERY = [
    pytest.param(registry, plugin, id=f"{registry.kind} {plugin.name}")
    for registry in (inputs, filters, outputs, processors)
    for plugin in registry
]
NASTY = (
    "",
    "$",
    "$a",
    "$a['",
    "$a[0]",
    "a b",
    "a b c",
    "a ^(.*$ t true",
    "/(?<x>[/",
    "-1",
    "0",
    "1e999",
    "nan",
    "9" * 30,
)
NASTY += ("on", "'", '"', "{", '{"a":1}', "[]", "../..", "/dev/null", "*", "%", "${X}", "é\ud7ff", "\t", "json", "java")
TEXTS = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
FUZZ = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def encoded(document: object) -> bytes:
    """JSON is YAML, too."""
    return json.dumps(document, ensure_ascii=False).encode()


def check(folder: Path, data: bytes, name: str = "p.yaml") -> None:
    path = folder / name
    path.write_bytes(data)
    faults: Sequence[Fault] | None = None
    try:
        Engine(Flags(config=path), environment={}).check()
    except ConfigError as error:
        faults = error.faults
    assert faults is None or all(fault.message for fault in faults)
    assert faults != ()


@pytest.mark.parametrize(("registry", "plugin"), EVERY)
def test_any_value_of_any_property_is_taken_or_refused(
    registry: Registry[Any], plugin: Registration[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shapes = [plugin.config, *([SETTINGS[registry.kind]] if registry.kind in SETTINGS else [])]
    specs = [spec for shape in shapes for _, spec in options_of(shape)]
    usual = st.sampled_from([choice for spec in specs for choice in spec.choices] or [""])
    names = st.sampled_from([name for spec in specs for name in spec.names] or ["match"])
    values = TEXTS | usual | st.lists(TEXTS, max_size=3) | st.integers() | st.booleans() | st.none()

    @FUZZ
    @given(st.dictionaries(names, values, max_size=8))
    def fuzz(given_properties: dict[str, Any]) -> None:
        section = {"name": plugin.name, **given_properties}
        pipeline: dict[str, Any] = {f"{registry.kind}s": [section]}
        if registry.kind == "processor":
            pipeline = {"inputs": [{"name": "dummy", "processors": {"logs": [section]}}]}
        check(tmp_path, encoded({"pipeline": pipeline, "parsers": [{"name": "json", "format": "json"}]}))

    fuzz()


@settings(FUZZ, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["format", "regex", "time_format", "time_offset", "time_zone", "types", "decode_field"]),
            TEXTS,
        ),
        max_size=6,
    ),
    st.sampled_from(["json", "regex", "logfmt", "ltsv", "x"]),
)
def test_any_parser_is_built_or_refused(tmp_path: Path, given_properties: list[tuple[str, str]], kind: str) -> None:
    parser = {"name": "p", "format": kind, **dict(given_properties)}
    check(tmp_path, encoded({"parsers": [parser]}))


SEEDS = (
    b"service:\n  flush: 1\n  parsers_file: p.yaml\npipeline:\n  inputs:\n    - name: dummy\n      processors:\n"
    b"        logs:\n          - {name: grep, regex: a b, condition: {rules: [{field: $a, op: eq, value: x}]}}\n",
    b"@SET a=b\n[SERVICE]\n    Flush 1\n[INPUT]\n    Name tail\n    Path ${a}\n[FILTER]\n    Name modify\n    Match *\n"
    b"    Rename a b\n[OUTPUT]\n    Name null\n    Match *\n",
)


@settings(FUZZ, max_examples=600)
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 20), st.binary(max_size=6)), min_size=1, max_size=4),
    st.sampled_from(["p.yaml", "p.conf"]),
)
def test_any_damage_to_a_file_is_survived(
    tmp_path: Path, seed: bytes, cuts: list[tuple[int, int, bytes]], name: str
) -> None:
    data = seed
    for at, length, inserted in cuts:
        data = data[:at] + inserted + data[at + length :]
    check(tmp_path, data, name)
