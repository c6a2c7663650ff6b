"""Decoders of parsers. What golden case `parser_decoders` does not show: each escape, and what is refused."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.parsers.decoders import DECODERS, decoder
from tests.agent.engine.conftest import PluginKit


@pytest.mark.parametrize(
    ("name", "text", "result"),
    [
        ("json", ' {"a": [1]} ', {"a": [1]}),
        ("json", "[1]", None),
        ("json", "{}{}", None),
        ("json", "text", None),
        ("escaped", r"a\n\t\\\"\q", 'a\n\t\\"q'),
        ("escaped", "end\\", "end\\"),
        ("escaped_utf8", r"\u00e9\x41\101\U0001F600\/", "éAA😀/"),
        ("escaped_utf8", r"\ud83d\ude00", "😀"),
        ("escaped_utf8", r"\ud83d \ude00 \u12", "\ufffd \ufffd \ufffd"),
        ("escaped_utf8", r"\UFFFFFFFF", "\ufffd"),
        ("mysql_quoted", r"'it\'s \0\Z\q'", "it's \0\x1a\\q"),
        ("mysql_quoted", "'open", "'open"),
        ("mysql_quoted", "'", "'"),
    ],
)
def test_a_decoder_turns_text_back(name: str, text: str, result: object) -> None:
    assert DECODERS[name](text) == result


@pytest.mark.parametrize(
    ("rules", "record", "result"),
    [
        ([("decode_field_as", "json log")], {"log": '{"a":1}', "b": 2}, {"log": {"a": 1}, "b": 2}),
        ([("decode_field", "json log")], {"log": '{"a":1,"b":3}', "b": 2}, {"log": '{"a":1,"b":3}', "b": 3, "a": 1}),
        ([("decode_field_as", "json log"), ("decode_field_as", "escaped log")], {"log": r"a\t"}, {"log": r"a\t"}),
        ([("decode_field_as", "json log try_next"), ("decode_field_as", "escaped log")], {"log": r"\t"}, {"log": "\t"}),
        (
            [("decode_field_as", "escaped log do_next"), ("decode_field", "json log")],
            {"log": r"{\"a\":1}"},
            {"log": '{"a":1}', "a": 1},
        ),
        (
            [("decode_field", "json a"), ("decode_field", "json b")],
            {"a": '{"x":1}', "b": "-"},
            {"a": '{"x":1}', "b": "-"},
        ),
        ([("decode_field_as", "json log")], {"log": 5, "other": "{}"}, {"log": 5, "other": "{}"}),
    ],
)
def test_rules_of_a_key_are_applied_in_order(
    rules: list[tuple[str, str]], record: dict[str, object], result: dict[str, object]
) -> None:
    decode = decoder(rules)
    assert decode is not None
    assert decode(dict(record)) == result


@pytest.mark.parametrize(
    ("text", "message"), [("json", "expected a decoder and a key"), ("jsn log", "'jsn' is not known; did you mean")]
)
def test_a_rule_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        decoder([("decode_field", text)])


@pytest.mark.parametrize(
    ("parser", "line", "parsed"),
    [
        (
            "{name: p, format: json, time_key: t, time_format: '%s', decode_field: json log}",
            '{"log":"{\\"t\\":\\"5\\"}"}',
            5,
        ),
        ("{name: p, format: regex, regex: '^(?<log>.*)$', decode_field_as: json log}", '{"t":"5"}', 0),
    ],
)
def test_json_looks_for_its_time_after_decoding_and_other_formats_before(
    plugins: PluginKit, parser: str, line: str, parsed: int
) -> None:
    found = plugins.parsers(f"- {parser}").get("p").parse(line)
    assert found is not None
    assert found[0] == parsed * 1_000_000_000
