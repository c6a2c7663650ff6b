"""MessagePack as others write it, against the msgpack package; damage is an error and never more than that."""

import math
from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.msgpack import encode
from agent.engine.msgpack_reader import EventTime, Incomplete, Scanner, decode, plain

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20),
    max_leaves=30,
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(VALUES)
def test_what_either_packs_is_read(value: Any) -> None:
    for data in (msgpack.packb(value), encode(value)):
        assert decode(data) == (value, len(data))
        assert plain(decode(data, raw=True)[0]) == value


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(VALUES, min_size=1, max_size=4), st.lists(st.integers(1, 9), min_size=1))
def test_the_end_is_found_however_a_stream_is_cut(values: list[Any], cuts: list[int]) -> None:
    data = b"".join(msgpack.packb(value) for value in values)
    buffer, found, scanner, at, turn = bytearray(), list[Any](), Scanner(10**6), 0, 0
    while at < len(data):
        buffer += data[at : at + cuts[turn % len(cuts)]]
        at, turn = at + cuts[turn % len(cuts)], turn + 1
        while (end := scanner.end(buffer)) is not None:
            found.append(decode(bytes(buffer[:end]))[0])
            del buffer[:end]
            scanner = Scanner(10**6)
    assert found == values
    assert not buffer


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("ca3fc00000", 1.5),
        ("c403610062", "a\0b"),
        ("c5000161", "a"),
        ("c60000000161", "a"),
        ("d9016a", "j"),
        ("a1ff", "\ufffd"),
        ("dc000101", [1]),
        ("dd0000000101", [1]),
        ("de0001a16102", {"a": 2}),
        ("df00000001a16102", {"a": 2}),
        ("810102", {"1": 2}),
        ("d7000000000500000007", EventTime(5_000_000_007)),
        ("c708000000000500000007", EventTime(5_000_000_007)),
        ("d40507", "07"),
        ("d8010102030405060708090a0b0c0d0e0f10", "0102030405060708090a0b0c0d0e0f10"),
    ],
)
def test_rarer_forms(data: str, value: Any) -> None:
    found, end = decode(bytes.fromhex(data))
    assert (found, type(found), end) == (value, type(value), len(data) // 2)


def test_what_is_claimed_and_not_there_is_an_error_and_costs_nothing() -> None:
    for data in ("ddffffffff", "dfffffffff", "c6ffffffff", "dbffffffff", "c9ffffffff00", "9f", "8f01", ""):
        with pytest.raises(ValueError):
            decode(bytes.fromhex(data))
    for data in ("ddffffffff", "c6ffffffff", "ddffffffff" * 3):
        with pytest.raises(ValueError, match="longer than 1000 bytes"):
            Scanner(1000).end(bytes.fromhex(data))
    with pytest.raises(ValueError, match="0xc1 starts no value"):
        Scanner(1000).end(b"\xc1")
    with pytest.raises(ValueError, match="too deep"):
        decode(b"\x91" * 5000 + b"\x00")
    assert Scanner(10_000).end(b"\x91" * 5000 + b"\x00") == 5001


def test_nonsense_is_a_value_or_an_error() -> None:
    random = Random(23)
    seed = msgpack.packb(["tag", [[1, {"a": [1, "x", None, {"b": b"y"}]}]] * 3, {"chunk": "c"}])
    for _ in range(5000):
        at, end = sorted(random.choices(range(len(seed)), k=2))
        data = seed[:at] + random.randbytes(random.randrange(6)) + seed[end:]
        try:
            value, stop = decode(data)
        except (Incomplete, ValueError):
            continue
        assert stop <= len(data)
        assert isinstance(value, list | str | int | float | dict | None) or math.isnan(value)
