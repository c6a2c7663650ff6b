"""Agents come and go: what is known of their series goes with them, in both stores and in the intake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from controlplane.metrics.influxdb import InfluxMetricStore
from controlplane.metrics.influxdb_url import parse
from controlplane.metrics.sqlite import SqliteMetricStore
from controlplane.metrics.sqlite_upkeep import Retention
from controlplane.metrics.vocabulary import Block, Layout, Selection, Series
from tests.conftest import Clock
from tests.controlplane.metrics.conftest import START, opened
from tests.controlplane.metrics.test_intake import Parts, running
from tests.influxd import Influxd
from tests.processes import eventually

HOUR_MS, DAY_MS = 3_600_000, 24 * 3_600_000
NAMES = tuple(f"fluentbit_{name}_total" for name in "abcd")
AGENTS, REPLACED = 20, 2
"""A tenth of them each day."""


def layout(agent: int) -> Layout:
    return Layout(Series.of(name, {"agent": f"agent-{agent}", "plugin": "tail.0"}) for name in NAMES)


def days(count: int) -> Iterator[tuple[int, list[Layout]]]:
    """The agents of each day, by the number of the day; the oldest are the ones that go."""
    layouts = {number: layout(number) for number in range(AGENTS)}
    for day in range(count):
        yield day, list(layouts.values())
        for _ in range(REPLACED):
            layouts.pop(min(layouts))
            number = max(layouts) + 1
            layouts[number] = layout(number)


async def test_in_sqlite_the_series_of_agents_that_are_gone_go_with_their_last_point(tmp_path: Path) -> None:
    now_ms = START
    keep = Retention(raw_ms=HOUR_MS, minute_ms=6 * HOUR_MS, hour_ms=3 * DAY_MS)
    store = SqliteMetricStore(tmp_path / "metrics.db", retention=keep, now=lambda: now_ms / 1000)
    most, sizes = 0, []
    async with opened(store):
        for day, layouts in days(16):
            for hour in range(0, 24, 12):
                now_ms = START + day * DAY_MS + hour * HOUR_MS
                await store.write([Block(each, now_ms, [float(day)] * len(NAMES)) for each in layouts])
                now_ms += 2 * HOUR_MS
                await store.keep_up()
            most = max(most, len(await store.series(Selection(names=NAMES))))
            sizes.append((tmp_path / "metrics.db").stat().st_size)
        assert len(await store.series(Selection(names=NAMES, tags={"agent": ("agent-0",)}))) == 0
        assert len(store._ids) <= most
    # Those that are there, and those of the days that are kept.
    assert AGENTS * len(NAMES) <= most <= (AGENTS + REPLACED * 4) * len(NAMES)
    assert sizes[-1] <= 1.25 * max(sizes[:8])


async def test_in_influxdb_they_go_with_the_retention_of_the_database(influxd: Influxd) -> None:
    url = f"influxdb://127.0.0.1:{influxd.port}/churn?retention=0"
    async with opened(InfluxMetricStore(parse(url))) as store:
        for day, layouts in days(10):
            await store.write([Block(each, START + day * DAY_MS, [1.0] * len(NAMES)) for each in layouts])

        def series() -> int:
            found = influxd.query("SHOW SERIES EXACT CARDINALITY ON churn", database="churn")
            return sum(int(row[0]) for part in found for row in part["values"])

        def tags() -> int:
            found = influxd.query('SHOW TAG VALUES ON churn WITH KEY = "agent"', database="churn")
            return max((len(part["values"]) for part in found), default=0)

        assert len(await store.series(Selection(names=NAMES))) == (AGENTS + 9 * REPLACED) * len(NAMES)
        assert tags() == AGENTS + 9 * REPLACED
        # All of these days are longer ago than this.
        influxd.post("/query", b'q=ALTER RETENTION POLICY "autogen" ON "churn" DURATION 1d SHARD DURATION 1h DEFAULT')
        await eventually(lambda: series() == 0 and tags() == 0, timeout=60)
        assert await store.series(Selection(names=NAMES)) == ()


async def test_the_intake_forgets_agents_that_are_gone(clock: Clock) -> None:
    async with running(Parts(clock)) as parts:
        for day in range(8):
            ids = [f"d{day + number // REPLACED}-{number % REPLACED}" for number in range(AGENTS)]
            parts.view.agents.clear()
            parts.view.agents.update({id: SimpleNamespace(labels={}) for id in ids})  # type: ignore[misc]  # all that is read
            for id in ids:
                assert (await parts.intake.report(id, parts.request(day + 1, 1.0))).stored == day + 1
            clock.advance(24 * 3600)
    assert len(parts.intake._sources) == AGENTS
