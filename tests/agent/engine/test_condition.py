"""Conditions of processors. Golden case `processor_conditions` shows the same on the real Fluent Bit."""

import pytest

from agent.engine.condition import condition
from agent.engine.config import InvalidProperty
from tests.agent.engine.conftest import EngineKit

RECORD = {"n": 3, "f": 2.5, "t": True, "nul": None, "s": "text", "m": {"k": "v"}, "l": [1, 2]}


@pytest.mark.parametrize(
    ("field", "operator", "value", "holds"),
    [
        ("$n", "eq", "3", True),
        ("$n", "eq", 3, True),
        ("$n", "neq", "3", False),
        ("$f", "eq", "2.500000", True),
        ("$f", "eq", "2.5", False),
        ("$t", "eq", "true", True),
        ("$t", "eq", True, True),
        ("$nul", "eq", "null", True),
        ("$m['k']", "eq", "v", True),
        ("$l[1]", "eq", "2", True),
        ("$s $n", "eq", "text 3", True),
        ("x-$none", "eq", "x-", True),
        ("$none", "neq", "x", True),
        ("$none", "lt", 9, True),
        ("$none", "not_in", ("x",), True),
        ("$n", "gt", 2.5, True),
        ("$n", "gt", 3, False),
        ("$n", "GTE", "3", True),
        ("$n", "lt", 3, False),
        ("$n", "lte", 3, True),
        ("$s", "gt", -1, True),
        ("$s", "regex", "^te", True),
        ("$s", "not_regex", "^te", False),
        ("$m['k']", "in", ("v", "w"), True),
        ("$m['k']", "not_in", ("v", "w"), False),
    ],
)
def test_a_rule_compares_the_text_of_a_field(field: str, operator: str, value: object, holds: bool) -> None:
    rule = {"field": field, "op": operator, "value": value}
    assert condition({"rules": (rule,)})(RECORD, {}) is holds


@pytest.mark.parametrize(("operator", "holds"), [("and", False), ("or", True)])
def test_rules_work_together(operator: str, holds: bool) -> None:
    yes, no = {"field": "$n", "op": "eq", "value": "3"}, {"field": "$n", "op": "eq", "value": "4"}
    assert condition({"op": operator, "rules": (yes, no)})(RECORD, {}) is holds


def test_a_rule_may_look_at_metadata() -> None:
    rule = {"field": "$m", "op": "eq", "value": "x", "context": "metadata"}
    assert condition({"rules": (rule,)})({"m": "y"}, {"m": "x"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("text", "expected a map"),
        ({"rules": ()}, "needs a list of 'rules'"),
        ({"op": "nor", "rules": ({},)}, "'nor' is neither"),
        ({"rules": ("x",)}, "each rule is a map"),
        ({"rules": ({"field": "$a", "op": "eq"},)}, "no 'value'"),
        ({"rules": ({"field": "a", "op": "eq", "value": "x"},)}, "no record accessor"),
        ({"rules": ({"field": "$a", "op": "eqq", "value": "x"},)}, "did you mean 'eq'"),
        ({"rules": ({"field": "$a", "op": "gt", "value": "x"},)}, "'x' is not a number"),
        ({"rules": ({"field": "$a", "op": "in", "value": "x"},)}, "in needs a list"),
        ({"rules": ({"field": "$a", "op": "eq", "value": ("x",)},)}, "takes one value"),
        ({"rules": ({"field": "$a", "op": "regex", "value": "("},)}, "not a regular expression"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(value: object, message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        condition(value)  # type: ignore[arg-type]  # as it comes from a configuration


async def test_a_processor_sees_only_what_its_condition_means_and_order_is_kept(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        parsers: [{name: j, format: json}]
        pipeline:
          inputs:
            - name: tail
              path: in.log
              read_from_head: on
              parser: j
              processors:
                logs:
                  - name: grep
                    exclude: drop yes
                    condition: {rules: [{field: $kind, op: eq, value: a}]}
          outputs: [{name: file, match: '*', file: out, format: plain}]
    """
    records = ['{"kind":"a","drop":"yes"}', '{"kind":"b","drop":"yes"}', '{"kind":"a"}', '{"kind":"b"}']
    (kit.folder / "in.log").write_text("\n".join(records) + "\n")
    async with kit.run(text) as running:
        assert await kit.has_lines("out", 3) == records[1:]
        (processor,) = running.engine.pipeline.parts.inputs[0].processors
        assert processor.metrics.drop_records == 1


async def test_processors_of_an_output_change_only_what_that_output_writes(kit: EngineKit) -> None:
    text = """
        service: {flush: 0.05}
        pipeline:
          inputs: [{name: dummy, dummy: '{"m":{"a":1}}', rate: 100, samples: 1}]
          outputs:
            - name: file
              match: '*'
              file: changed
              format: plain
              processors: {logs: [{name: content_modifier, action: upsert, key: x, value: y}]}
            - {name: file, match: '*', file: same, format: plain}
            - name: file
              match: '*'
              file: none
              format: plain
              processors: {logs: [{name: grep, regex: x y}]}
    """
    async with kit.run(text) as running:
        assert await kit.has_lines("changed", 1) == ['{"m":{"a":1},"x":"y"}']
        assert await kit.has_lines("same", 1) == ['{"m":{"a":1}}']
        assert not await running.stop()
    assert kit.lines("none") == []
