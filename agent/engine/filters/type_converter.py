"""Filter `type_converter`: puts a key's value, turned into another type, under a new key."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from agent.engine.accessor import MISSING, Accessor, accessor
from agent.engine.config import STRING, InvalidProperty, option, split_words
from agent.engine.plugin import Context, Emit
from agent.engine.record import Batch, Record
from agent.engine.registry import filters
from headrace.config import did_you_mean

_Convert: TypeAlias = Callable[[Any], Any]
"""Gives the new value, or raises ValueError."""

_WHOLE = re.compile(r"\s*([+-]?\d+)", re.ASCII)
_HEX = re.compile(r"\s*[+-]?(?:0[xX])?([0-9a-fA-F]+)")
_FLOAT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII)
_UNSIGNED = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeConverterConfig:
    """What the type_converter filter takes."""

    rules: tuple[tuple[str, str], ...] = option(
        STRING,
        names=("str_key", "int_key", "uint_key", "float_key"),
        help="a key of that type, the new key, and the new type: string, int, uint, hex, float or bool",
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    key: str
    value: Accessor
    takes: type
    convert: _Convert
    new_key: str


@filters.register("type_converter", TypeConverterConfig)
class TypeConverter:
    """Converts values between types."""

    def __init__(self, config: TypeConverterConfig, context: Context) -> None:
        if not config.rules:
            raise InvalidProperty("str_key", "there is no rule; name a key, a new key and a type")
        self._log = context.log
        ordered = sorted(config.rules, key=lambda rule: list(_FROM).index(rule[0]))
        self._rules = [_rule(name, text) for name, text in ordered]

    def process(self, batch: Batch, emit: Emit) -> Batch:
        changes = [self._converted(record) for record in batch.records]
        if any(has_converted for _, has_converted in changes):  # else the batch stays as it is, as in Fluent Bit
            for record, (added, _) in zip(batch.records, changes, strict=True):
                for key, value in added.items():
                    record.pop(key, None)
                    record[key] = value
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def _converted(self, record: Record) -> tuple[Record, bool]:
        """What to add, and whether anything was converted; a value that cannot be is added as it is."""
        added: Record = {}
        has_converted = False
        for rule in self._rules:
            value = rule.value(record)
            if value is MISSING:
                continue
            try:
                if type(value) is not rule.takes:
                    raise ValueError("of another type")
                added[rule.new_key] = rule.convert(value)
                has_converted = True
            except ValueError as error:
                self._log.error("failed to convert. key=%s: %s", rule.key, error)
                added[rule.new_key] = value
        return added, has_converted


def _rule(name: str, text: str) -> _Rule:
    words = split_words(text, 3)
    if len(words) != 3:
        raise InvalidProperty(name, f"{text!r}: expected a key, a new key and a type")
    takes, conversions = _FROM[name]
    convert = conversions.get(words[2].lower())
    if convert is None:
        hint = did_you_mean(words[2], conversions) or f"; there are {', '.join(conversions)}"
        raise InvalidProperty(name, f"{text!r}: cannot convert to {words[2]!r}{hint}")
    try:
        value = accessor(words[0] if words[0].startswith("$") else "$" + words[0])
    except ValueError as error:
        raise InvalidProperty(name, str(error)) from None
    return _Rule(words[0], value, takes, convert, words[1])


def _number(pattern: re.Pattern[str], base: int) -> _Convert:
    def convert(text: str) -> int:
        found = pattern.match(text)
        number = int(found[1], base) if found else 0
        if number == 0:
            raise ValueError(f"{text!r} is no number but 0")  # which Fluent Bit cannot tell from text, either
        return number

    return convert


_whole_text = _number(_WHOLE, 10)


def _float(text: str) -> float:
    found = _FLOAT.match(text)
    return float(found[1]) if found else 0.0


def _bool(text: str) -> bool:
    lower = text.lower()
    if not lower.startswith(("true", "false")):
        raise ValueError(f"{text!r} is neither true nor false")
    return lower.startswith("true")


def _whole(number: float) -> int:
    try:
        return int(number)
    except OverflowError:
        raise ValueError(f"{number} is not finite") from None


def _float_text(number: float) -> str:
    return f"{number:.1f}" if number.is_integer() and abs(number) < 2**63 else f"{number:.16g}"


_FROM: Mapping[str, tuple[type, Mapping[str, _Convert]]] = {
    "str_key": (
        str,
        {
            "int": _whole_text,
            "uint": lambda text: _whole_text(text) % _UNSIGNED,
            "hex": _number(_HEX, 16),
            "float": _float,
            "bool": _bool,
        },
    ),
    "int_key": (int, {"string": str, "float": float, "uint": lambda number: number % _UNSIGNED}),
    "uint_key": (int, {"string": lambda number: str(number % _UNSIGNED), "float": float, "int": int}),
    "float_key": (float, {"string": _float_text, "int": _whole, "uint": lambda number: _whole(number) % _UNSIGNED}),
}
"""By property: the type it takes, and the conversions from it."""
