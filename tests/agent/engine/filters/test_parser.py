"""Taking one key's text apart."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.record import Batch
from agent.engine.registry import filters
from tests.agent.engine.conftest import NOW, PluginKit

PARSERS = r"""
- {name: kv, format: logfmt, time_key: t, time_format: '%s'}
- {name: num, format: regex, regex: '^(?<n>\d+)$', types: n:integer}
"""
RECORD = {"log": "a=1", "host": "h", "nested": {"log": "b=2"}}


@pytest.mark.parametrize(
    ("properties", "result"),
    [
        ({}, {"a": "1"}),
        ({"preserve_key": True}, {"a": "1", "log": "a=1"}),
        ({"reserve_data": True}, {"a": "1", "host": "h", "nested": {"log": "b=2"}}),
        ({"reserve_data": True, "preserve_key": True}, {"a": "1", **RECORD}),
        ({"key_name": "$nested['log']"}, {"b": "2"}),
        ({"key_name": "$nested['log']", "reserve_data": True}, {"b": "2", **RECORD}),
        ({"key_name": "gone"}, RECORD),
        ({"key_name": "nested"}, RECORD),
    ],
)
def test_what_is_parsed_comes_first_and_the_rest_is_kept_as_asked(
    plugins: PluginKit, properties: dict[str, object], result: dict[str, object]
) -> None:
    plugin = plugins.make(filters, "parser", parsers=PARSERS, **{"key_name": "log", "parser": "kv", **properties})
    assert [list(record.items()) for record in plugins.filtered(plugin, dict(RECORD))] == [list(result.items())]


def test_the_first_parser_that_fits_is_taken_and_none_leaves_the_record_alone(plugins: PluginKit) -> None:
    plugin = plugins.make(filters, "parser", parsers=PARSERS, key_name="log", parser=["num", "kv"])
    assert plugins.filtered(plugin, {"log": "12"}, {"log": "a=1"}, {"log": "  "}) == [
        {"n": 12},
        {"a": "1"},
        {"log": "  "},
    ]


def test_a_parsed_time_becomes_the_records(plugins: PluginKit) -> None:
    plugin = plugins.make(filters, "parser", parsers=PARSERS, key_name="log", parser="kv")
    batch = plugin.process(Batch("t", [NOW, NOW], [{"log": "t=5 a=1"}, {"log": "a=1"}]), lambda _batch: None)
    assert batch.times == [5_000_000_000, NOW]


def test_an_unknown_parser_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="parser 'nums' is not defined; did you mean 'num'"):
        plugins.make(filters, "parser", parsers=PARSERS, key_name="log", parser="nums")
