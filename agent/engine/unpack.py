"""MessagePack back into values (pure): what peers of the forward protocol say.

    value, end = unpack(data)

Text is UTF-8, or else bytes; an extension is an `Extension`. Whatever comes in, the answer is a value, Incomplete or
ValueError, and no more is allocated than there is data for.
"""

from dataclasses import dataclass
from struct import Struct
from typing import Any

MAX_DEPTH = 64


class Incomplete(Exception):
    """The value goes on after the end of the data."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A value of a type that an application has defined; type 0 is a time of Fluentd."""

    code: int
    data: bytes


_LENGTH = {1: Struct(">B"), 2: Struct(">H"), 4: Struct(">I")}
_NUMBERS = {
    0xCA: Struct(">f"),
    0xCB: Struct(">d"),
    0xCC: Struct(">B"),
    0xCD: Struct(">H"),
    0xCE: Struct(">I"),
    0xCF: Struct(">Q"),
    0xD0: Struct(">b"),
    0xD1: Struct(">h"),
    0xD2: Struct(">i"),
    0xD3: Struct(">q"),
}
_SIZED = {
    0xC4: ("bytes", 1),
    0xC5: ("bytes", 2),
    0xC6: ("bytes", 4),
    0xC7: ("extension", 1),
    0xC8: ("extension", 2),
    0xC9: ("extension", 4),
    0xD9: ("text", 1),
    0xDA: ("text", 2),
    0xDB: ("text", 4),
    0xDC: ("list", 2),
    0xDD: ("list", 4),
    0xDE: ("map", 2),
    0xDF: ("map", 4),
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends. Raises Incomplete and ValueError."""
    return _value(data, at, MAX_DEPTH)


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth < 0:
        raise ValueError(f"the data is nested more than {MAX_DEPTH} deep")
    (first,) = _take(data, at, 1)
    at += 1
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 0x100, at
    if first in _CONSTANTS:
        return _CONSTANTS[first], at
    if first in _NUMBERS:
        layout = _NUMBERS[first]
        return layout.unpack(_take(data, at, layout.size))[0], at + layout.size
    if 0xD4 <= first <= 0xD8:
        return _sized("extension", data, at, 1 << (first - 0xD4), depth)
    if first < 0x90:
        return _sized("map", data, at, first & 0x0F, depth)
    if first < 0xA0:
        return _sized("list", data, at, first & 0x0F, depth)
    if first < 0xC0:
        return _sized("text", data, at, first & 0x1F, depth)
    if first not in _SIZED:
        raise ValueError(f"0x{first:02x} starts no value")
    kind, width = _SIZED[first]
    (size,) = _LENGTH[width].unpack(_take(data, at, width))
    return _sized(kind, data, at + width, size, depth)


def _sized(kind: str, data: bytes, at: int, size: int, depth: int) -> tuple[Any, int]:
    match kind:
        case "text":
            taken = _take(data, at, size)
            try:
                return taken.decode(), at + size
            except UnicodeDecodeError:
                return taken, at + size
        case "bytes":
            return _take(data, at, size), at + size
        case "extension":
            code, *rest = _take(data, at, size + 1)
            return Extension(code - 0x100 if code > 0x7F else code, bytes(rest)), at + 1 + size
        case "list":
            items = []
            for _ in range(size):
                item, at = _value(data, at, depth - 1)
                items.append(item)
            return items, at
        case _:
            entries = {}
            for _ in range(size):
                key, at = _value(data, at, depth - 1)
                item, at = _value(data, at, depth - 1)
                if not isinstance(key, str | bytes | int | float | bool | None):
                    raise ValueError(f"a {type(key).__name__} cannot be a key")
                entries[key] = item
            return entries, at


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise Incomplete
    return data[at : at + size]
