"""The classic format: sections, indentation, commands, and the faults that Fluent Bit finds too."""

import pytest

from headrace.config import ConfigError, Document, Property, parse


def parse_classic(text: str) -> Document:
    return parse(text, file="f", format="classic")


def faults_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse_classic(text)
    return [str(fault) for fault in raised.value.faults]


def values(properties: tuple[Property, ...]) -> list[tuple[str, object]]:
    return [(prop.name, prop.value) for prop in properties]


FULL = """\
# the edge
@SET dir=/var/log
[SERVICE]
    Flush        1
    Parsers_File parsers.conf
    Parsers_File more.conf

[Input]
    Name   tail
    # a comment
    Path   ${dir}/*.log \t
    Tag    a b  c

[FILTER] what follows is nothing
    Name modify
    Set  a b
    SET  c d
[OUTPUT]\r
    Name stdout\r
    Match *\r
[SERVICE]
    Flush 5
[CUSTOM]
    name calyptia
[PARSER]
    name j
[MULTILINE_PARSER]
    name m
    rule "start_state"  "/^\\d+ \\"x\\"/" "cont"
    type regex
[PLUGINS]
    Path /a.so
    Path /b.so
[UPSTREAM]
    name u
[NODE]
    name n1
    host h
    port 1
[NODE]
    name n2
    host h
    port 2
[STREAM_TASK]
    name t
    exec select * from x;"""


def test_every_section_is_read() -> None:
    document = parse_classic(FULL)
    assert document.format == "classic"
    assert values(document.env) == [("dir", "/var/log")]
    assert values(document.inputs[0].properties) == [("name", "tail"), ("path", "${dir}/*.log"), ("tag", "a b  c")]
    assert document.filters[0].all("set") == ("a b", "c d")
    assert values(document.outputs[0].properties) == [("name", "stdout"), ("match", "*")]
    assert document.customs[0].name == "calyptia"
    assert document.parsers[0].name == "j"
    assert document.of_kind("plugins")[0].all("path") == ("/a.so", "/b.so")
    assert document.of_kind("stream_processor")[0].get("exec") == "select * from x;"


def test_service_sections_are_one_and_the_later_key_wins() -> None:
    service = parse_classic(FULL).service
    assert service is not None
    assert service.get("flush") == "5"
    assert service.all("parsers_file") == ("parsers.conf", "more.conf")


def test_the_rules_of_a_multiline_parser_become_maps() -> None:
    assert values(parse_classic(FULL).multiline_parsers[0].properties) == [
        ("name", "m"),
        ("type", "regex"),
        ("rule", {"state": "start_state", "regex": '/^\\d+ "x"/', "next_state": "cont"}),
    ]


def test_the_nodes_of_an_upstream_become_maps() -> None:
    assert parse_classic(FULL).of_kind("upstream_servers")[0].all("node") == (
        {"name": "n1", "host": "h", "port": "1"},
        {"name": "n2", "host": "h", "port": "2"},
    )


def test_positions_count_lines_and_the_column_of_the_key() -> None:
    document = parse_classic(FULL)
    assert str(document.inputs[0].position) == "f:8:1"
    assert [str(prop.position) for prop in document.inputs[0].properties] == ["f:9:5", "f:11:5", "f:12:5"]


def test_twice_the_indentation_is_let_pass() -> None:
    assert parse_classic("[INPUT]\n  name a\n    tag b\n").inputs[0].get("tag") == "b"


def test_tabs_indent_and_separate_nothing() -> None:
    assert parse_classic("[INPUT]\n\tname a\n").inputs[0].name == "a"
    assert faults_of("[INPUT]\n\tname\ta\n") == [
        "f:1:1: this input has no 'name'; say which plugin it is",
        "f:2:2: undefined value: 'name\\ta' needs a value after a space",
    ]


