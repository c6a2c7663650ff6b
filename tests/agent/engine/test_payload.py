"""Streams cut into records: the same whatever the pieces are that they come in."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.payload import JsonSplitter, Splitter, TextSplitter

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\{}[]é\n', max_size=3), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3) | st.lists(VALUES, max_size=3), max_size=6)
CUTS = st.lists(st.integers(1, 9), min_size=1)


def fed(splitter: Splitter, data: bytes, sizes: list[int]) -> list[Any]:
    found, at, turn = [], 0, 0
    while at < len(data):
        values, fault = splitter.feed(data[at : at + sizes[turn % len(sizes)]])
        assert not fault
        found += values
        at += sizes[turn % len(sizes)]
        turn += 1
    return found


@settings(derandomize=True, deadline=None, max_examples=150)
@given(RECORDS, CUTS, st.sampled_from(["", "\n", "\r\n", " "]), st.sampled_from([None, 2]))
def test_json_values_are_found_however_they_are_cut(
    records: list[Any], cuts: list[int], between: str, indent: int | None
) -> None:
    data = between.join(json.dumps(record, indent=indent, ensure_ascii=False) for record in records).encode()
    for sizes in (cuts, [len(data) or 1]):
        splitter = JsonSplitter()
        assert fed(splitter, data, sizes) == records
        assert splitter.pending == 0


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=8)), CUTS, st.sampled_from([b"\n", b"||", b"\r\n", b"ab"]))
def test_text_is_found_however_it_is_cut(pieces: list[bytes], cuts: list[int], separator: bytes) -> None:
    data = separator.join([*pieces, b""])
    expected = [piece for piece in data.split(separator)[:-1] if piece]
    assert fed(TextSplitter(separator), data, cuts) == expected


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b'{"a":1} nonsense {"b":2}', [{"a": 1}]),
        (b"5\n", []),
        (b'"text"', []),
        (b'{"a":1}\n{bad}\n{"b":2}', [{"a": 1}]),
        (b'{"a":1}]', [{"a": 1}]),
        (b'{"a"]', []),
        (b"[" * 5000 + b"]" * 5000, []),
        (b'{"a":"\\ud800"}', []),
    ],
)
def test_what_follows_a_fault_is_dropped_and_the_stream_goes_on_with_what_comes_next(
    data: bytes, values: list[Any]
) -> None:
    splitter = JsonSplitter()
    found, fault = splitter.feed(data)
    assert (found, bool(fault), splitter.pending) == (values, True, 0)
    assert splitter.feed(b'{"next":1}') == ([{"next": 1}], "")


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert JsonSplitter().feed(b'{"a":"\xff"}\n') == ([{"a": "\ufffd"}], "")


def test_nonsense_never_raises_and_never_piles_up() -> None:
    random = Random(7)
    alphabet = [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"1", b"a", b"\n", b"\xff", b"\x00", b"null"]
    for _ in range(2000):
        splitter = JsonSplitter()
        for _ in range(20):
            before = splitter.pending
            data = b"".join(random.choices(alphabet, k=random.randrange(1, 30)))
            values, fault = splitter.feed(data)
            assert all(isinstance(value, dict | list) for value in values)
            assert splitter.pending <= before + len(data)
            assert not (fault and splitter.pending)
