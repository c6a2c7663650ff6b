"""Conversions that golden case `type_converter_expect` does not show, and what is refused."""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit


def test_rules_of_a_kind_are_applied_in_order_and_a_new_key_goes_to_the_end(plugins: PluginKit) -> None:
    plugin = plugins.make(filters, "type_converter", int_key="n a string", str_key=["a a2 int", "b b hex"])
    (found,) = plugins.filtered(plugin, {"a": "5", "b": "ff", "n": 1})
    assert list(found.items()) == [("n", 1), ("a2", 5), ("b", 255), ("a", "1")]


def test_a_number_that_is_not_finite_is_left_as_it_is(plugins: PluginKit) -> None:
    plugin = plugins.make(filters, "type_converter", float_key=["f g int", "f t string"])
    assert plugins.filtered(plugin, {"f": float("inf")}) == [{"f": float("inf"), "g": float("inf"), "t": "inf"}]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "there is no rule"),
        ({"str_key": "a b"}, "expected a key, a new key and a type"),
        ({"str_key": "a b integer"}, "cannot convert to 'integer'; did you mean 'int'"),
        ({"int_key": "a b bool"}, "cannot convert to 'bool'; there are string, float, uint"),
        ({"int_key": "$a[ b string"}, "not a record accessor"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(plugins: PluginKit, rule: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(filters, "type_converter", **rule)
