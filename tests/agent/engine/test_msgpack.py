"""MessagePack as the specification has it; the reader here is the test's own."""

from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.msgpack import encode, encode_batch
from agent.engine.record import Batch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


class Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def number(self, layout: str, size: int) -> Any:
        return unpack(">" + layout, self.take(size))[0]

    def value(self) -> Any:
        mark = self.take(1)[0]
        sizes = {
            0xD9: ("B", 1),
            0xDA: ("H", 2),
            0xDB: ("I", 4),
            0xDC: ("H", 2),
            0xDD: ("I", 4),
            0xDE: ("H", 2),
            0xDF: ("I", 4),
        }
        numbers = {0xCC: ("B", 1), 0xCD: ("H", 2), 0xCE: ("I", 4), 0xCF: ("Q", 8), 0xCB: ("d", 8)}
        numbers |= {0xD0: ("b", 1), 0xD1: ("h", 2), 0xD2: ("i", 4), 0xD3: ("q", 8)}
        if mark < 0x80:
            return mark
        if mark >= 0xE0:
            return mark - 256
        if mark in numbers:
            return self.number(*numbers[mark])
        if mark in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[mark]
        if mark == 0xD7:
            assert self.take(1) == b"\0"
            return ("time", self.number("I", 4), self.number("I", 4))
        size = self.number(*sizes[mark]) if mark in sizes else mark & (0x1F if mark >= 0xA0 else 0x0F)
        if 0xA0 <= mark < 0xC0 or mark in (0xD9, 0xDA, 0xDB):
            return self.take(size).decode()
        if 0x90 <= mark < 0xA0 or mark in (0xDC, 0xDD):
            return [self.value() for _ in range(size)]
        return {self.value(): self.value() for _ in range(size)}


@given(VALUES)
def test_what_is_written_reads_back(value: Any) -> None:
    reader = Reader(encode(value))
    assert reader.value() == value
    assert reader.at == len(reader.data)


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_length_takes_the_fewest_bytes_and_reads_back(size: int) -> None:
    for value in ("x" * size, [1] * size, {str(n): None for n in range(size)}):
        assert Reader(encode(value)).value() == value
    overhead = len(encode("x" * size)) - size
    assert overhead == (1 if size < 32 else 2 if size < 256 else 3 if size < 65536 else 5)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (127, "7f"),
        (128, "cc80"),
        (65535, "cdffff"),
        (-32, "e0"),
        (-33, "d0df"),
        (-129, "d1ff7f"),
        (2**64 - 1, "cf" + "ff" * 8),
    ],
)
def test_whole_numbers_take_the_fewest_bytes(value: int, data: str) -> None:
    assert encode(value).hex() == data


def test_a_record_comes_with_its_time_and_metadata() -> None:
    batch = Batch("t", [1_000_000_005, 2_000_000_000], [{"a": 1}, {}], [{"m": True}, {}])
    reader = Reader(encode_batch(batch))
    assert [reader.value(), reader.value()] == [[[("time", 1, 5), {"m": True}], {"a": 1}], [[("time", 2, 0), {}], {}]]
    assert reader.at == len(reader.data)


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, object()])
def test_what_has_no_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        encode(value)
