"""Frozen dataclasses to plain JSON values and back, driven by their annotations. Pure.

Unknown keys are ignored and missing ones take their default, so that an older agent reads what a newer one of the same
version wrote, and the other way round.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar, cast

T = TypeVar("T")


def dump(value: Any) -> Any:
    """What `json.dumps` takes."""
    match value:
        case None | bool() | int() | float():
            return value
        case StrEnum():
            return value.value
        case str():
            return value
        case datetime():
            return value.isoformat()
        case tuple():
            return [dump(item) for item in value]
        case Mapping():
            return {key: dump(item) for key, item in value.items()}
    return {field.name: dump(getattr(value, field.name)) for field in dataclasses.fields(value)}


def load(cls: type[T], document: Any) -> T:
    """The dataclass that `dump` made the document from. Raises ValueError, KeyError or TypeError."""
    if not isinstance(document, dict):
        raise TypeError(f"{cls.__name__} is kept as an object, not as {type(document).__name__}")
    hints = _hints(cast("Any", cls))
    return cls(**{name: _value(hints[name], value) for name, value in document.items() if name in hints})


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(hint: Any, value: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is tuple:
        return tuple(_value(typing.get_args(hint)[0], item) for item in value)
    if typing.get_origin(hint) is not None:
        return dict(value)
    if dataclasses.is_dataclass(hint):
        return load(cast("Any", hint), value)
    if hint is datetime:
        return datetime.fromisoformat(value)
    if issubclass(hint, StrEnum):
        return hint(value)
    if not isinstance(value, hint):
        raise TypeError(f"{value!r} is not {hint.__name__}")
    return value
