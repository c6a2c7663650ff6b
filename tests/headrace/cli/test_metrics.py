"""`metrics`, and what `describe` shows of them, against a control plane in memory."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest

from headrace.api import (
    Figures,
    LatestMetricsRequest,
    MetricLine,
    MetricPoint,
    QueryMetricsRequest,
    WatchMetricsRequest,
)
from headrace.cli.exits import Exit
from headrace.cli.figures import HEADS, cell, sparkline
from headrace.errors import UnavailableError
from tests.headrace.cli.fake_plane import AT, FakePlane
from tests.headrace.cli.test_commands import Run
from tests.headrace.cli.test_commands import plane as plane
from tests.headrace.cli.test_commands import run as run

FIGURES = (
    Figures(tags={"pipeline": "core"}, at=AT, values={"records_in": 0.25, "bytes_in": 123456.0, "known_loss": 0}),
    Figures(tags={"pipeline": "edge"}, at=AT, values={"records_in": 1234.5, "records_in_total": 9007199254740992.0}),
)
LINE = MetricLine(
    tags={"pipeline": "edge"},
    points=tuple(MetricPoint(at=AT + timedelta(minutes=n), value=float(n)) for n in range(8)),
)


def test_figures_are_a_table_with_a_trend(run: Run, plane: FakePlane) -> None:
    plane.figures, plane.lines = FIGURES, (LINE,)
    ended = run("metrics --agent a --plugin tail.0 -l role=edge")
    head, core, edge = ended.out.splitlines()
    assert head.split("   ")[0].strip() == "PIPELINE"
    assert [word in head for word in ("IN/S", "KNOWN LOSS", "15 MIN")] == [True] * 3
    assert core.split()[:4] == ["core", "0.25", "123k", "n/a"]
    assert edge.split()[:2] == ["edge", "1234.5"]
    assert "9007199254740992" in edge
    assert edge.endswith("▁▂▃▄▅▆▇█")
    asked = plane.asked[0]
    assert asked == LatestMetricsRequest(agent="a", plugin="tail.0", selector="role=edge", by=("pipeline",))


def test_figures_are_json_and_csv_for_programs(run: Run, plane: FakePlane) -> None:
    plane.figures = FIGURES
    document = json.loads(run("metrics edge --by pipeline,agent -o json").out)
    assert document[1] == {
        "tags": {"pipeline": "edge"},
        "at": "2026-11-22T10:15:30Z",
        "values": {"records_in": 1234.5, "records_in_total": 9007199254740992.0},
    }
    assert plane.asked == [LatestMetricsRequest(pipeline="edge", by=("pipeline", "agent"))]
    rows = list(csv.DictReader(io.StringIO(run("metrics -o csv").out)))
    assert [row["pipeline"] for row in rows] == ["core", "edge"]
    assert float(rows[0]["bytes_in"]) == 123456.0
    assert rows[0]["lag_seconds"] == ""


def test_a_metric_over_time_is_a_line_for_each_group(run: Run, plane: FakePlane) -> None:
    plane.lines = (LINE,)
    ended = run("metrics edge --metric fluentbit_input_records_total --since 8m --step 1m")
    assert ended.out.splitlines()[1].split() == ["edge", "0", "7", "0", "7", "▁▂▃▄▅▆▇█"]
    (asked,) = plane.asked
    assert isinstance(asked, QueryMetricsRequest)
    assert (asked.name, asked.step_seconds, asked.within) == ("fluentbit_input_records_total", 60, None)
    assert asked.start is not None
    assert asked.end is not None
    assert asked.end - asked.start == timedelta(minutes=8)
    assert len(json.loads(run("metrics --metric m -o json").out)[0]["points"]) == 8
    assert run("metrics --metric m -o csv").out.splitlines()[:2] == [
        "pipeline,at,value",
        "edge,2026-11-22T10:15:30Z,0.0",
    ]


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_watch_prints_again_and_again_and_heads_once(form: str, run: Run, plane: FakePlane) -> None:
    plane.figures = FIGURES
    ended = run(f"metrics --watch -o {form}")
    assert ended.code == Exit.NOT_FOUND  # as the fake ends it
    assert plane.asked[0] == WatchMetricsRequest(by=("pipeline",))
    assert len(ended.out.splitlines()) == 4 + (form != "json")


def test_nothing_and_none_are_said_in_words(run: Run, plane: FakePlane) -> None:
    assert "no metrics of the last minute" in run("metrics").err
    assert "no such metrics" in run("metrics --metric m").err
    plane.figures = UnavailableError("this control plane keeps no metrics (--metrics none)")
    ended = run("metrics")
    assert (ended.code, ended.out) == (Exit.UNREACHABLE, "")
    assert "keeps no metrics" in ended.err
    assert run("metrics --watch --metric m").code == Exit.USAGE


def test_describe_shows_figures_or_why_there_are_none(run: Run, plane: FakePlane) -> None:
    plane.figures = (Figures(tags={"pipeline": "edge"}, at=AT, values={"records_in": 12.5}),)
    described = run("describe agent a").out
    assert "Metrics:" in described
    assert "12.5" in described
    assert plane.asked[-1] == LatestMetricsRequest(agent="id-a", by=("pipeline",))
    assert json.loads(run("describe agent a -o json").out)["metrics"][0]["values"] == {"records_in": 12.5}
    plane.figures = UnavailableError("this control plane keeps no metrics")
    ended = run("describe agent a")
    assert ended.code == Exit.DONE
    assert "  this control plane keeps no metrics" in ended.out
    assert json.loads(run("describe agent a -o json").out)["metrics"] == {
        "unavailable": "this control plane keeps no metrics"
    }


@pytest.mark.parametrize(
    ("figure", "value", "text"),
    [
        ("records_in", None, "n/a"),
        ("records_in", float("nan"), "n/a"),
        ("records_in", 0.0, "0"),
        ("records_in", 0.1234, "0.123"),
        ("records_in", 99.96, "100.0"),
        ("errors", 123456789.0, "123456789"),
        ("bytes_in", 999.0, "999"),
        ("bytes_in", 1536.0, "1.5k"),
        ("bytes_in", 2.5e9, "2.5G"),
        ("records_in", 1e300, "1e+300"),
    ],
)
def test_a_number_is_short_where_it_may_be(figure: str, value: float | None, text: str) -> None:
    assert cell(figure, value) == text


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ([], ""),
        ([0, 0], "▁▁"),
        ([5, 5, 5], "███"),
        ([0, 1], "▁█"),
        ([-1, 0, 1], "▁▅█"),
        ([float("nan"), 1], "█"),
        (list(range(100)), ""),
    ],
)
def test_a_sparkline_goes_from_zero_to_the_most(values: list[float], drawn: str) -> None:
    if len(values) > 30:
        assert len(sparkline(values)) == 30
    else:
        assert sparkline(values) == drawn


def test_every_head_is_of_a_figure_and_there_is_but_one_of_each() -> None:
    assert len(set(HEADS.values())) == len(HEADS)
