"""Points as lines: as the official client writes them, or refused; a real server reads them in the contract suite."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client import Point as ClientPoint
from influxdb_client import WritePrecision

from controlplane.metrics.line_protocol import Heads, by_series, key_of, lines_of, number_of
from controlplane.metrics.vocabulary import Block, Layout, Series
from headrace.errors import InvalidError
from tests.controlplane.metrics.points import Point, packed
from tests.controlplane.metrics.test_contract import HOSTILE

HOSTILE_NAMES = [text for text in HOSTILE if not text.startswith("#")]
NUMBERS = [0.0, -0.0, 1.0, -1.5, 2.0**53 + 2, 2.0**63, 1e22, 1e300, 5e-324, 1.7976931348623157e308, 0.1 + 0.2]


def official(point: Point) -> str:
    """What influxdb-client makes of it."""
    made = ClientPoint(point.series.name).field("value", point.value).time(point.at_ms, WritePrecision.MS)
    for key, value in point.series.tags:
        made.tag(key, value)
    return str(made.to_line_protocol())


def ours(point: Point) -> list[str]:
    refused: list[str] = []
    lines = lines_of(packed([point]), refused.append)
    assert len(lines) + len(refused) == 1
    return lines


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_tags_and_values_are_escaped_as_the_official_client_does(text: str) -> None:
    for series in (Series.of(text, {"a": "b"}), Series.of("m", {text: "v"}), Series.of("m", {"k": text, "l": text})):
        point = Point(series, 1_767_225_600_001, 1.5)
        assert ours(point) == [official(point)]


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_are_written_as_the_official_client_does_and_read_as_they_were(value: float) -> None:
    point = Point(Series("m"), 1, value)
    assert ours(point) == [official(point)]
    assert float(number_of(value)) == value


_TEXT = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" \\"), min_size=1, max_size=12)


@given(
    name=_TEXT, tags=st.dictionaries(_TEXT, _TEXT, max_size=4), value=st.floats(allow_nan=False, allow_infinity=False)
)
def test_every_line_is_the_official_one_or_refused_for_a_reason(name: str, tags: dict[str, str], value: float) -> None:
    point = Point(Series.of(name, tags), 1, value)
    texts = [name, *tags, *tags.values()]
    if any(text.endswith("\\") or not text.isprintable() for text in texts) or name.startswith("#"):
        assert ours(point) == []
    else:
        assert ours(point) == [official(point)]


@pytest.mark.parametrize(
    ("series", "why"),
    [
        (Series.of("m", {"k": "two\nlines"}), "cannot be printed"),
        (Series.of("m\nm value=1", {}), "cannot be printed"),
        (Series.of("m", {"k\r": "v"}), "cannot be printed"),
        (Series.of("m", {"k": "\x00"}), "cannot be printed"),
        (Series.of("m", {"k": "C:\\"}), "backslash"),
        (Series.of("m\\", {"k": "v"}), "backslash"),
        (Series.of("#m", {}), "comment"),
        (Series.of("", {}), "name is empty"),
        (Series("m", (("", "v"),)), "tag's name is empty"),
        (Series.of("m", {"k": "x" * 70_000}), "longer than"),
    ],
)
def test_what_a_line_cannot_hold_as_it_is_is_refused(series: Series, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        key_of(series)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_refused_and_takes_no_other_with_it(value: float) -> None:
    refused: list[str] = []
    lines = lines_of(packed([Point(Series("m"), 1, value), Point(Series("m"), 2, 3.0)]), refused.append)
    assert lines == ["m value=3 2"]
    assert refused == ["value is no finite number"]


def test_lines_come_as_the_points_do_and_by_series_points_of_one_stay_as_they_came() -> None:
    a, b = Series("a"), Series("b")
    points = [Point(b, 1, 1), Point(a, 2, 9), Point(b, 1, 0), Point(a, 1, 5)]
    lines = lines_of(packed(points), lambda why: pytest.fail(why))
    assert lines == ["b value=1 1", "a value=9 2", "b value=0 1", "a value=5 1"]
    assert by_series(lines) == [
        "a value=9 2",
        "a value=5 1",
        "b value=1 1",
        "b value=0 1",
    ]


def test_what_a_layout_has_is_remembered_and_a_series_that_cannot_be_written_takes_no_other_with_it() -> None:
    refused: list[str] = []
    heads = Heads()
    layout = Layout([Series("m"), Series.of("m", {"k": "a\n"}), Series("n")])
    for at_ms in (1, 2):
        block = Block(layout, at_ms, (1.0, 2.0, 3.5))
        assert lines_of([block], refused.append, heads=heads) == [f"m value=1 {at_ms}", f"n value=3.5 {at_ms}"]
    assert refused == ["tag has a character that cannot be printed"] * 2
    assert heads.of(layout) is heads.of(layout)
