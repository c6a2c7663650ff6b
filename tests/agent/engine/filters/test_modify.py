"""Changing keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.config import InvalidProperty
from agent.engine.registry import filters
from tests.agent.engine.conftest import PluginKit


def change(plugins: PluginKit, record: dict[str, object], **properties: object) -> list[tuple[str, object]]:
    (result,) = plugins.filtered(plugins.make(filters, "modify", **properties), dict(record))
    return list(result.items())


AB = {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("rule", "text", "result"),
    [
        ("set", "c x", [("a", 1), ("b", 2), ("c", "x")]),
        ("set", "a x", [("b", 2), ("a", "x")]),
        ("set", "c 'x y'", [("a", 1), ("b", 2), ("c", "x y")]),
        ("add", "c x", [("a", 1), ("b", 2), ("c", "x")]),
        ("add", "a x", [("a", 1), ("b", 2)]),
        ("add_if_not_present", "c x", [("a", 1), ("b", 2), ("c", "x")]),
        ("remove", "a", [("b", 2)]),
        ("remove", "gone", [("a", 1), ("b", 2)]),
        ("remove_wildcard", "a", [("b", 2)]),
        ("remove_regex", "^(a|z)$", [("b", 2)]),
        ("rename", "a c", [("c", 1), ("b", 2)]),
        ("rename", "a b", [("a", 1), ("b", 2)]),
        ("rename", "gone c", [("a", 1), ("b", 2)]),
        ("hard_rename", "a b", [("b", 1)]),
        ("hard_rename", "gone b", [("a", 1), ("b", 2)]),
        ("hard_rename", "a c", [("c", 1), ("b", 2)]),
        ("copy", "a c", [("a", 1), ("c", 1), ("b", 2)]),
        ("copy", "a b", [("a", 1), ("b", 2)]),
        ("hard_copy", "a b", [("a", 1), ("b", 1)]),
        ("hard_copy", "gone b", [("a", 1), ("b", 2)]),
        ("move_to_start", "b", [("b", 2), ("a", 1)]),
        ("move_to_end", "a", [("b", 2), ("a", 1)]),
    ],
)
def test_each_rule_does_its_one_thing(
    plugins: PluginKit, rule: str, text: str, result: list[tuple[str, object]]
) -> None:
    assert change(plugins, AB, **{rule: text}) == result


RECORD = {"level": "error", "ok": True, "n": 5, "user": {"id": "x"}}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("key_exists level", True),
        ("Key_Exists $user['id']", True),
        ("key_exists gone", False),
        ("key_does_not_exist gone", True),
        ("key_does_not_exist level", False),
        ("a_key_matches ^lev", True),
        ("a_key_matches ^x", False),
        ("no_key_matches ^x", True),
        ("key_value_equals level error", True),
        ("key_value_equals n 5", False),
        ("key_value_equals gone error", False),
        ("key_value_does_not_equal level info", True),
        ("key_value_does_not_equal gone info", False),
        ("key_value_matches level ^err", True),
        ("key_value_matches ok ^true$", True),
        ("key_value_matches n 5", False),
        ("key_value_does_not_match level ^info", True),
        ("key_value_does_not_match gone x", False),
        ("matching_keys_have_matching_values ^lev ^err", True),
        ("matching_keys_have_matching_values . ^err", False),
        ("matching_keys_have_matching_values ^none x", True),
        ("matching_keys_do_not_have_matching_values . ^err", True),
        ("key_value_equals level 'error'", True),
    ],
)
def test_a_condition_holds_or_does_not(plugins: PluginKit, condition: str, holds: bool) -> None:
    result = dict(change(plugins, RECORD, condition=condition, add="hit yes"))
    assert ("hit" in result) is holds


def test_all_conditions_must_hold(plugins: PluginKit) -> None:
    both = ["key_exists level", "key_exists gone"]
    assert change(plugins, RECORD, condition=both, set="x y") == list(RECORD.items())


def test_rules_work_on_each_others_results_in_the_order_of_the_configuration(plugins: PluginKit) -> None:
    assert change(plugins, {"a": 1}, rename="a b", copy="b c", remove="b") == [("c", 1)]


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"set": "a"}, "expected a key and one more word"),
        ({"set": "a b c"}, "put a value with spaces in quotes"),
        ({"remove": "a b"}, "expected one word"),
        ({"remove_regex": "("}, "not a regular expression"),
        ({"condition": "key_exist a"}, "expected a kind of condition"),
        ({"condition": "key_value_equals a"}, "expected a kind of condition"),
        ({"condition": "key_value_matches a ("}, "not a regular expression"),
    ],
)
def test_a_faulty_rule_is_refused(plugins: PluginKit, properties: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidProperty) as refused:
        plugins.make(filters, "modify", **properties)
    assert why in str(refused.value)


keys = st.sampled_from("abcd")


@given(
    st.dictionaries(keys, st.integers(), max_size=4),
    st.lists(st.tuples(st.sampled_from(["rename", "hard_rename", "copy", "hard_copy"]), keys, keys), max_size=5),
)
def test_renames_and_copies_never_invent_a_value(record: dict[str, int], rules: list[tuple[str, str, str]]) -> None:
    plugins = PluginKit()
    result = dict(record)
    for rule, key, to in rules:
        (result,) = plugins.filtered(plugins.make(filters, "modify", **{rule: f"{key} {to}"}), result)
    assert set(result.values()) <= set(record.values())
