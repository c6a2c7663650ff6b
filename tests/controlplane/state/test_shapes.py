"""Values to plain data and back: exact both ways, tolerant of other versions, strict about everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.state.shapes import from_microseconds, shape_of, to_microseconds
from headrace.types import Attempt, AttemptState, Facts, Observed, Step
from tests.controlplane.state.rows import AT, ROW_CLASSES, moments, values


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    colour: Colour
    count: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    favourite: Colour = Colour.BLUE
    other: Colour | None = None
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    named: Mapping[str, int] = field(default_factory=dict)
    data: bytes = b""
    at: datetime | None = None


@pytest.mark.parametrize("kind", [*ROW_CLASSES, Observed, Facts, Outer], ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30)
def test_what_went_through_json_is_what_it_was(kind: type, data: st.DataObject):
    value = data.draw(values(kind))
    assert shape_of(kind).load(json.loads(json.dumps(shape_of(kind).dump(value)))) == value


@given(moments)
def test_times_keep_their_microseconds(moment: datetime):
    assert from_microseconds(to_microseconds(moment)) == moment


def test_times_of_any_zone_come_back_in_utc():
    there = AT.astimezone(timezone(timedelta(hours=-5)))
    back = from_microseconds(to_microseconds(there))
    assert back == there
    assert back.tzinfo is UTC


def test_only_what_differs_from_its_default_is_written():
    value = Outer(name="a", inners=(Inner(colour=Colour.RED),), at=AT)
    plain = shape_of(Outer).dump(value)
    assert plain == {"name": "a", "inners": [{"colour": "red"}], "at": to_microseconds(AT)}


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        ({"name": "a", "later": {"deep": [1]}}, Outer(name="a")),
        ({"name": "a", "favourite": "ultraviolet"}, Outer(name="a")),
        ({"name": "a", "other": "ultraviolet"}, Outer(name="a")),
        ({"name": "a", "inner": {"colour": "red", "later": 1}}, Outer(name="a", inner=Inner(colour=Colour.RED))),
    ],
)
def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known(plain: dict, expected: Outer):
    assert shape_of(Outer).load(plain) == expected


def test_a_state_that_a_newer_version_added_leaves_the_rest_of_the_document():
    plain = {"pipeline": "p", "attempt": {"generation": 4, "state": "dreaming", "step": "levitate"}, "good": 3}
    assert shape_of(Observed).load(plain) == Observed(
        pipeline="p", attempt=Attempt(generation=4, state=AttemptState.PENDING, step=None), good=3
    )
    assert shape_of(Attempt).load({"generation": 1, "step": "apply"}).step is Step.APPLY


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        ({}, "Outer lacks its 'name'"),
        ([], r"\[\] is no dict"),
        (None, "None is no dict"),
        ({"name": 1}, "Outer.name: 1 is no str"),
        ({"name": "a", "favourite": 1}, "Outer.favourite: 1 is no str"),
        ({"name": "a", "inner": {"colour": "ultraviolet"}}, "Outer.inner: Inner.colour: 'ultraviolet' is no Colour"),
        ({"name": "a", "inner": {"colour": "red", "count": True}}, "Outer.inner: Inner.count: True is no int"),
        ({"name": "a", "inners": {}}, "Outer.inners: {} is no list"),
        ({"name": "a", "named": {"x": "y"}}, "Outer.named: 'y' is no int"),
        ({"name": "a", "data": "&&"}, "Outer.data: "),
        ({"name": "a", "at": 1 << 70}, "Outer.at: .* is no time"),
        ({"name": "a", "at": 1.5}, "Outer.at: 1.5 is no int"),
    ],
)
def test_what_does_not_fit_is_refused_by_place(plain: object, why: str):
    with pytest.raises(ValueError, match=why):
        shape_of(Outer).load(plain)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        shape_of(Outer).dump(Outer(name="a", at=datetime(2026, 1, 1)))


def test_a_type_that_rows_cannot_hold_is_a_defect():
    with pytest.raises(TypeError, match="rows cannot hold"):
        shape_of(float)
