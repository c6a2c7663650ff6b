"""Keeping and dropping records by their values."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit

RECORDS = [
    {"level": "info", "user": {"name": "ada"}},
    {"level": "error", "user": {"name": "bob"}},
    {"level": "debug", "n": 1},
    {"n": "debug"},
]


def kept(plugins: PluginKit, **properties: object) -> list[int]:
    result = plugins.filtered(plugins.make(filters, "grep", **properties), *RECORDS)
    return [at for at, record in enumerate(RECORDS) if any(record is other for other in result)]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"regex": "level ^(info|error)$"}, [0, 1]),
        ({"exclude": "level debug"}, [0, 1, 3]),
        ({"regex": "$user['name'] ^b"}, [1]),
        ({"regex": "n 1"}, []),
        ({"regex": ["level info", "level error"]}, [0]),
        ({"exclude": ["level info", "level error"]}, [2, 3]),
        ({"exclude": "level error", "regex": "level ."}, [0, 2]),
        ({"regex": ["level .", "$user['name'] ."], "logical_op": "AND"}, [0, 1]),
        ({"regex": ["level debug", "n debug"], "logical_op": "or"}, [2, 3]),
        ({"exclude": ["level debug", "n debug"], "logical_op": "OR"}, [0, 1]),
        ({"exclude": ["level .", "$user['name'] bob"], "logical_op": "AND"}, [0, 2, 3]),
    ],
)
def test_rules_keep_what_fluent_bit_keeps(
    plugins: PluginKit, properties: dict[str, object], expected: list[int]
) -> None:
    assert kept(plugins, **properties) == expected


def test_in_legacy_mode_the_first_rule_that_decides_ends_the_matter(plugins: PluginKit) -> None:
    assert kept(plugins, regex="level error", exclude="$user['name'] bob") == [1]


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"regex": "level"}, "expected a key and a regular expression"),
        ({"regex": "level ("}, "not a regular expression"),
        ({"regex": "$[x] a"}, "is not a record accessor"),
        ({"regex": "a b", "exclude": "a c", "logical_op": "AND"}, "all be 'regex' or all be 'exclude'"),
    ],
)
def test_a_faulty_rule_is_refused(plugins: PluginKit, properties: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidProperty) as refused:
        plugins.make(filters, "grep", **properties)
    assert why in str(refused.value)
