"""One change to one key."""

import hashlib

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.record import Batch
from agent.engine.registry import processors
from tests.agent.engine.conftest import PluginKit

RECORD = {"a": "x", "n": 5, "t": "true", "m": {"k": 1}, "f": "1.5"}


def change(plugins: PluginKit, **properties: str) -> Batch:
    plugin = plugins.make(processors, "content_modifier", **properties)
    return plugin.process(Batch("t", [1], [dict(RECORD)]), lambda _batch: None)


@pytest.mark.parametrize(
    ("properties", "changes"),
    [
        ({"action": "insert", "key": "new", "value": "v"}, {"new": "v"}),
        ({"action": "insert", "key": "a", "value": "v"}, {}),
        ({"action": "upsert", "key": "a", "value": "v"}, {"a": "v"}),
        ({"action": "delete", "key": "a"}, {"a": None}),
        ({"action": "delete", "key": "gone"}, {}),
        ({"action": "rename", "key": "a", "value": "b"}, {"a": None, "b": "x"}),
        ({"action": "rename", "key": "a", "value": "n"}, {"a": None, "n": "x"}),
        ({"action": "rename", "key": "gone", "value": "n"}, {}),
        ({"action": "hash", "key": "a"}, {"a": hashlib.sha256(b"x").hexdigest()}),
        ({"action": "hash", "key": "n"}, {"n": hashlib.sha256(b"5").hexdigest()}),
        ({"action": "extract", "key": "f", "pattern": r"^(?<whole>\d+)\.(?<part>\d+)$"}, {"whole": "1", "part": "5"}),
        ({"action": "extract", "key": "n", "pattern": "(?<x>.)"}, {}),
        ({"action": "convert", "key": "n", "converted_type": "string"}, {"n": "5"}),
        ({"action": "convert", "key": "f", "converted_type": "double"}, {"f": 1.5}),
        ({"action": "convert", "key": "f", "converted_type": "int"}, {"f": 1}),
        ({"action": "convert", "key": "t", "converted_type": "boolean"}, {"t": True}),
        ({"action": "convert", "key": "a", "converted_type": "int"}, {}),
        ({"action": "convert", "key": "m", "converted_type": "string"}, {}),
    ],
)
def test_each_action_changes_its_key(
    plugins: PluginKit, properties: dict[str, str], changes: dict[str, object]
) -> None:
    expected = {key: value for key, value in {**RECORD, **changes}.items() if value is not None}
    assert change(plugins, **properties).records == [expected]


def test_metadata_can_be_changed_instead(plugins: PluginKit) -> None:
    batch = change(plugins, action="insert", key="k", value="v", context="attributes")
    assert batch.metadata == [{"k": "v"}]
    assert batch.records == [RECORD]


@pytest.mark.parametrize(
    "properties",
    [
        {"action": "insert", "key": "k"},
        {"action": "rename", "key": "k"},
        {"action": "extract", "key": "k"},
        {"action": "extract", "key": "k", "pattern": "("},
        {"action": "convert", "key": "k"},
    ],
)
def test_an_incomplete_action_is_refused(plugins: PluginKit, properties: dict[str, str]) -> None:
    with pytest.raises(InvalidProperty):
        change(plugins, **properties)
