"""The figures that people ask for, out of the first and last points of series."""

from __future__ import annotations

import pytest

from controlplane.metrics.figures import NAMES, Group, groups
from controlplane.metrics.vocabulary import Recent, Series
from tests.controlplane.metrics.conftest import START


def recent(name: str, first: float, last: float, *, seconds: float = 10, **tags: str) -> Recent:
    return Recent(Series.of(f"fluentbit_{name}", tags), START, first, START + round(seconds * 1000), last)


def only(found: tuple[Group, ...]) -> Group:
    (group,) = found
    return group


def test_rates_are_of_each_series_own_time_and_then_summed() -> None:
    found = [
        recent("input_records_total", 100, 200, seconds=10, agent="a"),
        recent("input_records_total", 0, 600, seconds=60, agent="b"),
        recent("input_bytes_total", 0, 50, seconds=10, agent="a"),
        recent("output_proc_records_total", 0, 90, seconds=10, agent="a"),
        recent("filter_drop_records_total", 0, 10, seconds=10, agent="a"),
    ]
    values = only(groups(found, ())).values
    assert values["records_in"] == 20
    assert values["bytes_in"] == 5
    assert values["records_out"] == 9
    assert values["filtered"] == 1
    assert values["records_in_total"] == 800


def test_a_counter_that_fell_has_begun_from_zero() -> None:
    assert only(groups([recent("input_records_total", 500, 30)], ())).values["records_in"] == 3


def test_one_point_gives_a_total_and_no_rate_and_what_is_not_there_is_no_figure() -> None:
    found = [recent("input_records_total", 5, 5, seconds=0)]
    assert only(groups(found, ())).values == {"records_in_total": 5}


def test_loss_is_what_outputs_dropped_and_what_inputs_could_not_take() -> None:
    found = [
        recent("output_dropped_records_total", 0, 7, plugin="http.0"),
        recent("output_retries_failed_total", 0, 2, plugin="http.0"),
        recent("input_ring_buffer_retry_failures_total", 0, 3, plugin="tail.0"),
        recent("output_errors_total", 0, 4, plugin="http.0"),
        recent("output_retries_total", 0, 6, plugin="http.0"),
        recent("storage_chunks", 9, 12),
    ]
    values = only(groups(found, ())).values
    assert values == {
        "dropped": 7,
        "retries_failed": 2,
        "known_loss": 10,
        "errors": 4,
        "retries": 6,
        "backlog_chunks": 12,
    }


@pytest.mark.parametrize(("seconds", "count", "lag"), [(30, 10, 3.0), (0, 10, 0.0), (0, 0, None)])
def test_lag_is_the_mean_of_what_went_out_in_the_window(seconds: float, count: float, lag: float | None) -> None:
    found = [
        recent("output_latency_seconds_sum", 5, 5 + seconds),
        recent("output_latency_seconds_count", 100, 100 + count),
    ]
    assert only(groups(found, ())).values.get("lag_seconds") == lag


def test_groups_are_by_tags_and_have_the_time_of_their_newest_point() -> None:
    found = [
        recent("input_records_total", 0, 1, agent="a", pipeline="edge", role="r"),
        recent("input_records_total", 0, 2, agent="b", pipeline="edge", seconds=20),
        recent("input_records_total", 0, 4, agent="a", pipeline="core"),
    ]
    by_pipeline = groups(found, ("pipeline",))
    assert [(group.tags, group.values["records_in_total"]) for group in by_pipeline] == [
        ((("pipeline", "core"),), 4),
        ((("pipeline", "edge"),), 3),
    ]
    assert by_pipeline[1].at_ms == START + 20_000
    assert {group.tags for group in groups(found, ("role",))} == {(("role", ""),), (("role", "r"),)}


def test_a_label_that_changed_does_not_count_a_series_twice() -> None:
    found = [
        recent("input_records_total", 0, 100, agent="a", role="old"),
        recent("input_records_total", 100, 130, agent="a", role="new", seconds=20),
    ]
    assert only(groups(found, (), labels=("role",))).values["records_in_total"] == 130
    assert {group.tags for group in groups(found, ("role",), labels=("role",))} == {(("role", "new"),)}


@pytest.mark.parametrize(
    ("telling", "expected"),
    [
        pytest.param({"a": 3, "b": -1}, 2, id="all-can-tell"),
        pytest.param({"a": 3}, None, id="one-cannot"),
        pytest.param({}, None, id="none-can"),
    ],
)
def test_what_is_unaccounted_is_told_of_a_group_that_can_tell_it_as_a_whole(
    telling: dict[str, float], expected: float | None
) -> None:
    found = [recent("input_records_total", 0, 9, agent=agent, pipeline="p", plugin="tail.0") for agent in "ab"]
    found += [
        Recent(
            Series.of("headrace_engine_unaccounted_records", {"agent": agent, "pipeline": "p"}), START, 0, START, value
        )
        for agent, value in telling.items()
    ]
    assert only(groups(found, ("pipeline",))).values.get("unaccounted") == expected


def test_every_metric_that_is_read_makes_a_figure() -> None:
    found = [Recent(Series.of(name, {}), START, 1, START + 10_000, 11) for name in NAMES]
    assert set(only(groups(found, ())).values) == {
        "records_in", "bytes_in", "records_out", "bytes_out", "filtered",
        "records_in_total", "bytes_in_total", "records_out_total", "bytes_out_total", "filtered_total",
        "errors", "retries", "retries_failed", "dropped", "known_loss", "backlog_chunks", "backlog_bytes",
        "lag_seconds", "unaccounted",
    }  # fmt: skip
