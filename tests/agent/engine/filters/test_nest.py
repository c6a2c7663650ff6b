"""Nesting and lifting keys."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit

RECORD = {"a_x": 1, "a_y": 2, "b": 3, "m": {"k": 4, "m": 5}, "s": "text"}


@pytest.mark.parametrize(
    ("properties", "result"),
    [
        (
            {"operation": "nest", "wildcard": "a_*", "nest_under": "a"},
            {"b": 3, "m": RECORD["m"], "s": "text", "a": {"a_x": 1, "a_y": 2}},
        ),
        (
            {"operation": "nest", "wildcard": ["a_*", "b"], "nest_under": "a", "remove_prefix": "a_"},
            {"m": RECORD["m"], "s": "text", "a": {"x": 1, "y": 2, "b": 3}},
        ),
        (
            {"operation": "nest", "wildcard": "b", "nest_under": "n", "add_prefix": "p."},
            {"a_x": 1, "a_y": 2, "m": RECORD["m"], "s": "text", "n": {"p.b": 3}},
        ),
        ({"operation": "nest", "wildcard": "zz*", "nest_under": "n"}, RECORD),
        (
            {"operation": "Lift", "nested_under": "m"},
            {"a_x": 1, "a_y": 2, "b": 3, "s": "text", "k": 4, "m": 5},
        ),
        (
            {"operation": "lift", "nested_under": "m", "add_prefix": "m_"},
            {"a_x": 1, "a_y": 2, "b": 3, "s": "text", "m_k": 4, "m_m": 5},
        ),
        ({"operation": "lift", "nested_under": "s"}, RECORD),
        ({"operation": "lift", "nested_under": "gone"}, RECORD),
    ],
)
def test_keys_are_nested_and_lifted(
    plugins: PluginKit, properties: dict[str, object], result: dict[str, object]
) -> None:
    (found,) = plugins.filtered(plugins.make(filters, "nest", **properties), dict(RECORD))
    assert list(found.items()) == list(result.items())


@pytest.mark.parametrize(
    "properties",
    [
        {"operation": "nest", "wildcard": "a"},
        {"operation": "lift"},
        {"operation": "lift", "nested_under": "m", "add_prefix": "a", "remove_prefix": "b"},
    ],
)
def test_an_incomplete_configuration_is_refused(plugins: PluginKit, properties: dict[str, object]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(filters, "nest", **properties)
