"""Appending pairs, removing and keeping keys."""

import uuid

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit

RECORD = {"level": "info", "msg": "hi", "user_id": 1, "USER_name": "a"}


@pytest.mark.parametrize(
    ("properties", "result"),
    [
        ({"record": ["host n1", "env a b"]}, {**RECORD, "host": "n1", "env": "a b"}),
        ({"record": "level x"}, {**RECORD, "level": "x"}),
        ({"remove_key": ["LEVEL", "gone"]}, {"msg": "hi", "user_id": 1, "USER_name": "a"}),
        ({"remove_key": "user_*"}, {"level": "info", "msg": "hi"}),
        ({"allowlist_key": ["msg", "user_*"]}, {"msg": "hi", "user_id": 1, "USER_name": "a"}),
        ({"whitelist_key": "Msg"}, {"msg": "hi"}),
        ({"allowlist_key": "msg", "record": "a 1"}, {"msg": "hi", "a": "1"}),
    ],
)
def test_keys_are_removed_kept_and_appended(
    plugins: PluginKit, properties: dict[str, object], result: dict[str, object]
) -> None:
    assert plugins.filtered(plugins.make(filters, "record_modifier", **properties), dict(RECORD)) == [result]


def test_a_record_without_anything_left_is_dropped(plugins: PluginKit) -> None:
    plugin = plugins.make(filters, "record_modifier", allowlist_key="a")
    assert plugins.filtered(plugin, {"b": 1}, {"a": 2}) == [{"a": 2}]


def test_each_record_gets_an_identifier_of_its_own(plugins: PluginKit) -> None:
    first, second = plugins.filtered(plugins.make(filters, "record_modifier", uuid_key="id"), {"a": 1}, {"a": 1})
    assert uuid.UUID(first["id"]).version == 4
    assert first["id"] != second["id"]


def test_removing_and_allowing_exclude_each_other(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="cannot be used together"):
        plugins.make(filters, "record_modifier", remove_key="a", allowlist_key="b")
