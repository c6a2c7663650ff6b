"""Records as text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.encode import JsonFormat, date_formatter, json_text, metrics_text, plain_text, seconds_text
from agent.engine.points import point, snapshot
from agent.engine.record import Batch

WHEN = 1_772_359_200_123_456_789

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_json_is_ascii_and_means_the_same(record: dict[str, object]) -> None:
    data = json_text(record)
    assert data.isascii()
    assert json.loads(data) == record
    assert json.loads(json_text(record, escape_unicode=False)) == record


def test_characters_beyond_the_first_plane_are_two_escapes() -> None:
    assert json_text({"a": "é😀"}) == rb'{"a":"\u00e9\ud83d\ude00"}'
    assert json_text({"a": "é"}, escape_unicode=False) == '{"a":"é"}'.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nil"),
        (True, "true"),
        (3, "3"),
        (1.5, "1.500000"),
        ('a "b"', '"a "b""'),
        ({"a": [1, {"b": None}]}, '{"a"=>[1, {"b"=>nil}]}'),
        ({}, "{}"),
        ([], "[]"),
    ],
)
def test_the_plain_notation_is_fluent_bits(value: object, text: str) -> None:
    assert plain_text(value) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("double", 1772359200.1234567),
        ("epoch", 1772359200),
        ("epoch_ms", 1772359200123),
        ("iso8601", "2026-03-01T10:00:00.123456Z"),
        ("java_sql_timestamp", "2026-03-01 10:00:00.123456"),
    ],
)
def test_times_are_written_as_the_date_format_says(name: str, shown: object) -> None:
    assert date_formatter(name)(WHEN) == shown


def test_seconds_have_nine_decimals() -> None:
    assert seconds_text(1_000_000_000) == "1.000000000"
    assert seconds_text(1_000_000_001) == "1.000000001"


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("json", b'[{"date":1,"a":1},{"date":2,"__internal__":{"log_metadata":{"m":1}},"b":2}]'),
        ("json_lines", b'{"date":1,"a":1}\n{"date":2,"__internal__":{"log_metadata":{"m":1}},"b":2}\n'),
        ("json_stream", b'{"date":1,"a":1}{"date":2,"__internal__":{"log_metadata":{"m":1}},"b":2}'),
    ],
)
def test_a_batch_is_an_array_lines_or_a_stream(layout: str, text: bytes) -> None:
    batch = Batch("t", [10**9, 2 * 10**9], [{"a": 1}, {"b": 2}], [{}, {"m": 1}])
    assert JsonFormat(layout, date_key="date", date_format="epoch", escape_unicode=True).encode(batch) == text


def test_without_a_date_key_there_is_no_date() -> None:
    batch = Batch("t", [1], [{"a": 1}])
    assert (
        JsonFormat("json_lines", date_key=None, date_format="double", escape_unicode=True).encode(batch) == b'{"a":1}\n'
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(3.0, "3"), (0.25, "0.25"), (float("nan"), "nan"), (float("inf"), "inf"), (-1.5, "-1.5")]
)
def test_a_point_is_printed_as_fluent_bit_prints_it(value: float, shown: str) -> None:
    batch = snapshot("t", WHEN, [point(("a", "gauge", "", {"x": "y"}, value), "s")])
    assert metrics_text(batch).decode() == f'2026-03-01T10:00:00.123456789Z a{{x="y"}} = {shown}\n'
