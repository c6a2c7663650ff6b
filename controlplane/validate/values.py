"""What a property's text must look like, by the type that the catalogue gives it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from headrace.config import did_you_mean, parse_bool, parse_size, parse_time
from headrace.types import Engine

_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "log_level": ("off", "error", "warn", "warning", "info", "debug", "trace"),
        "storage.type": ("memory", "filesystem", "memrb"),
    }
)
"""Properties of every plugin of which few values are known, whatever type the catalogue gives them."""
_LONGEST = 64
_LEAST = "space delimited strings (minimum "
_TAKEN_AS_ZERO = frozenset({"integer", "double", "size", "time"})
"""Types of which the real Fluent Bit takes nonsense for a number without a word."""


def objection(name: str, type_: str, text: str) -> str:
    """Why a text cannot be the value, in words that follow the property's name; empty when it can."""
    if type_ in _CHECKS and len(text) > _LONGEST:
        return f"{text[:_LONGEST]!r}… is too long for a value of type {type_}"
    if choices := _CHOICES.get(name):
        if text.strip().lower() in choices:
            return ""
        return f"{text!r} is none of {', '.join(choices)}{did_you_mean(text, choices)}"
    try:
        if type_.startswith(_LEAST):
            _check_words(text, int(type_.removeprefix(_LEAST).removesuffix(")")))
        elif type_ in _CHECKS:
            _CHECKS[type_](text)
        if name == "port" and type_ == "integer" and int(text) > 65535:
            return f"{text!r} is no port; there are 65535"
    except ValueError as reason:
        return str(reason)
    return ""


def is_refused(engine: Engine, type_: str) -> bool:
    """Whether an engine refuses a bad value of this type; if not, it runs with another one than was meant."""
    return engine is not Engine.FLUENT_BIT or type_ not in _TAKEN_AS_ZERO


def _check_integer(text: str) -> None:
    try:
        int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _check_double(text: str) -> None:
    try:
        float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _check_time(text: str) -> None:
    """Plugins that take parts of a second have the type of whole ones."""
    try:
        float(text)
    except ValueError:
        parse_time(text)


def _check_words(text: str, least: int) -> None:
    if len(text.split()) < least:
        raise ValueError(f"{text!r} has too few words; at least {least} are needed, parted by spaces")


_CHECKS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {
        "boolean": parse_bool,
        "integer": _check_integer,
        "double": _check_double,
        "size": parse_size,
        "time": _check_time,
    }
)
