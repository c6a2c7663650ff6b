"""Records in MessagePack, as Fluent Bit keeps and sends them (pure): `[[time, metadata], record]`, one after another.

A time is extension type 0: seconds and nanoseconds, 32 bits each.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

from agent.engine.record import NANOSECONDS, Batch

_TIME = Struct(">BBII")
_DOUBLE = Struct(">Bd")
_WHOLE = (
    (0xCC, Struct(">BB"), 2**8),
    (0xCD, Struct(">BH"), 2**16),
    (0xCE, Struct(">BI"), 2**32),
    (0xCF, Struct(">BQ"), 2**64),
)
_BELOW_ZERO = (
    (0xD0, Struct(">Bb"), 2**7),
    (0xD1, Struct(">Bh"), 2**15),
    (0xD2, Struct(">Bi"), 2**31),
    (0xD3, Struct(">Bq"), 2**63),
)
_BYTE, _SHORT, _LONG = Struct(">BB"), Struct(">BH"), Struct(">BI")

_Write = Callable[[bytes], object]


def encode_batch(batch: Batch) -> bytes:
    """Every record of the batch as an event of its own."""
    out = bytearray()
    write = out.extend
    for at, record in enumerate(batch.records):
        seconds, nanoseconds = divmod(batch.times[at], NANOSECONDS)
        write(b"\x92\x92")
        write(_TIME.pack(0xD7, 0, seconds & 0xFFFFFFFF, nanoseconds))
        _put(batch.metadata[at] if batch.metadata is not None else {}, write)
        _put(record, write)
    return bytes(out)


def encode_time(nanoseconds: int) -> bytes:
    """A time on its own."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return _TIME.pack(0xD7, 0, seconds & 0xFFFFFFFF, rest)


def list_head(size: int) -> bytes:
    """What comes before the values of a list."""
    out = bytearray()
    _head(size, out.extend, 0x90, 16, (None, 0xDC, 0xDD))
    return bytes(out)


def encode(value: Any) -> bytes:
    """One value. Raises ValueError for what no record holds, and whole numbers of more than 64 bits."""
    out = bytearray()
    _put(value, out.extend)
    return bytes(out)


def _put(value: Any, write: _Write) -> None:
    match value:
        case str():
            data = value.encode("utf-8", "replace")
            _head(len(data), write, 0xA0, 32, (0xD9, 0xDA, 0xDB))
            write(data)
        case bool():
            write(b"\xc3" if value else b"\xc2")
        case int():
            write(_number(value))
        case None:
            write(b"\xc0")
        case float():
            write(_DOUBLE.pack(0xCB, value))
        case dict():
            _head(len(value), write, 0x80, 16, (None, 0xDE, 0xDF))
            for key, item in value.items():
                _put(key, write)
                _put(item, write)
        case bytes():
            _head(len(value), write, 0, 0, (0xC4, 0xC5, 0xC6))
            write(value)
        case list():
            _head(len(value), write, 0x90, 16, (None, 0xDC, 0xDD))
            for item in value:
                _put(item, write)
        case _:
            raise ValueError(f"{type(value).__name__} is no value of a record")


def _head(size: int, write: _Write, short: int, limit: int, marks: tuple[int | None, int, int]) -> None:
    """The kind and the length of what follows, in the fewest bytes."""
    one, two, four = marks
    if size < limit:
        write(bytes((short | size,)))
    elif one is not None and size < 2**8:
        write(_BYTE.pack(one, size))
    elif size < 2**16:
        write(_SHORT.pack(two, size))
    else:
        write(_LONG.pack(four, size))


def _number(value: int) -> bytes:
    if 0 <= value < 128 or -32 <= value < 0:
        return bytes((value & 0xFF,))
    for mark, layout, limit in _WHOLE if value > 0 else _BELOW_ZERO:
        if -limit <= value < limit:
            return layout.pack(mark, value)
    raise ValueError(f"{value} has more than 64 bits")
