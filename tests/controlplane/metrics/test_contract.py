"""What every metric store does alike; the pure aggregation over all points is what a query is held to."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.metrics import MetricStore
from controlplane.metrics.aggregation import lines
from controlplane.metrics.vocabulary import Across, Line, Query, Recent, Selection, Series, Within, buckets
from tests.controlplane.metrics.conftest import START
from tests.controlplane.metrics.points import Point, packed

A = Series.of("records_total", {"agent": "a", "pipeline": "edge", "plugin": "tail.0"})
B = Series.of("records_total", {"agent": "b", "pipeline": "edge", "plugin": "tail.0"})
C = Series.of("records_total", {"agent": "b", "pipeline": "core"})
OTHER = Series.of("bytes_total", {"agent": "a", "pipeline": "edge"})

HOSTILE = (
    'say "hi"',
    "it's",
    "a,b=c d",
    "back\\slash",
    "ключ ☃ 🙂",
    "' OR 1=1 --",
    '" OR "agent" != "',
    "/.*/",
    "a\\ b\\,c",
    "$tag {curly} %s",
    " leads and trails ",
)


def everything(*names: str) -> Selection:
    return Selection(names=names or ("records_total", "bytes_total"))


def query(selection: Selection, *, steps: int = 4, step_ms: int = 60_000, **more: object) -> Query:
    return Query(selection=selection, start_ms=START, end_ms=START + steps * step_ms, step_ms=step_ms, **more)  # type: ignore[arg-type]  # what a test names


def counted(series: Series, *values: float, every_ms: int = 10_000, start_ms: int = START) -> list[Point]:
    return [Point(series, start_ms + index * every_ms, value) for index, value in enumerate(values)]


def expected(query: Query, points: Iterable[Point]) -> tuple[Line, ...]:
    """By the pure modules alone, over all points."""
    latest = {(point.series, point.at_ms): point.value for point in points}
    start = query.read_from_ms
    found = []
    for series in sorted({series for series, _ in latest}, key=lambda series: (series.name, series.tags)):
        samples = sorted((at, value) for (owner, at), value in latest.items() if owner == series)
        inside = [(at, value) for at, value in samples if start <= at < query.end_ms]
        if query.selection.matches(series) and inside:
            found.append((series, list(buckets(inside, start_ms=start, step_ms=query.step_ms))))
    return lines(query, found)


def is_close(one: tuple[Line, ...], other: tuple[Line, ...]) -> bool:
    """The same lines at the same times; sums may be taken in another order."""
    assert [line.tags for line in one] == [line.tags for line in other]
    for left, right in zip(one, other, strict=True):
        assert [at for at, _ in left.points] == [at for at, _ in right.points]
        for (at, a), (_, b) in zip(left.points, right.points, strict=True):
            assert math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-6), (left.tags, at, a, b)
    return True


async def test_an_empty_store_answers_with_nothing(metric_store: MetricStore) -> None:
    assert await metric_store.query(query(everything())) == ()
    assert await metric_store.latest(everything(), since_ms=START) == ()
    assert await metric_store.series(everything()) == ()


async def test_what_is_written_is_there_when_the_write_returns(metric_store: MetricStore) -> None:
    written = await metric_store.write(packed([*counted(A, 1, 2, 3), *counted(OTHER, 7)]))
    assert (written.stored, dict(written.refused)) == (4, {})
    assert await metric_store.latest(everything(), since_ms=START) == (
        Recent(OTHER, START, 7, START, 7),
        Recent(A, START, 1, START + 20_000, 3),
    )
    assert await metric_store.series(everything()) == (OTHER, A)
    assert await metric_store.series(everything("bytes_total")) == (OTHER,)


async def test_latest_is_of_the_window_that_was_asked_for(metric_store: MetricStore) -> None:
    await metric_store.write(packed([*counted(A, 1, 2, 3), *counted(B, 9)]))
    assert await metric_store.latest(everything(), since_ms=START + 10_000) == (
        Recent(A, START + 10_000, 2, START + 20_000, 3),
    )


async def test_a_point_that_comes_again_is_the_same_point_and_the_newest_value_stands(
    metric_store: MetricStore,
) -> None:
    points = counted(A, 1, 2, 3, 4, 5, 6, 7)
    for _ in range(3):
        await metric_store.write(packed(points))
    await metric_store.write(packed([Point(A, START, 10.0)]))
    (line,) = await metric_store.query(query(everything(), within=Within.COUNT))
    assert line.points == ((START, 6.0), (START + 60_000, 1.0))
    (line,) = await metric_store.query(query(everything(), within=Within.SUM))
    assert line.points == ((START, 30.0), (START + 60_000, 7.0))


async def test_points_may_come_in_any_order(metric_store: MetricStore) -> None:
    points = counted(A, *range(30))
    await metric_store.write(packed(points[20:]))
    await metric_store.write(packed(list(reversed(points[:20]))))
    asked = query(everything(), steps=6, within=Within.INCREASE)
    assert is_close(await metric_store.query(asked), expected(asked, points))


@pytest.mark.parametrize(
    ("within", "values"),
    [
        (Within.LAST, [3, 1]),
        (Within.MEAN, [2, 1]),
        (Within.MIN, [1, 1]),
        (Within.MAX, [3, 1]),
        (Within.SUM, [6, 1]),
        (Within.COUNT, [3, 1]),
        (Within.INCREASE, [1]),
        (Within.RATE, [0.05]),
    ],
)
async def test_a_step_gives(within: Within, values: list[float], metric_store: MetricStore) -> None:
    await metric_store.write(packed(counted(A, 1, 2, 3, 1, every_ms=20_000)))
    (line,) = await metric_store.query(query(everything("records_total"), within=within, step_ms=60_000, steps=2))
    if within is Within.RATE:
        assert line.points == ((START + 60_000, pytest.approx(1 / 60)),)
    else:
        assert [value for _, value in line.points] == values


async def test_a_counter_that_falls_has_begun_anew_and_a_gap_loses_nothing(metric_store: MetricStore) -> None:
    values = {0: 100.0, 10: 160.0, 20: 5.0, 60: 45.0}
    await metric_store.write(packed([Point(A, START + seconds * 1000, value) for seconds, value in values.items()]))
    asked = query(everything(), steps=10, step_ms=10_000, within=Within.INCREASE)
    (line,) = await metric_store.query(asked)
    assert line.points == ((START + 10_000, 60.0), (START + 20_000, 5.0), (START + 60_000, 40.0))
    asked = query(everything(), steps=10, step_ms=10_000, within=Within.RATE)
    (line,) = await metric_store.query(asked)
    assert line.points == ((START + 10_000, 6.0), (START + 20_000, 0.5), (START + 60_000, 1.0))


@pytest.mark.parametrize(
    ("by", "across", "result"),
    [
        ((), Across.SUM, {(): 111.0}),
        ((), Across.MAX, {(): 100.0}),
        ((), Across.MIN, {(): 1.0}),
        ((), Across.MEAN, {(): 37.0}),
        ((), Across.COUNT, {(): 3.0}),
        (("agent",), Across.SUM, {("a",): 1.0, ("b",): 110.0}),
        (("pipeline",), Across.SUM, {("edge",): 11.0, ("core",): 100.0}),
        (("plugin", "agent"), Across.SUM, {("", "b"): 100.0, ("tail.0", "a"): 1.0, ("tail.0", "b"): 10.0}),
    ],
)
async def test_series_are_grouped(
    by: tuple[str, ...], across: Across, result: dict[tuple[str, ...], float], metric_store: MetricStore
) -> None:
    await metric_store.write(packed([*counted(A, 1), *counted(B, 10), *counted(C, 100), *counted(OTHER, 1000)]))
    found = await metric_store.query(query(everything("records_total"), by=by, across=across))
    assert {tuple(value for _, value in line.tags): line.points[0][1] for line in found} == result


async def test_series_are_selected_by_tags_and_a_missing_one_is_empty(metric_store: MetricStore) -> None:
    await metric_store.write(packed([*counted(A, 1), *counted(B, 10), *counted(C, 100)]))
    for tags, series in (
        ({"agent": ("a",)}, (A,)),
        ({"agent": ("a", "b")}, (A, C, B)),
        ({"agent": ("b",), "pipeline": ("edge",)}, (B,)),
        ({"plugin": ("",)}, (C,)),
        ({"agent": ()}, ()),
        ({"agent": ("nobody",)}, ()),
        ({"agent": ("b", *map(str, range(500)))}, (C, B)),
    ):
        selection = Selection(names=("records_total",), tags=tags)
        assert set(await metric_store.series(selection)) == set(series), tags
        assert {recent.series for recent in await metric_store.latest(selection, since_ms=START)} == set(series), tags
        total = sum({A: 1, B: 10, C: 100}[one] for one in series)
        found = await metric_store.query(query(selection))
        assert [line.points for line in found] == ([((START, total),)] if series else []), tags


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_stays_text(text: str, metric_store: MetricStore) -> None:
    hostile, innocent = Series.of("records_total", {"agent": "a", "plugin": text}), A
    await metric_store.write(packed([*counted(hostile, 5), *counted(innocent, 1)]))
    assert set(await metric_store.series(everything("records_total"))) == {hostile, innocent}
    selection = Selection(names=("records_total",), tags={"plugin": (text,)})
    assert [recent.series for recent in await metric_store.latest(selection, since_ms=START)] == [hostile]
    (line,) = await metric_store.query(query(selection, by=("plugin",)))
    assert line == Line((("plugin", text),), ((START, 5.0),))


@pytest.mark.parametrize("value", [0.0, -0.5, 2.0**53 + 2, 1e300, 5e-300, 1.7976931348623157e308, 123456789.123456789])
async def test_a_value_comes_back_as_it_was(value: float, metric_store: MetricStore) -> None:
    await metric_store.write(packed(counted(A, value)))
    (recent,) = await metric_store.latest(everything(), since_ms=START)
    assert recent.last == value


async def test_it_says_that_it_is_well(metric_store: MetricStore) -> None:
    assert (await metric_store.health()).ok


_SERIES = st.sampled_from([A, B, C, OTHER])
_MOMENTS = st.integers(0, 5 * 60_000).map(lambda offset: START + offset // 5000 * 5000)
_POINTS = st.builds(Point, _SERIES, _MOMENTS, st.floats(0, 1e6, width=32))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(_POINTS, max_size=30), max_size=3), data=st.data())
async def test_every_store_agrees_with_the_pure_aggregation(
    metric_store: MetricStore, batches: list[list[Point]], data: st.DataObject
) -> None:
    # The store keeps what earlier examples wrote, so each has a name of its own.
    example = next(_examples)
    points = [
        Point(Series(f"{point.series.name}_{example}", point.series.tags), point.at_ms, point.value)
        for batch in batches
        for point in batch
    ]
    begin = 0
    for batch in batches:
        await metric_store.write(packed(points[begin : begin + len(batch)]))
        begin += len(batch)
    asked = query(
        everything(f"records_total_{example}"),
        step_ms=data.draw(st.sampled_from([5_000, 10_000, 17_000, 60_000])),
        steps=data.draw(st.integers(1, 8)),
        within=data.draw(st.sampled_from(Within)),
        across=data.draw(st.sampled_from(Across)),
        by=data.draw(st.sampled_from([(), ("agent",), ("agent", "pipeline"), ("plugin",)])),
    )
    assert is_close(await metric_store.query(asked), expected(asked, points))


_examples = itertools.count()
