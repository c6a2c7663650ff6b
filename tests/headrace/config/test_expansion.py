"""Variables: what is a reference, where it counts, and what takes its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import ConfigError, Document, Reference, parse, substitute, variables
from headrace.config.expansion import references
from headrace.config.model import Position


def document(tag: str, env: str = "{}") -> Document:
    return parse(f"env: {env}\npipeline: {{inputs: [{{name: dummy, tag: {tag!r}}}]}}", file="f")


def expanded(tag: str, values: dict[str, str], env: str = "{}") -> object:
    return substitute(document(tag, env), values).inputs[0].get("tag")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("$A {A} $(A)", []),
        ("${A}", [("A", None)]),
        ("a${A}b${B}c", [("A", None), ("B", None)]),
        ("${A:-x}", [("A", "x")]),
        ("${A:-}", [("A", "")]),
        ("${A:-x:-y}", [("A", "x:-y")]),
        ("${A:x}", [("A:x", None)]),
        ("${}${A}", []),
        ("${A}${", [("A", None)]),
        ('{"k":{"a":1}} ${A}', []),
        ("${A} } ${B}", [("A", None)]),
        ("${A${B}}", [("A${B", None)]),
        ("${" + "x" * 5000 + "}", []),
    ],
)
def test_a_reference_is_what_fluent_bit_takes_for_one(text: str, found: list[tuple[str, str | None]]):
    assert [(name, default) for _, _, name, default in references(text)] == found


@pytest.mark.parametrize(
    ("text", "values", "env", "result"),
    [
        ("a ${X} b", {"X": "1"}, "{}", "a 1 b"),
        ("${X}${X}", {"X": "1"}, "{}", "11"),
        ("${X:-d}", {}, "{}", "d"),
        ("${X:-d}", {"X": ""}, "{}", "d"),
        ("${X:-d}", {"X": "1"}, "{}", "1"),
        ("${X}", {"X": "${Y}", "Y": "no"}, "{}", "${Y}"),
        ("${X}", {"X": "outer"}, "{X: own}", "own"),
        ("[${X}]", {}, "{X: ''}", "[]"),
        ("${X:-d}", {}, "{X: ''}", "d"),
        ("${X}", {"X": "read"}, "{X: 'file:///x'}", "read"),
        ("${X}", {"X": "read"}, "[{name: X, uri: 'file:///x'}]", "read"),
        ("${A} rest ${B", {"A": "1"}, "{}", "1 rest ${B"),
        ("${A} } ${B}", {"A": "1"}, "{}", "1 } ${B}"),
    ],
)
def test_a_reference_takes_the_value_of_env_then_of_the_environment_then_its_default(
    text: str, values: dict[str, str], env: str, result: str
):
    assert expanded(text, values, env) == result


def test_every_reference_without_a_value_is_told_at_once():
    text = """\
service:
  flush: ${F}
pipeline:
  inputs:
    - name: dummy
      tag: ${A}-${B}-${C:-c}
"""
    with pytest.raises(ConfigError) as raised:
        substitute(parse(text, file="f"), {"B": ""})
    assert [str(fault) for fault in raised.value.faults] == [
        "f:2:3: variable ${F} has no value; set it, or write ${F:-default}",
        "f:6:7: variable ${A} has no value; set it, or write ${A:-default}",
        "f:6:7: variable ${B} has no value; set it, or write ${B:-default}",
    ]


def test_missing_values_may_be_empty_as_in_fluent_bit():
    assert substitute(document("a${X}b"), {}, missing="empty").inputs[0].get("tag") == "ab"


def test_what_the_environment_is_asked_for_leaves_out_what_the_configuration_sets():
    found = variables(document("${A} ${B:-b} ${C}", env="{A: 1, Z: '${Q}'}"))
    assert found == (Reference("B", Position("f", 2, 35), "b"), Reference("C", Position("f", 2, 35)))


def test_references_count_where_fluent_bit_expands_them():
    text = """\
service: {flush: "${SERVICE}", telemetry: {metrics: {logs: {tag_records: {enabled: "${TELEMETRY}"}}}}}
parsers: [{name: p, regex: "${PARSER}"}]
multiline_parsers: [{name: m, type: "${TYPE}", rules: [{state: a, regex: "${NOT1}", next_state: b}]}]
upstream_servers: [{name: u, nodes: [{name: n, host: "${HOST}", port: 1}]}]
extensions: {x: {y: "${NOT2}"}}
pipeline:
  inputs:
    - name: "${NAME}"
      routes: {logs: [{name: "${NOT3}"}]}
      processors: {logs: [{name: p, value: "${PROCESSOR}", list: ["${NOT4}"]}]}
  filters: [{name: modify, set: ["a ${LIST}"]}]
"""
    found = {reference.name for reference in variables(parse(text))}
    assert found == {"SERVICE", "TELEMETRY", "PARSER", "TYPE", "HOST", "NAME", "PROCESSOR", "LIST"}


@given(
    st.text(alphabet="${}:-AB ", max_size=30), st.dictionaries(st.sampled_from(["A", "B", "AB"]), st.text(max_size=5))
)
def test_text_outside_of_references_is_never_lost(text: str, values: dict[str, str]):
    result = str(substitute(document("x" + text + "x"), values, missing="empty").inputs[0].get("tag"))
    outside, end = "", 0
    for start, stop, _, _ in references("x" + text + "x"):
        outside, end = outside + ("x" + text + "x")[end:start], stop
    outside += ("x" + text + "x")[end:]
    rest = iter(result)
    assert all(character in rest for character in outside)
