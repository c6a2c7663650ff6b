"""Conditions of processors: which records of a batch a processor sees (pure).

    condition: {op: and, rules: [{field: "$status", op: gte, value: 500.0}]}

A field's value is compared as Fluent Bit writes it: `2.500000`, `true`, `null`; one that is missing is an empty text,
and 0 in a comparison of numbers.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from agent.engine.accessor import MISSING, Accessor, accessor
from agent.engine.config import InvalidProperty
from agent.engine.encode import json_text
from agent.engine.record import Record
from agent.engine.regex import compile_regex
from headrace.config import Value, did_you_mean

Condition: TypeAlias = Callable[[Record, Record], bool]
"""Whether a record with its metadata is meant."""

_Test: TypeAlias = Callable[[str], bool]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "gt": lambda found, value: found > value,
    "lt": lambda found, value: found < value,
    "gte": lambda found, value: found >= value,
    "lte": lambda found, value: found <= value,
}
_OPERATORS = ("eq", "neq", "regex", "not_regex", *_COMPARISONS, "in", "not_in")
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_FIELD = re.compile(r"\$[A-Za-z_][A-Za-z0-9_.\-/]*(?:\[(?:'(?:[^']|'')*'|\d+)\])*")


def condition(value: Value) -> Condition:
    """The condition that a processor's property says. Raises InvalidProperty."""
    if not isinstance(value, Mapping):
        raise InvalidProperty("condition", "expected a map with 'op' and 'rules'")
    operator = str(value.get("op", "and")).lower()
    rules = value.get("rules")
    if operator not in ("and", "or"):
        raise InvalidProperty("condition", f"op {operator!r} is neither 'and' nor 'or'")
    if not isinstance(rules, tuple) or not rules:
        raise InvalidProperty("condition", "needs a list of 'rules'")
    tests = [_rule(rule) for rule in rules]
    together = all if operator == "and" else any
    return lambda record, metadata: together(test(record, metadata) for test in tests)


def _rule(rule: Value) -> Condition:
    if not isinstance(rule, Mapping):
        raise InvalidProperty("condition", "each rule is a map of 'field', 'op' and 'value'")
    for key in ("field", "op", "value"):
        if rule.get(key) is None:
            raise InvalidProperty("condition", f"a rule has no {key!r}")
    operator = str(rule["op"]).lower()
    if operator not in _OPERATORS:
        hint = did_you_mean(operator, _OPERATORS) or f"; there are {', '.join(_OPERATORS)}"
        raise InvalidProperty("condition", f"op {operator!r} is not known{hint}")
    text_of, test = _text_of(str(rule["field"])), _test(operator, rule["value"])
    if str(rule.get("context", "body")).lower() == "metadata":
        return lambda _record, metadata: test(text_of(metadata))
    return lambda record, _metadata: test(text_of(record))


def _test(operator: str, value: Value) -> _Test:
    if operator in ("in", "not_in"):
        if not isinstance(value, tuple):
            raise InvalidProperty("condition", f"{operator} needs a list of values")
        known, wanted = {str(item) for item in value}, operator == "in"
        return lambda text: (text in known) is wanted
    if isinstance(value, tuple | Mapping):
        raise InvalidProperty("condition", f"{operator} takes one value")
    if operator in _COMPARISONS:
        compare, number = _COMPARISONS[operator], _bound(value)
        return lambda text: compare(_number(text), number)
    wanted_text = str(value).lower() if isinstance(value, bool) else str(value)
    if operator in ("regex", "not_regex"):
        try:
            search, matches = compile_regex(wanted_text).search, operator == "regex"
        except ValueError as error:
            raise InvalidProperty("condition", str(error)) from None
        return lambda text: (search(text) is not None) is matches
    equal = operator == "eq"
    return lambda text: (text == wanted_text) is equal


def _bound(value: Value) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise InvalidProperty("condition", f"{value!r} is not a number") from None


def _number(text: str) -> float:
    """As C's atof: the number that the text begins with, else 0."""
    found = _NUMBER.match(text)
    return float(found[0]) if found else 0.0


def _text_of(template: str) -> Callable[[Record], str]:
    """A function that fills in every `$field` of the template."""
    fields = list(_FIELD.finditer(template))
    if not fields:
        raise InvalidProperty("condition", f"field {template!r} is no record accessor; write $key or $key['nested']")
    pieces: list[str | Accessor] = []
    at = 0
    for found in fields:
        pieces += [template[at : found.start()], accessor(found[0])]
        at = found.end()
    pieces.append(template[at:])
    if len(fields) == 1 and fields[0][0] == template:
        value_of = accessor(template)
        return lambda record: _text(value_of(record))
    return lambda record: "".join(piece if isinstance(piece, str) else _text(piece(record)) for piece in pieces)


def _text(value: Any) -> str:
    if value is MISSING:
        return ""
    if isinstance(value, float):
        return f"{value:f}"
    return value if isinstance(value, str) else json_text(value).decode()
