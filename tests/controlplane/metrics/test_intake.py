"""From reports to the store: acknowledged when it has them, told when to come again if not, counted when bad."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from controlplane.metrics.buffer import BATCH, Buffer, NotStoredError
from controlplane.metrics.intake import MOST_SERIES, MetricIntake
from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.vocabulary import Block, Series, StoreUnavailableError, Written
from controlplane.view import View
from headrace import messages
from headrace.messages import ReportRequest, Samples
from tests.conftest import Clock
from tests.controlplane.metrics.points import Point, packed, unpacked
from tests.processes import eventually


class Memory:
    """A store that keeps points in memory, and waits or fails when it is told to; only what `Buffer` needs."""

    description = "memory"

    def __init__(self) -> None:
        self.points: dict[tuple[Series, int], float] = {}
        self.writes: list[int] = []
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.refused: dict[str, int] = {}

    async def write(self, blocks: Sequence[Block]) -> Written:
        points = list(unpacked(blocks))
        self.writes.append(len(points))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.points.update({(point.series, point.at_ms): point.value for point in points})
        return Written(stored=len(points), refused=self.refused)


class Parts:
    def __init__(self, clock: Clock, **options: Any) -> None:
        self.clock, self.store, self.meters, self.view = clock, Memory(), MetricMeters(CollectorRegistry()), View()
        for number in range(300):
            self.view.agents[f"a-{number}"] = SimpleNamespace(labels={})  # type: ignore[assignment]  # all that is read
        options.setdefault("linger_s", 0.0)
        self.buffer = Buffer(
            self.store,  # type: ignore[arg-type]  # what a buffer needs of one
            meters=self.meters,
            monotonic=clock,
            rng=random.Random(1),
            **options,
        )
        self.intake = MetricIntake(
            self.buffer, view=self.view, meters=self.meters, labels=("role",), clock=clock.now, patience_s=30
        )

    def request(self, sequence: int, *values: float, agent: int = 0, seconds: float = 0.0) -> ReportRequest:
        series = tuple(
            messages.Series(id=index, name="records_total", tags={"plugin": f"p.{index}"})
            for index in range(len(values))
        )
        at = self.clock.now() + timedelta(seconds=seconds)
        samples = Samples(at=at, series=tuple(range(len(values))), values=values)
        return ReportRequest(sequence=sequence, series=series, samples=(samples,))


@pytest.fixture
async def parts(clock: Clock) -> AsyncIterator[Parts]:
    async with running(Parts(clock)) as parts:
        yield parts


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[Parts]:
    task = asyncio.create_task(parts.buffer.run(), name="buffer")
    try:
        yield parts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_report_is_acknowledged_when_the_store_has_it(parts: Parts) -> None:
    parts.store.gate.clear()
    report = asyncio.create_task(parts.intake.report("a-1", parts.request(7, 1.0, 2.0)))
    await eventually(lambda: parts.store.writes == [2])
    assert not report.done()
    parts.store.gate.set()
    answer = await report
    assert (answer.stored, answer.retry_after_ms) == (7, 0)
    assert {series.tag("agent") for series, _ in parts.store.points} == {"a-1"}


async def test_the_same_report_again_is_acknowledged_again_and_is_the_same_points(parts: Parts) -> None:
    request = parts.request(1, 1.0, 2.0)
    for _ in range(3):
        assert (await parts.intake.report("a-1", request)).stored == 1
    assert len(parts.store.points) == 2


async def test_labels_are_those_that_the_plane_knows(parts: Parts) -> None:
    for role in ("edge", "core"):
        parts.view.agents["a-1"] = SimpleNamespace(labels={"role": role, "other": "x"})  # type: ignore[assignment]
        parts.clock.advance(10)
        await parts.intake.report("a-1", parts.request(1, 1.0))
    tags = [dict(series.tags) for series, _ in parts.store.points]
    assert [(tag["role"], "other" in tag) for tag in tags] == [("edge", False), ("core", False)]


async def test_an_agent_that_is_not_known_yet_comes_again(parts: Parts) -> None:
    answer = await parts.intake.report("stranger", parts.request(1, 1.0))
    assert (answer.stored, answer.retry_after_ms, parts.store.points) == (0, 1000, {})


async def test_bad_points_are_counted_and_acknowledged_with_the_good_ones(parts: Parts) -> None:
    good = messages.Series(id=1, name="records_total", tags={"plugin": "p"})
    forged = messages.Series(id=2, name="records_total", tags={"agent": "a-2"})
    at = parts.clock.now()
    request = ReportRequest(
        sequence=3,
        series=(good, forged),
        samples=(
            Samples(at=at, series=(1, 2), values=(1.0, 9.0)),
            Samples(at=at + timedelta(seconds=1), series=(1,), values=(math.nan,)),
            Samples(at=at + timedelta(days=1), series=(1, 1), values=(1.0, 2.0)),
        ),
    )
    assert (await parts.intake.report("a-1", request)).stored == 3
    assert list(parts.store.points.values()) == [1.0]
    assert parts.meters.refused == {
        "tag that agents do not give": 1,
        "value that is no finite number": 1,
        "time ahead of this clock": 2,
    }


async def test_what_was_checked_once_of_a_streams_series_counts_each_time(parts: Parts) -> None:
    series = (
        messages.Series(id=1, name="records_total", tags={"plugin": "p.1"}),
        messages.Series(id=2, name="no name", tags={}),
        messages.Series(id=3, name="records_total", tags={"plugin": "p.3"}),
    )
    for number in range(3):
        at = parts.clock.now() + timedelta(seconds=number)
        samples = Samples(at=at, series=(3, 2, 1), values=(3.0 + number, 2.0, math.nan if number == 1 else 1.0))
        request = ReportRequest(sequence=number + 1, series=series, samples=(samples,))
        assert (await parts.intake.report("a-1", request)).stored == number + 1
    assert parts.meters.refused == {"name of a metric": 3, "value that is no finite number": 1}
    stored = sorted((dict(series.tags)["plugin"], value) for (series, _), value in parts.store.points.items())
    assert stored == [("p.1", 1.0), ("p.1", 1.0), ("p.3", 3.0), ("p.3", 4.0), ("p.3", 5.0)]


async def test_what_the_store_refuses_is_counted_too(parts: Parts) -> None:
    parts.store.refused = {"InfluxDB keeps nothing so old": 4}
    assert (await parts.intake.report("a-1", parts.request(1, 1.0))).stored == 1
    assert parts.meters.refused == {"InfluxDB keeps nothing so old": 4}


async def test_an_agent_has_a_bounded_number_of_series_and_a_new_hour_begins_anew(parts: Parts) -> None:
    many = parts.request(1, *(float(number) for number in range(MOST_SERIES + 50)))
    assert (await parts.intake.report("a-1", many)).stored == 1
    assert len({series for series, _ in parts.store.points}) == MOST_SERIES
    assert parts.meters.refused == {"more series than an agent may have": 50}
    parts.clock.advance(3600)
    assert (await parts.intake.report("a-1", parts.request(2, 1.0))).stored == 2


async def test_a_store_that_is_down_is_told_at_once_and_asked_no_more_until_its_time(parts: Parts) -> None:
    parts.store.error = StoreUnavailableError("it is down", retry_after_s=20)
    answers = await asyncio.gather(*(parts.intake.report(f"a-{n}", parts.request(n + 1, 1.0)) for n in range(50)))
    assert {answer.stored for answer in answers} == {0}
    assert all(20_000 <= answer.retry_after_ms <= 30_000 for answer in answers)
    assert len({answer.retry_after_ms for answer in answers}) > 40  # spread
    asked = len(parts.store.writes)
    again = await parts.intake.report("a-1", parts.request(1, 1.0))
    assert (again.stored, len(parts.store.writes)) == (0, asked)
    assert parts.buffer.trouble == "it is down"
    parts.clock.advance(31)
    parts.store.error = None
    assert (await parts.intake.report("a-1", parts.request(1, 1.0))).stored == 1
    assert parts.buffer.trouble == ""


async def test_a_defect_of_a_store_ends_nothing(parts: Parts) -> None:
    parts.store.error = ValueError("a defect")
    assert (await parts.intake.report("a-1", parts.request(1, 1.0))).stored == 0
    parts.store.error = None
    parts.clock.advance(60)
    assert (await parts.intake.report("a-1", parts.request(1, 1.0))).stored == 1


async def test_what_waits_is_bounded_and_who_finds_no_room_is_told_at_once(clock: Clock) -> None:
    async with running(Parts(clock, capacity=10)) as parts:
        parts.store.gate.clear()
        first = asyncio.create_task(parts.intake.report("a-1", parts.request(1, *[1.0] * 8)))
        await eventually(lambda: parts.store.writes == [8])
        answer = await parts.intake.report("a-2", parts.request(1, *[1.0] * 8))
        assert answer.stored == 0
        assert answer.retry_after_ms > 0
        parts.store.gate.set()
        assert (await first).stored == 1
        assert (await parts.intake.report("a-2", parts.request(1, *[1.0] * 8))).stored == 1


async def test_small_reports_of_many_agents_become_few_writes(clock: Clock) -> None:
    async with running(Parts(clock, linger_s=60.0)) as parts:
        agents = 2 * BATCH // 40
        reports = [parts.intake.report(f"a-{n}", parts.request(1, *[1.0] * 40)) for n in range(agents)]
        answers = await asyncio.gather(*reports)
        assert {answer.stored for answer in answers} == {1}
        assert sum(parts.store.writes) == 2 * BATCH
        assert len(parts.store.writes) <= 2


async def test_the_end_of_the_buffer_leaves_nobody_waiting(clock: Clock) -> None:
    parts = Parts(clock, linger_s=60.0)
    async with running(parts):
        waiting = asyncio.create_task(parts.buffer.put(packed([Point(Series("m"), 1, 1.0)])))
        await asyncio.sleep(0)
    with pytest.raises(NotStoredError):
        await waiting
