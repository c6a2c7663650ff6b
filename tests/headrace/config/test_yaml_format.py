"""The YAML format: what each section may hold, as Fluent Bit reads it, and where each fault is."""

import pytest

from headrace.config import ConfigError, Document, Property, parse
from headrace.config.yaml_nodes import MAX_DEPTH


def parse_yaml(text: str) -> Document:
    return parse(text, file="f", format="yaml")


def faults_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_yaml(text)
    return [str(fault) for fault in raised.value.faults]


def values(properties: tuple[Property, ...]) -> list[tuple[str, object]]:
    return [(prop.name, prop.value) for prop in properties]


FULL = """\
env:
  RATE: 5
  GREETING: " hi "
service:
  flush: 0.2
  HTTP_Server: on
  telemetry: {metrics: {logs: {tag_records: {enabled: true, max_series: 5}}}}
parsers:
  - name: j
    format: json
multiline_parsers:
  - name: m
    rules:
      - {state: start_state, regex: '/^a/', next_state: cont}
      - {state: cont, regex: '/^b/', next_state: cont}
    type: regex
plugins: [/a.so, /b.so]
upstream_servers:
  - name: u
    nodes:
      - {name: n, host: h, port: 1}
stream_processor:
  - {name: t, exec: select * from stream}
customs: [{name: calyptia, add_label: [a b, c d]}]
extensions:
  mine: {on: true, n: 1}
pipeline:
  inputs:
    - name: dummy
      alias: d
      readFromHead: true
      processors:
        traces: [{name: t}]
        logs:
          - name: content_modifier
            action: insert
            value: 5
            condition: {op: and, rules: [{field: $x, op: gt, value: 1.5}, {value: "2"}, {value: null}]}
  filters:
    - name: modify
      Set:
        - a b
        - c d
      set: e f
  outputs:
    - name: stdout
"""


def test_every_section_is_read() -> None:
    document = parse_yaml(FULL)
    assert document.format == "yaml"
    assert values(document.env) == [("RATE", "5"), ("GREETING", " hi ")]
    assert document.service is not None
    assert (document.service.get("flush"), document.service.get("http_server")) == ("0.2", "on")
    assert document.service.get("telemetry") == {
        "metrics": {"logs": {"tag_records": {"enabled": True, "max_series": 5}}}
    }
    assert [section.kind for section in document.sections] == [
        "custom",
        "extensions",
        "plugins",
        "upstream_servers",
        "stream_processor",
        "parser",
        "multiline_parser",
        "input",
        "filter",
        "output",
    ]
    assert document.parsers[0].get("format") == "json"
    assert document.customs[0].all("add_label") == ("a b", "c d")
    assert document.of_kind("plugins")[0].all("path") == ("/a.so", "/b.so")
    assert document.of_kind("upstream_servers")[0].all("node") == ({"name": "n", "host": "h", "port": "1"},)
    assert document.of_kind("extensions")[0].get("mine") == {"on": True, "n": 1}


def test_the_rules_of_a_multiline_parser_come_after_its_other_properties() -> None:
    assert values(parse_yaml(FULL).multiline_parsers[0].properties) == [
        ("name", "m"),
        ("type", "regex"),
        ("rule", {"state": "start_state", "regex": "/^a/", "next_state": "cont"}),
        ("rule", {"state": "cont", "regex": "/^b/", "next_state": "cont"}),
    ]


def test_values_are_text_and_only_what_is_nested_in_a_processor_has_types() -> None:
    section = parse_yaml(FULL).inputs[0]
    assert values(section.properties) == [("name", "dummy"), ("alias", "d"), ("read_from_head", "true")]
    logs, traces = section.processors
    assert (logs.signal, traces.signal) == ("logs", "traces")
    assert logs.get("value") == "5"
    assert logs.get("condition") == {
        "op": "and",
        "rules": ({"field": "$x", "op": "gt", "value": 1.5}, {"value": "2"}, {"value": None}),
    }


