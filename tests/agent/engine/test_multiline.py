"""Messages over several lines."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.multiline import Assembler, MultilineParser
from agent.engine.parsers.table import build_parsers
from tests.agent.engine.conftest import NOW, PluginKit

JAVA = [
    'Exception in thread "main" java.lang.RuntimeException: broke',
    "    at com.example.App.run(App.java:14)",
    "Caused by: java.lang.IllegalStateException: inner",
    "    at com.example.Db.open(Db.java:99)",
    "    ... 2 more",
]
GO = [
    "panic: my panic",
    "",
    "goroutine 4 [running]:",
    "panic(0x45cb40, 0x47ad70)",
    "\t/usr/local/go/src/runtime/panic.go:542 +0x46c",
    "created by main.main",
    "\tfoo.go:7 +0x43",
]
RUBY = [
    "/app/config.rb:57:in 'require': cannot load (LoadError)",
    "\tfrom /app/boot.rb:3:in 'block'",
    "\tfrom /app/boot.rb:9:in 'main'",
]
PYTHON = ["Traceback (most recent call last):", '  File "x.py", line 1, in f', "    g()", "ValueError: no"]


def assemble(
    plugins: PluginKit, names: Sequence[str], lines: Sequence[str], sections: str = "", limit: int = 1000
) -> list[str]:
    parsers = [plugins.parsers(sections).get_multiline(name) for name in names]
    assembler = Assembler(parsers, limit)
    messages = [message for at, line in enumerate(lines) for message in assembler.append(line, NOW, at)]
    messages += assembler.flush()
    assert assembler.pending_mark is None
    assert [mark for _, _, mark in messages] == sorted(mark for _, _, mark in messages)
    return [record["log"] for _, record, _ in messages]


@pytest.mark.parametrize(("name", "trace"), [("java", JAVA), ("go", GO), ("ruby", RUBY), ("python", PYTHON)])
def test_a_trace_is_one_message_and_other_lines_are_their_own(plugins: PluginKit, name: str, trace: list[str]) -> None:
    found = assemble(plugins, [name], ["before", *trace, "after"])
    assert found == ["before\n", "\n".join(trace) + "\n", "after\n"]


def test_two_traces_in_a_row_are_two_messages(plugins: PluginKit) -> None:
    assert len(assemble(plugins, ["java"], [*JAVA, *JAVA])) == 2
    assert len(assemble(plugins, ["python"], [*PYTHON, *PYTHON])) == 2


def test_several_parsers_share_a_source(plugins: PluginKit) -> None:
    found = assemble(plugins, ["java", "python"], [*JAVA, *PYTHON, "plain", *JAVA])
    assert [message.count("\n") for message in found] == [len(JAVA), len(PYTHON), 1, len(JAVA)]


def test_partial_lines_of_containers_are_joined_by_stream(plugins: PluginKit) -> None:
    lines = [
        "2026-03-01T10:00:00.1Z stdout P one ",
        "2026-03-01T10:00:00.2Z stderr P other ",
        "2026-03-01T10:00:00.3Z stdout F two",
        "2026-03-01T10:00:00.4Z stderr F thing",
    ]
    assembler = Assembler([plugins.parsers("").get_multiline("cri")], 1000)
    messages = [message for at, line in enumerate(lines) for message in assembler.append(line, NOW, at)]
    assert [(record["log"], record["stream"], mark) for _, record, mark in messages] == [
        ("one two", "stdout", 0),
        ("other thing", "stderr", 1),
    ]
    assert [when for when, _, _ in messages] == [NOW + 100_000_000, NOW + 200_000_000]


def test_docker_lines_end_a_message_with_a_line_break(plugins: PluginKit) -> None:
    lines = [
        '{"log":"one, ","stream":"stdout"}',
        '{"log":"two\\n","stream":"stdout"}',
        '{"log":"x\\n","stream":"stdout"}',
    ]
    assert assemble(plugins, ["docker"], lines) == ["one, two\n", "x\n"]


CUSTOM = """
multiline_parsers:
  - name: block
    type: regex
    flush_timeout: 1500
    rules:
      - {state: start_state, regex: '/^\\[/', next_state: more}
      - {state: more, regex: '/^ /', next_state: more}
  - {name: ends, type: endswith, match_string: ';'}
  - {name: negated, type: endswith, match_string: '\\', negate: true}
  - {name: same, type: eq, match_string: END}
"""


@pytest.mark.parametrize(
    ("name", "lines", "messages"),
    [
        ("block", ["[a", " b", "c", "[d"], ["[a\n b\n", "c\n", "[d\n"]),
        ("ends", ["a", "b;", "c;"], ["a\nb;\n", "c;\n"]),
        ("negated", ["a\\", "b", "c"], ["a\\\nb\n", "c\n"]),
        ("same", ["a", "END", "b"], ["a\nEND\n", "b\n"]),
    ],
)
def test_own_definitions_of_each_type(plugins: PluginKit, name: str, lines: list[str], messages: list[str]) -> None:
    assert assemble(plugins, [name], lines, CUSTOM) == messages


def test_a_message_is_cut_at_the_limit(plugins: PluginKit) -> None:
    found = assemble(plugins, ["block"], ["[" + "x" * 50, " " + "y" * 60, "[z"], CUSTOM, limit=80)
    assert [len(message.rstrip("\n")) for message in found] == [80, 2]


def test_the_time_out_is_that_of_the_definition(plugins: PluginKit) -> None:
    table = plugins.parsers(CUSTOM)
    assert Assembler([table.get_multiline("block")], 10).flush_timeout == 1.5
    assert Assembler([table.get_multiline("java")], 10).flush_timeout == 4


@given(st.lists(st.sampled_from([*JAVA, *GO, *RUBY, *PYTHON, "plain", "", "  "]), max_size=25))
def test_no_line_is_lost_or_doubled_whatever_the_order(lines: list[str]) -> None:
    table = PluginKit().parsers("")
    parsers: list[MultilineParser] = [table.get_multiline(name) for name in ("java", "go", "ruby", "python")]
    assembler = Assembler(parsers, 10**6)
    messages = [message for at, line in enumerate(lines) for message in assembler.append(line, NOW, at)]
    messages += assembler.flush()
    text = "".join(record["log"] for _, record, _ in messages)
    assert sorted(filter(None, text.split("\n"))) == sorted(filter(None, lines))


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ("{name: m, type: regx}", "'regx' is not one of regex, endswith, equal, eq; did you mean 'regex'?"),
        ("{name: m, type: regex}", "type regex needs rules"),
        (
            "{name: m, type: regex, rules: [{state: start_state, regex: '(', next_state: x}]}",
            "not a regular expression",
        ),
        (
            "{name: m, type: regex, rules: [{state: start_state, regex: a, next_state: mor},"
            " {state: more, regex: b, next_state: more}]}",
            "next state 'mor' is not known; did you mean 'more'?",
        ),
        ("{name: m, type: regex, rules: [{state: a, regex: a, next_state: a}]}", "no rule has the state 'start_state'"),
        ("{name: m, type: eq, parser: gone}", "parser 'gone' is not defined"),
    ],
)
def test_a_faulty_definition_is_refused_with_the_reason(plugins: PluginKit, definition: str, message: str) -> None:
    sections = plugins.document(f"multiline_parsers:\n  - {definition}\n").sections
    faults = [str(fault) for fault in build_parsers(sections, lambda: NOW)[1]]
    assert any("multiline_parser 'm'" in fault and message in fault for fault in faults), faults
