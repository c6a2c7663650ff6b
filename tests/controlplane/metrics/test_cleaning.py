"""What agents say of their metrics: what passes becomes a series of that agent, all else is refused by a rule."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.metrics.cleaning import AHEAD_MS, BEHIND_MS, check_labels, check_time, check_value, series_of
from controlplane.metrics.line_protocol import key_of
from controlplane.metrics.vocabulary import Series
from headrace.errors import InvalidError

LABELS = {"role": "edge", "secret": "x", "zone": ""}


def cleaned(name: str = "records_total", **tags: str) -> Series:
    return series_of(name, tags, agent_id="a-1", labels=LABELS, allowed=("role", "zone", "region"))


def test_agent_and_allowed_labels_are_added_and_no_other() -> None:
    series = cleaned(pipeline="edge", plugin="tail.0", kind="")
    assert dict(series.tags) == {"agent": "a-1", "role": "edge", "pipeline": "edge", "plugin": "tail.0"}


@pytest.mark.parametrize(
    ("name", "tags", "why"),
    [
        ("", {}, "name of a metric"),
        ("a b", {}, "name of a metric"),
        ("#m", {}, "name of a metric"),
        ("m\n", {}, "name of a metric"),
        ("m" * 201, {}, "name of a metric"),
        ("m", {"agent": "somebody-else"}, "tag that agents do not give"),
        ("m", {"role": "admin"}, "tag that agents do not give"),
        ("m", {"": "v"}, "tag that agents do not give"),
        ("m", {"pipeline": "Not A Name"}, "name of a pipeline"),
        ("m", {"plugin": "x" * 201}, "value of a tag"),
        ("m", {"plugin": "two\nlines"}, "value of a tag"),
        ("m", {"plugin": "C:\\"}, "value of a tag"),
        ("m", {"kind": "\x1b[31m"}, "value of a tag"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_its_name(name: str, tags: dict[str, str], why: str) -> None:
    with pytest.raises(InvalidError, match=f"^{why}$"):
        cleaned(name, **tags)


@given(name=st.text(max_size=30), plugin=st.text(max_size=30), pipeline=st.text(max_size=30))
def test_whatever_passes_can_be_a_line(name: str, plugin: str, pipeline: str) -> None:
    try:
        series = cleaned(name, plugin=plugin, pipeline=pipeline)
    except InvalidError:
        return
    assert "\n" not in key_of(series)


@given(plugin=st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1).filter(lambda t: t[-1] != "\\"))
def test_a_plugin_may_be_called_what_people_like(plugin: str) -> None:
    assert cleaned(plugin=plugin[:100].rstrip("\\") or "x").name == "records_total"


def test_times_and_values_have_bounds() -> None:
    now = 1_767_225_600_000
    for at_ms in (now, now + AHEAD_MS, now - BEHIND_MS):
        check_time(at_ms, now_ms=now)
    for at_ms in (now + AHEAD_MS + 1, now - BEHIND_MS - 1):
        with pytest.raises(InvalidError, match="time"):
            check_time(at_ms, now_ms=now)
    check_value(1e308)
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(InvalidError, match="no finite number"):
            check_value(value)


@pytest.mark.parametrize("label", ["agent", "pipeline", "plugin", "kind", "value", "time", "a b", ""])
def test_a_label_that_cannot_be_a_tag_is_refused(label: str) -> None:
    with pytest.raises(InvalidError, match="label"):
        check_labels(["role", label])