def test_a_list_is_a_repeated_property_and_each_entry_has_its_place() -> None:
    section = parse_yaml(FULL).filters[0]
    assert section.all("set") == ("a b", "c d", "e f")
    assert section.get("set") == "e f"
    assert [str(prop.position) for prop in section.properties] == ["f:40:7", "f:42:11", "f:43:11", "f:44:7"]


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("True", "True"),
        ("on", "on"),
        ("yes", "yes"),
        ("~", "~"),
        ("", ""),
        ("7", 7),
        ("-7", -7),
        ("007", 7),
        ("7.5", 7.5),
        ("1e3", 1000.0),
        ("1e999", "1e999"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-22", "2026-11-22"),
        ("'7'", "7"),
        ('"true"', "true"),
        (".inf", ".inf"),
        ("nan", "nan"),
    ],
)
def test_only_true_false_null_and_numbers_have_a_type_when_nested(plain: str, value: object) -> None:
    section = parse_yaml(f"extensions:\n  x:\n    y: {plain}\n").sections[0]
    found = section.get("x")
    assert found == {"y": value}
    assert isinstance(found, dict)
    assert type(found["y"]) is type(value)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("readFromHead", "read_from_head"),
        ("Read_From_Head", "read_from_head"),
        ("tls.verifyHostname", "tls.verify_hostname"),
        ("ReadFromHead", "readfromhead"),
        ("http_User", "http_user"),
        ('" tag "', "tag"),
    ],
)
def test_keys_are_compared_as_fluent_bit_compares_them(key: str, name: str) -> None:
    assert parse_yaml(f"service: {{{key}: x}}").service == parse_yaml(f"service: {{{name}: x}}").service


def test_several_yaml_documents_in_one_text_are_one_configuration() -> None:
    document = parse_yaml("service: {flush: 1}\n---\npipeline: {inputs: [{name: a}]}\n")
    assert document.service is not None
    assert document.inputs[0].name == "a"


def test_environment_entries_may_be_a_list_with_files() -> None:
    text = """\
env:
  - {name: A, value: x}
  - {name: B, uri: "file:///b", refresh_interval: 60}
  - C: y
"""
    assert values(parse_yaml(text).env) == [
        ("A", "x"),
        ("B", {"uri": "file:///b", "refresh_interval": "60"}),
        ("C", "y"),
    ]


