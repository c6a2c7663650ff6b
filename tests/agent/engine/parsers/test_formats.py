"""The parser formats on single lines."""

import pytest

from tests.agent.engine.conftest import NOW, PluginKit

APACHE = r"""
- name: p
  format: regex
  regex: '^(?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] (?<code>[^ ]*)(?: (?<rest>.*))?$'
  time_key: time
  time_format: '%d/%b/%Y:%H:%M:%S %z'
  types: code:integer
"""


def test_groups_become_keys_with_types_and_time(plugins: PluginKit) -> None:
    parser = plugins.parsers(APACHE).get("p")
    assert parser.parse(b"h u [01/Mar/2026:10:00:00 +0000] 200 more") == (
        NOW,
        {"host": "h", "user": "u", "code": 200, "rest": "more"},
    )


def test_empty_groups_are_left_out_unless_told_otherwise(plugins: PluginKit) -> None:
    assert plugins.parsers(APACHE).get("p").parse("h u [01/Mar/2026:10:00:00 +0000] 200") == (
        NOW,
        {"host": "h", "user": "u", "code": 200},
    )
    parser = plugins.parsers("- {name: p, format: regex, regex: '^(?<a>.*),(?<b>.*)$', skip_empty_values: false}").get(
        "p"
    )
    assert parser.parse(b",x") == (0, {"a": "", "b": "x"})


def test_a_line_that_does_not_match_is_not_parsed(plugins: PluginKit) -> None:
    assert plugins.parsers(APACHE).get("p").parse(b"something else") is None


def test_a_time_that_does_not_match_is_dropped_from_a_regex_record_and_kept_in_json(plugins: PluginKit) -> None:
    assert plugins.parsers(APACHE).get("p").parse(b"h u [yesterday] 200") == (
        0,
        {"host": "h", "user": "u", "code": 200},
    )
    parser = plugins.parsers("- {name: j, format: json, time_key: t, time_format: '%Y'}").get("j")
    assert parser.parse(b'{"t":"yesterday","a":1}') == (0, {"t": "yesterday", "a": 1})


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b'{"a":1}', {"a": 1}),
        (b' {"a":{"b":[1,2]}} ', {"a": {"b": [1, 2]}}),
        (b'{"a":"caf\xe9"}', {"a": "caf\ufffd"}),
        (b"[1]", None),
        (b"7", None),
        (b'{"a":1', None),
        (b"", None),
        (b'{"a":1}{"b":2}', None),
    ],
)
def test_json_takes_one_object(plugins: PluginKit, line: bytes, record: object) -> None:
    parsed = plugins.parsers("- {name: j, format: json}").get("j").parse(line)
    assert (parsed[1] if parsed else None) == record


def test_time_keep_and_time_offset(plugins: PluginKit) -> None:
    text = (
        "- {name: j, format: json, time_key: t, time_format: '%Y-%m-%d %H:%M', time_keep: true, time_offset: '+0200'}"
    )
    assert plugins.parsers(text).get("j").parse(b'{"t":"2026-03-01 12:00"}') == (NOW, {"t": "2026-03-01 12:00"})


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("a=1 b=x", {"a": "1", "b": "x"}),
        ('msg="hello \\"you\\"\\n" n=', {"msg": 'hello "you"\n', "n": True}),
        ('empty="" bare', {"empty": "", "bare": True}),
        ('open="to the end', {"open": "to the end"}),
        (r'u="\u00e9"', {"u": "é"}),
        ("  ", None),
        ("", None),
    ],
)
def test_logfmt(plugins: PluginKit, line: str, record: object) -> None:
    parsed = plugins.parsers("- {name: p, format: logfmt}").get("p").parse(line)
    assert (parsed[1] if parsed else None) == record


def test_logfmt_without_bare_keys(plugins: PluginKit) -> None:
    parser = plugins.parsers("- {name: p, format: logfmt, logfmt_no_bare_keys: true}").get("p")
    assert parser.parse("a=1 bare") is None
    assert parser.parse("a=1") == (0, {"a": "1"})


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("a:1\tb:x:y\tc:", {"a": "1", "b": "x:y", "c": ""}),
        ("a:1\tno label\tb:2", {"a": "1"}),
        ("nothing", None),
    ],
)
def test_ltsv(plugins: PluginKit, line: str, record: object) -> None:
    parsed = plugins.parsers("- {name: p, format: ltsv}").get("p").parse(line)
    assert (parsed[1] if parsed else None) == record


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "12abc", 12),
        ("integer", "x", 0),
        ("integer", "-9", -9),
        ("integer", "99999999999999999999", 2**63 - 1),
        ("float", "1.5e2x", 150.0),
        ("float", "none", 0.0),
        ("hex", "0xff", 255),
        ("hex", "fg", 15),
        ("bool", "TRUE", True),
        ("bool", "false", False),
        ("bool", "maybe", "maybe"),
        ("string", "1", "1"),
    ],
)
def test_types_cast_as_c_does(plugins: PluginKit, kind: str, text: str, value: object) -> None:
    parser = plugins.parsers(f"- {{name: p, format: ltsv, types: 'v:{kind}'}}").get("p")
    parsed = parser.parse(f"v:{text}")
    assert parsed is not None
    assert parsed[1]["v"] == value
    assert type(parsed[1]["v"]) is type(value)
