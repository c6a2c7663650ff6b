"""MessagePack back into values: every kind of value, as another implementation writes it, and any bytes at all."""

import math
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.msgpack import encode, encode_time, list_head
from agent.engine.unpack import MAX_DEPTH, Extension, Incomplete, unpack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner, max_size=20)
)


@given(VALUES)
def test_what_another_implementation_writes_is_read(value: Any) -> None:
    data = msgpack.packb(value, use_bin_type=True)
    assert unpack(data + b"rest") == (value, len(data))
    assert encode(value) == data


@given(VALUES)
def test_a_value_that_is_cut_off_is_incomplete(value: Any) -> None:
    data = msgpack.packb(value)
    for end in {0, 1, len(data) // 2, len(data) - 1} - {len(data)}:
        with pytest.raises(Incomplete):
            unpack(data[:end])


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536])
def test_every_length_is_read(size: int) -> None:
    for value in ("x" * size, b"x" * size, [1] * size, {n: n for n in range(size)}):
        assert unpack(msgpack.packb(value))[0] == value
    assert list_head(size) + b"\x01" * size == msgpack.packb([1] * size)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 17, 256, 65_536])
@pytest.mark.parametrize("code", [0, 5, 127, -1])
def test_extensions_are_read(size: int, code: int) -> None:
    data = msgpack.packb(msgpack.ExtType(code, b"y" * size)) if code >= 0 else _negative(size)
    assert unpack(data) == (Extension(code, b"y" * size), len(data))


def test_a_time_is_an_extension() -> None:
    assert unpack(encode_time(5_000_000_007)) == (Extension(0, b"\0\0\0\5\0\0\0\7"), 10)


def test_text_that_is_none_is_bytes() -> None:
    assert unpack(b"\xa2\xff\xfe") == (b"\xff\xfe", 3)
    assert math.isclose(unpack(b"\xca\x3f\xc0\x00\x00")[0], 1.5)


@pytest.mark.parametrize("data", [b"\xc1", b"\x81\x90\x01", b"\x81\x80\x01", b"\x91" * (MAX_DEPTH + 2) + b"\x01"])
def test_what_is_no_value_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"starts no value|cannot be a key|nested more than"):
        unpack(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_not(data: bytes) -> None:
    try:
        _, end = unpack(data)
    except (Incomplete, ValueError):
        return
    assert 0 < end <= len(data)


def _negative(size: int) -> bytes:
    data = msgpack.packb(msgpack.ExtType(127, b"y" * size))
    return data.replace(b"\x7f", b"\xff", 1)