def test_a_one_line_rule_is_the_same_as_its_map() -> None:
    one_line = parse_yaml("""multiline_parsers: [{name: m, rule: '"start_state" "/a \\"b\\"/" "cont"'}]""")
    in_a_map = parse_yaml("""multiline_parsers: [{name: m, rules: [
        {state: start_state, regex: '/a "b"/', next_state: cont}]}]""")
    assert one_line == in_a_map


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "pipelin:\n  inputs: []\n",
            ["f:1:1: 'pipelin' is no section of a configuration; did you mean 'pipeline'?"],
        ),
        (
            "pipeline:\n  imputs: []\n",
            ["f:2:3: 'imputs' is no part of a pipeline; did you mean 'inputs'?"],
        ),
        (
            "pipeline:\n  zzz: []\n",
            ["f:2:3: 'zzz' is no part of a pipeline; there are inputs, filters, outputs"],
        ),
        ("- a\n", ["f:1:1: a configuration must be a map of 'key: value' lines, not a list"]),
        ("hello\n", ["f:1:1: a configuration must be a map of 'key: value' lines, not the text 'hello'"]),
        ("service:\n", ["f:1:9: a service must be a map of 'key: value' lines, not nothing"]),
        (
            "service: {a: 1}\nservice: {b: 2}\n",
            ["f:2:10: a second 'service'; one is allowed, and f:1:10 has it already"],
        ),
        ("service:\n  a: [1]\n", ["f:2:6: the value of 'a' must be text here; only processors take more"]),
        (
            "pipeline:\n  inputs:\n    - tag: a\n    - name: ''\n",
            [
                "f:3:7: this input has no 'name'; say which plugin it is",
                "f:4:7: this input has no 'name'; say which plugin it is",
            ],
        ),
        (
            "pipeline:\n  outputs: [{match: a}]\n  filters: [{match: a}]\n",
            [
                "f:2:13: this output has no 'name'; say which plugin it is",
                "f:3:13: this filter has no 'name'; say which plugin it is",
            ],
        ),
        (
            "pipeline:\n  inputs: {name: dummy}\n",
            ["f:2:11: inputs must be a list, not a map; start each entry with '- '"],
        ),
        (
            "pipeline:\n  inputs: [dummy]\n",
            ["f:2:12: each input must be a map of 'key: value' lines, not the text 'dummy'"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      net: {keepalive: off}\n",
            ["f:4:12: the value of 'net' must be text here; only processors take more"],
        ),
        (
            "pipeline:\n  filters:\n    - name: a\n      set: [x, [y], z]\n",
            ["f:4:16: each entry of 'set' must be text, not a list"],
        ),
        (
            "pipeline:\n  filters:\n    - name: a\n      processors: {}\n",
            ["f:4:19: filters have no processors; only inputs and outputs do"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      processors: {log: [{name: x}]}\n",
            ["f:4:20: processors are for logs, metrics, traces, not for 'log'; did you mean 'logs'?"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      processors: {logs: [{nam: x}]}\n",
            ["f:4:27: this processor has no 'name'; say which plugin it is"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      processors: {logs: [{name: x, c: {a: 1, a: 2}}]}\n",
            ["f:4:47: 'a' is given twice in one map"],
        ),
        (
            "multiline_parsers:\n  - name: m\n    rules:\n      - {state: a, regex: b}\n",
            ["f:4:9: this rule has no 'next_state'; it needs state, regex, next_state"],
        ),
        (
            "multiline_parsers:\n  - name: m\n    rule: a\n",
            ["""f:3:5: a rule is "state" "/regex/" "next_state", each in double quotes; found 1 words"""],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      processors: {}\n      processors: {}\n",
            ["f:5:7: 'processors' is given twice in one map"],
        ),
        (
            "pipeline:\n  inputs:\n    - name: a\n      processors: {logs: [{name: {a: b}}]}\n",
            ["f:4:27: this processor has no 'name'; say which plugin it is"],
        ),
        ("parsers: [{format: json}]", ["f:1:11: this parser has no 'name'; say which parser it is"]),
        ("env: {A: [1]}", ["f:1:10: variable 'A' must be text, not a list"]),
        ("env: [{value: 1, uri: 2}]", ["f:1:7: this entry of env has no 'name'; say which variable it sets"]),
        (
            "env: [{name: A, valu: 1}]",
            ["f:1:7: variable 'A' has 'valu', and may have value, uri, refresh_interval"],
        ),
        ("? [a]\n: b\n", ["f:1:3: a key must be text, not a list or a map"]),
        (
            "a: &x [1]\nb: *x\n",
            ["f:2:4: YAML aliases are not taken; write out what *x stands for"],
        ),
        ('service: {a: "x\\0y"}', ["f:1:14: this text holds U+0000, where Fluent Bit would end it; leave it out"]),
        ("service: {'': x}", ["f:1:11: a property without a name"]),
    ],
)
def test_each_fault_is_told_with_its_place(text: str, expected: list[str]) -> None:
    assert faults_of(text) == expected


def test_broken_yaml_is_told_with_line_and_column() -> None:
    (fault,) = faults_of("pipeline:\n  inputs:\n    - name: dummy\n     tag: x\n")
    assert fault.startswith("f:4:6: invalid YAML while parsing a block collection: did not find expected '-' indicator")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "a: " + "{x: " * 50_000,
        "".join(f"{' ' * n}- \n" for n in range(2_000)),
        "a: &a [x,x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)),
    ],
    ids=["lists", "maps", "indentation", "billion laughs"],
)
def test_a_bomb_costs_no_more_than_its_text(text: str) -> None:
    (fault,) = faults_of(text)
    assert f"deeper than {MAX_DEPTH} levels" in fault or "aliases" in fault
