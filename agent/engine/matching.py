"""The rules `regex` and `exclude` of filters: a key or record accessor, and an expression for its text (pure)."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from agent.engine.accessor import Accessor, accessor
from agent.engine.config import InvalidProperty, split_words
from agent.engine.record import Record
from agent.engine.regex import compile_regex

Matches: TypeAlias = Callable[[Record], bool]


def matcher(name: str, text: str) -> Matches:
    """Whether a record's text at `KEY` matches `EXPRESSION`. Raises InvalidProperty."""
    words = split_words(text, 2)
    if len(words) != 2:
        raise InvalidProperty(name, f"{text!r}: expected a key and a regular expression")
    try:
        value_of: Accessor = accessor(words[0] if words[0].startswith("$") else "$" + words[0])
        search = compile_regex(words[1]).search
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None

    def matches(record: Record) -> bool:
        value = value_of(record)
        return type(value) is str and search(value) is not None

    return matches


def first_decides(rules: Sequence[tuple[bool, Matches]]) -> Matches:
    """Fluent Bit's own way: a `regex` that matches keeps the record whatever follows, one that does not drops it.

    Each rule is (is it `exclude`, does it match).
    """
    if len(rules) == 1 and not rules[0][0]:
        return rules[0][1]

    def keeps(record: Record) -> bool:
        for is_exclude, matches in rules:
            if matches(record):
                return not is_exclude
            if not is_exclude:
                return False
        return True

    return keeps
