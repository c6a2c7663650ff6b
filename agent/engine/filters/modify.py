"""Filter `modify`: adds, sets, renames, copies, moves and removes keys, if its conditions hold.

Rules run in the order of the configuration, each on the result of the one before; conditions are about the record as it
came.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from agent.engine.accessor import MISSING, accessor
from agent.engine.config import STRING, InvalidProperty, option, split_words
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.regex import compile_regex
from agent.engine.registry import filters

Rule: TypeAlias = Callable[[Record], Record]
Condition: TypeAlias = Callable[[Record], bool]


def _set(key: str, value: str) -> Rule:
    def rule(record: Record) -> Record:
        record.pop(key, None)
        record[key] = value
        return record

    return rule


def _add(key: str, value: str) -> Rule:
    def rule(record: Record) -> Record:
        record.setdefault(key, value)
        return record

    return rule


def _rename(key: str, to: str) -> Rule:
    hard = _hard_rename(key, to)
    return lambda record: record if to in record else hard(record)


def _hard_rename(key: str, to: str) -> Rule:
    def rule(record: Record) -> Record:
        if key not in record or key == to:
            return record
        return {to if k == key else k: v for k, v in record.items() if k != to}

    return rule


def _copy(key: str, to: str) -> Rule:
    hard = _hard_copy(key, to)
    return lambda record: record if to in record else hard(record)


def _hard_copy(key: str, to: str) -> Rule:
    def rule(record: Record) -> Record:
        if key not in record or key == to:
            return record
        copied: Record = {}
        for k, v in record.items():
            if k != to:
                copied[k] = v
            if k == key:
                copied[to] = v
        return copied

    return rule


def _remove(key: str) -> Rule:
    def rule(record: Record) -> Record:
        record.pop(key, None)
        return record

    return rule


def _without(is_gone: Callable[[str], object]) -> Rule:
    return lambda record: {k: v for k, v in record.items() if not is_gone(k)}


def _remove_regex(pattern: str) -> Rule:
    return _without(compile_regex(pattern).search)


def _move(prefix: str, *, to_start: bool) -> Rule:
    def rule(record: Record) -> Record:
        moved = {k: v for k, v in record.items() if k.startswith(prefix)}
        rest = {k: v for k, v in record.items() if k not in moved}
        return {**moved, **rest} if to_start else {**rest, **moved}

    return rule


_ONE_WORD: dict[str, Callable[[str], Rule]] = {
    "remove": _remove,
    "remove_wildcard": lambda prefix: _without(lambda key: key.startswith(prefix)),
    "remove_regex": _remove_regex,
    "move_to_start": lambda prefix: _move(prefix, to_start=True),
    "move_to_end": lambda prefix: _move(prefix, to_start=False),
}
_TWO_WORDS: dict[str, Callable[[str, str], Rule]] = {
    "set": _set,
    "add": _add,
    "add_if_not_present": _add,
    "rename": _rename,
    "hard_rename": _hard_rename,
    "copy": _copy,
    "hard_copy": _hard_copy,
}


def _text(value: object) -> str | None:
    """What an expression is matched against: text, or a boolean as text; nothing else."""
    return value if type(value) is str else "true" if value is True else "false" if value is False else None


def _exists(key: str) -> Condition:
    value_of = accessor(key)
    return lambda record: value_of(record) is not MISSING


def _equals(key: str, expected: str) -> Condition:
    value_of = accessor(key)
    return lambda record: value_of(record) == expected


def _value_matches(key: str, pattern: str) -> Condition:
    value_of, search = accessor(key), compile_regex(pattern).search
    return lambda record: (text := _text(value_of(record))) is not None and search(text) is not None


def _a_key_matches(pattern: str) -> Condition:
    search = compile_regex(pattern).search
    return lambda record: any(map(search, record))


def _matching_values(keys: str, values: str) -> Condition:
    key_matches, value_matches = compile_regex(keys).search, compile_regex(values).search
    return lambda record: all(
        (text := _text(value)) is not None and value_matches(text) for key, value in record.items() if key_matches(key)
    )


def _not(condition: Condition) -> Condition:
    return lambda record: not condition(record)


def _exists_but_not(key: str, condition: Condition) -> Condition:
    exists = _exists(key)
    return lambda record: exists(record) and not condition(record)


_KEY_CONDITIONS: dict[str, Callable[[str], Condition]] = {
    "key_exists": _exists,
    "key_does_not_exist": lambda key: _not(_exists(key)),
    "a_key_matches": _a_key_matches,
    "no_key_matches": lambda pattern: _not(_a_key_matches(pattern)),
}
_VALUE_CONDITIONS: dict[str, Callable[[str, str], Condition]] = {
    "key_value_equals": _equals,
    "key_value_does_not_equal": lambda key, value: _exists_but_not(key, _equals(key, value)),
    "key_value_matches": _value_matches,
    "key_value_does_not_match": lambda key, pattern: _exists_but_not(key, _value_matches(key, pattern)),
    "matching_keys_have_matching_values": _matching_values,
    "matching_keys_do_not_have_matching_values": lambda keys, values: _not(_matching_values(keys, values)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModifyConfig:
    """What the modify filter takes."""

    rules: tuple[tuple[str, str], ...] = option(
        STRING, names=(*_TWO_WORDS, *_ONE_WORD), help="a change: a key, and a value or another key where it needs one"
    )
    condition: tuple[str, ...] = option(STRING, repeated=True, help="when to change a record; all conditions must hold")


@filters.register("modify", ModifyConfig)
class Modify:
    """Changes keys of records."""

    def __init__(self, config: ModifyConfig, context: Context) -> None:
        self._rules = [_rule(name, text) for name, text in config.rules]
        self._conditions = [_condition(text) for text in config.condition]

    def process(self, batch: Batch, emit: Emit) -> Batch:
        for at, record in enumerate(batch.records):
            if all(condition(record) for condition in self._conditions):
                for rule in self._rules:
                    record = rule(record)
                batch.records[at] = record
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _rule(name: str, text: str) -> Rule:
    words = split_words(text, 3)
    expected = 1 if name in _ONE_WORD else 2
    if len(words) != expected:
        what = "one word" if expected == 1 else "a key and one more word; put a value with spaces in quotes"
        raise InvalidProperty(name, f"{text!r}: expected {what}")
    try:
        return _ONE_WORD[name](words[0]) if expected == 1 else _TWO_WORDS[name](words[0], words[1])
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None


def _condition(text: str) -> Condition:
    kind, *words = split_words(text, 3)
    try:
        if kind.lower() in _KEY_CONDITIONS and len(words) == 1:
            return _KEY_CONDITIONS[kind.lower()](words[0])
        if kind.lower() in _VALUE_CONDITIONS and len(words) == 2:
            return _VALUE_CONDITIONS[kind.lower()](words[0], words[1])
    except ValueError as error:
        raise InvalidProperty("condition", str(error)) from None
    known = ", ".join([*_KEY_CONDITIONS, *_VALUE_CONDITIONS])
    raise InvalidProperty("condition", f"{text!r}: expected a kind of condition with its words; there are {known}")