def test_an_unknown_section_is_one_fault_however_much_it_holds() -> None:
    assert faults_of("[INPT]\n    name a\n    tag b\n[ZZZ]\n    a b\n") == [
        "f:1:1: unknown section [INPT]; did you mean 'INPUT'?",
        "f:4:1: unknown section [ZZZ]; there are SERVICE, INPUT, FILTER, OUTPUT, CUSTOM, PARSER, MULTILINE_PARSER, "
        "PLUGINS, UPSTREAM, STREAM_TASK",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[INPUT\n    name a\n", "f:1:1: bad header definition '[INPUT': the closing ']' is missing"),
        (
            "[UPSTREAM]\n    name u\n[NODE\n    a b\n",
            "f:3:1: bad header definition '[NODE': the closing ']' is missing",
        ),
        ("[INPUT]\n  name a\n   tag b\n", "f:3:1: invalid indentation level: extra indentation level found"),
        ("[INPUT]\n    name a\n  tag b\n", "f:3:1: invalid indentation level: indentation level is too low"),
        ("[INPUT]\n    name a\n\t\ttag b\n", "f:3:1: invalid indentation level: inconsistent use of tab and space"),
        ("[INPUT]\n    name a\n  \n", "f:3:1: invalid indentation level: indentation level is too low"),
        ("[INPUT]\n    name a\n     \n", "f:3:1: invalid indentation level: extra indentation level found"),
        ("[INPUT]\n    name a\ntag b\n", "f:3:1: 'tag' is not indented; put blanks before each property"),
        ("[INPUT]\n    name a\n    tag\n", "f:3:5: undefined value: 'tag' needs a value after a space"),
        ("[INPUT]\n    name a\n    tag \n", "f:3:5: 'tag' has an empty value"),
        ("    name a\n", "f:1:5: 'name' stands before the first [SECTION] of this file"),
        (
            "[INPUT]\n    name a\n    [processors]\n",
            "f:3:5: group '[processors]': nothing that is written in the classic format has groups; use YAML",
        ),
        ("[INPUT]\n    tag b\n", "f:1:1: this input has no 'name'; say which plugin it is"),
        ("[OUTPUT]\n", "f:1:1: this output has no 'name'; say which plugin it is"),
        (
            "[NODE]\n    name n\n",
            "f:1:1: unknown section [NODE]; there are SERVICE, INPUT, FILTER, OUTPUT, CUSTOM, "
            "PARSER, MULTILINE_PARSER, PLUGINS, UPSTREAM, STREAM_TASK",
        ),
        ("[UPSTREAM]\n    name u\n[NODE]\n    name n\n", "f:3:1: this node has no 'host'; it needs name, host, port"),
        (
            "[MULTILINE_PARSER]\n    name m\n    rule a b\n",
            'f:3:5: a rule is "state" "/regex/" "next_state", each in double quotes; found 2 words',
        ),
        ("@INCLUDE\n", "f:1:1: @INCLUDE needs a file name"),
        ("@include  \n", "f:1:1: @include needs a file name"),
        ("@SET a\n", "f:1:1: @SET needs NAME=value"),
        ("@SET =a\n", "f:1:1: @SET needs NAME=value"),
        ("@INCLUD x\n", "f:1:1: there is no command @INCLUD; did you mean 'INCLUDE'?"),
        ("@x\n", "f:1:1: there is no command @x; there are @INCLUDE and @SET"),
        (
            "\ufeff[INPUT]\n",
            "f:1:1: a byte order mark, which Fluent Bit reads as text; save the file without",
        ),
    ],
)
def test_each_fault_is_told_with_its_place(text: str, expected: str) -> None:
    assert faults_of(text) == [expected]


def test_every_fault_is_told_at_once() -> None:
    assert faults_of("[INPT]\n    a b\n[INPUT]\n    tag\n      x y\n@foo\n") == [
        "f:1:1: unknown section [INPT]; did you mean 'INPUT'?",
        "f:3:1: this input has no 'name'; say which plugin it is",
        "f:4:5: undefined value: 'tag' needs a value after a space",
        "f:5:1: invalid indentation level: extra indentation level found",
        "f:6:1: there is no command @foo; there are @INCLUDE and @SET",
    ]
