"""How a value of any type that rows use becomes plain data and back, by its type alone. Pure.

Plain data is what JSON holds: a datetime is whole microseconds since 1970, bytes are base64, an enum its value, a
dataclass an object of the fields that differ from their defaults. `load` is as tolerant as the wire is, so that the
previous release reads what a newer one wrote: unknown fields are ignored, missing ones and enum values that are unknown
take the field's default. Anything else that does not fit raises ValueError, which names the place.
"""

from __future__ import annotations

import base64
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Shape:
    """A pair of inverse functions between a type and plain data."""

    dump: Callable[[Any], Any]
    load: Callable[[Any], Any]


def to_microseconds(moment: datetime) -> int:
    """Whole microseconds since 1970; a naive datetime is refused, since nobody knows what it means."""
    if moment.tzinfo is None:
        raise ValueError(f"time {moment} has no time zone; give an aware one")
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(count: Any) -> datetime:
    """The moment, in UTC."""
    try:
        return EPOCH + timedelta(microseconds=_exactly(int, count))
    except OverflowError:
        raise ValueError(f"{count} µs since 1970 is no time that a calendar has") from None


def shape_of(kind: Any) -> Shape:
    """The shape of a type: a scalar, an enum, a dataclass, or an optional, tuple or mapping of these."""
    if kind not in _SHAPES:
        _SHAPES[kind] = _make(kind)
    return _SHAPES[kind]


_SHAPES: dict[Any, Shape] = {}


def _make(kind: Any) -> Shape:
    if kind in _SCALARS:
        return _SCALARS[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _optional(shape_of(optional_part(kind)))
    if origin is tuple:
        return _sequence(shape_of(arguments[0]))
    if origin is Mapping:
        return _mapping(shape_of(arguments[1]))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return Shape(dump=lambda value: str.__str__(kind(value)), load=lambda plain: _member(kind, plain))
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast("type", kind))
    raise TypeError(f"rows cannot hold a {kind}")


def optional_part(kind: Any) -> Any:
    """The X of `X | None`; None for any other type."""
    if typing.get_origin(kind) not in (types.UnionType, typing.Union):
        return None
    (part,) = (argument for argument in typing.get_args(kind) if argument is not types.NoneType)
    return part


def field_types(record: type) -> dict[str, Any]:
    """The types of a dataclass's fields, in their order."""
    hints = typing.get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


class _UnknownMember(ValueError):
    """A value that a newer version gave an enum."""


def _exactly(kind: type, plain: Any) -> Any:
    if type(plain) is not kind:
        raise ValueError(f"{_excerpt(plain)} is no {kind.__name__}")
    return plain


def _member(kind: type[StrEnum], plain: Any) -> StrEnum:
    text = _exactly(str, plain)
    try:
        return kind(text)
    except ValueError as error:
        raise _UnknownMember(f"{_excerpt(plain)} is no {kind.__name__}") from error


def _bytes(plain: Any) -> bytes:
    return base64.b64decode(_exactly(str, plain), validate=True)


_SCALARS: dict[Any, Shape] = {
    str: Shape(dump=str, load=lambda plain: _exactly(str, plain)),
    int: Shape(dump=int, load=lambda plain: _exactly(int, plain)),
    bool: Shape(dump=bool, load=lambda plain: _exactly(bool, plain)),
    bytes: Shape(dump=lambda value: base64.b64encode(value).decode("ascii"), load=_bytes),
    datetime: Shape(dump=to_microseconds, load=from_microseconds),
}


def _optional(part: Shape) -> Shape:
    return Shape(
        dump=lambda value: None if value is None else part.dump(value),
        load=lambda plain: None if plain is None else part.load(plain),
    )


def _sequence(item: Shape) -> Shape:
    return Shape(
        dump=lambda value: [item.dump(one) for one in value],
        load=lambda plain: tuple(item.load(one) for one in _exactly(list, plain)),
    )


def _mapping(item: Shape) -> Shape:
    return Shape(
        dump=lambda value: {str(key): item.dump(one) for key, one in value.items()},
        load=lambda plain: {key: item.load(one) for key, one in _exactly(dict, plain).items()},
    )


def _record(kind: type) -> Shape:
    """Shapes of the fields are found at first use, since a type may name one that is defined after it."""
    fields = {field.name: field for field in dataclasses.fields(kind)}

    @cache
    def parts() -> tuple[tuple[str, Shape, Any], ...]:
        return tuple((name, shape_of(hint), _default(fields[name])) for name, hint in field_types(kind).items())

    def dump(value: Any) -> dict[str, Any]:
        plain = {}
        for name, shape, default in parts():
            held = getattr(value, name)
            if held is not default and held != default:
                plain[name] = shape.dump(held)
        return plain

    def load(plain: Any) -> Any:
        _exactly(dict, plain)
        values = {}
        for name, shape, default in parts():
            if name in plain:
                values[name] = load_field(f"{kind.__name__}.{name}", shape, default, plain[name])
            elif default is dataclasses.MISSING:
                raise ValueError(f"{kind.__name__} lacks its {name!r}")
        return kind(**values)

    return Shape(dump=dump, load=load)


def load_field(place: str, shape: Shape, default: Any, plain: Any) -> Any:
    """One field's value; an enum value that this version does not know becomes the default, where there is one."""
    try:
        return shape.load(plain)
    except _UnknownMember as error:
        if default is not dataclasses.MISSING:
            return default
        raise ValueError(f"{place}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _excerpt(plain: Any) -> str:
    text = repr(plain)
    return text if len(text) <= 40 else text[:40] + "…"
