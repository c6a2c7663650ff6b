"""MessagePack from somebody else, read within bounds (pure).

`Scanner` finds where a value ends in a stream, however it is cut, in one pass; `decode` then makes it. What a value
says of its own size is never believed beyond `limit`: nothing is allocated for what has not arrived.
"""

from struct import Struct
from typing import Any

from agent.engine.record import NANOSECONDS

MAX_DEPTH = 64
_PAIR = Struct(">II")
_SIZES = {1: Struct(">B"), 2: Struct(">H"), 4: Struct(">I")}
_FIXED: dict[int, Struct] = {
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
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARIES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_LISTS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


class EventTime(int):
    """Nanoseconds since the epoch, from an extension of type 0; a plain number means seconds."""


class Incomplete(ValueError):
    """The value goes on after the data."""


class Scanner:
    """Finds the end of the value at the start of a buffer that grows; `limit` bounds its bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at = 0
        self._items = 1

    def end(self, buffer: bytes | bytearray) -> int | None:
        """Where the value ends, or None when more has to come. Raises ValueError when it is malformed or too long."""
        while self._items:
            try:
                size, items = _head(buffer, self._at)
            except Incomplete:
                return None
            self._at += size
            self._items += items - 1
            if self._at + self._items > self._limit:  # each item has a byte at least
                raise ValueError(f"a message is longer than {self._limit} bytes")
        return self._at if self._at <= len(buffer) else None


def _head(buffer: bytes | bytearray, at: int) -> tuple[int, int]:
    """Bytes of the next item without those inside of it, and how many items are inside."""
    if at >= len(buffer):
        raise Incomplete("a value is cut off")
    mark = buffer[at]
    if mark < 0x80 or mark >= 0xE0 or mark in _CONSTANTS:
        return 1, 0
    if mark < 0x90:
        return 1, 2 * (mark & 0x0F)
    if mark < 0xA0:
        return 1, mark & 0x0F
    if mark < 0xC0:
        return 1 + (mark & 0x1F), 0
    if mark in _FIXED:
        return 1 + _FIXED[mark].size, 0
    if mark in _FIXED_EXTENSIONS:
        return 2 + _FIXED_EXTENSIONS[mark], 0
    for kinds, extra in ((_TEXTS, 1), (_BINARIES, 1), (_EXTENSIONS, 2)):
        if mark in kinds:
            return extra + kinds[mark] + _size(buffer, at + 1, kinds[mark]), 0
    if mark in _LISTS:
        return 1 + _LISTS[mark], _size(buffer, at + 1, _LISTS[mark])
    if mark in _MAPS:
        return 1 + _MAPS[mark], 2 * _size(buffer, at + 1, _MAPS[mark])
    raise ValueError(f"byte 0x{mark:02x} starts no value")


def _size(buffer: bytes | bytearray, at: int, width: int) -> int:
    if at + width > len(buffer):
        raise Incomplete("a value is cut off")
    return int(_SIZES[width].unpack_from(buffer, at)[0])


def decode(data: bytes, at: int = 0, *, raw: bool = False) -> tuple[Any, int]:
    """One value, and where it ends. Raises ValueError when it is malformed, cut off, or deeper than MAX_DEPTH.

    Text and binary are both text, bytes that are not UTF-8 replaced; `raw` leaves both as bytes. Keys become text.
    """
    return _value(data, at, raw, MAX_DEPTH)


def plain(value: Any) -> Any:
    """What was decoded `raw`, as it is without."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def _value(data: bytes, at: int, raw: bool, depth: int) -> tuple[Any, int]:
    size, items = _head(data, at)
    mark, end = data[at], at + size
    if end > len(data):
        raise Incomplete("a value is cut off")
    if mark < 0x80:
        return mark, end
    if mark >= 0xE0:
        return mark - 0x100, end
    if mark in _CONSTANTS:
        return _CONSTANTS[mark], end
    if mark in _FIXED:
        return _FIXED[mark].unpack_from(data, at + 1)[0], end
    if mark < 0xA0 or mark in _LISTS or mark in _MAPS:
        if not depth or items > len(data) - end:
            raise ValueError("a value is nested too deep" if not depth else "a value is cut off")
        if 0x90 <= mark < 0xA0 or mark in _LISTS:
            return _list(data, end, items, raw, depth - 1)
        return _map(data, end, items // 2, raw, depth - 1)
    if mark in _EXTENSIONS or mark in _FIXED_EXTENSIONS:
        return _extension(data, at, end), end
    content = data[end - (mark & 0x1F) : end] if mark < 0xC0 else data[at + 1 + (_TEXTS | _BINARIES)[mark] : end]
    return (content if raw else content.decode("utf-8", "replace")), end


def _list(data: bytes, at: int, count: int, raw: bool, depth: int) -> tuple[list[Any], int]:
    found = []
    for _ in range(count):
        item, at = _value(data, at, raw, depth)
        found.append(item)
    return found, at


def _map(data: bytes, at: int, count: int, raw: bool, depth: int) -> tuple[dict[Any, Any], int]:
    found: dict[Any, Any] = {}
    for _ in range(count):
        key, at = _value(data, at, raw, depth)
        item, at = _value(data, at, raw, depth)
        found[key if isinstance(key, str | bytes) else str(key)] = item
    return found, at


def _extension(data: bytes, at: int, end: int) -> Any:
    mark = data[at]
    kind = at + 1 + _EXTENSIONS.get(mark, 0)
    content = data[kind + 1 : end]
    if data[kind] == 0 and len(content) == _PAIR.size:
        seconds, nanoseconds = _PAIR.unpack(content)
        return EventTime(seconds * NANOSECONDS + nanoseconds)
    return content.hex()
