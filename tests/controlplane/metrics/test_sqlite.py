"""The SQLite metric store's own promises: tiers, retention, a bound on the file, and writes during upkeep."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from controlplane.metrics import open_metric_store
from controlplane.metrics.sqlite import SqliteMetricStore
from controlplane.metrics.sqlite_file import HOUR, HOUR_MS, MINUTE, MINUTE_MS, RAW
from controlplane.metrics.sqlite_upkeep import Retention
from controlplane.metrics.vocabulary import Query, Series, StoreUnavailableError, Within
from headrace.errors import InvalidError
from tests.controlplane.metrics.conftest import START, opened
from tests.controlplane.metrics.points import Point, packed
from tests.controlplane.metrics.test_contract import A, B, counted, everything, expected, is_close, query

SHORT = Retention(raw_ms=HOUR_MS, minute_ms=3 * HOUR_MS, hour_ms=24 * HOUR_MS)


class Wall:
    """The store's clock, which stands where a test puts it."""

    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> float:
        return self.ms / 1000


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.db"


def rows(path: Path, tier: str) -> int:
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {tier}").fetchone()
    connection.close()
    return int(count)


async def test_old_points_live_on_by_the_minute_then_by_the_hour_then_go_with_their_series(
    path: Path, wall: Wall
) -> None:
    points = [*counted(A, *range(360), every_ms=10_000), *counted(B, 5.0)]  # an hour
    async with opened(SqliteMetricStore(path, retention=SHORT, now=wall)) as store:
        assert isinstance(store, SqliteMetricStore)
        await store.write(packed(points))
        wall.ms = START + 3 * HOUR_MS
        await store.keep_up()
        assert (rows(path, RAW), rows(path, MINUTE), rows(path, HOUR)) == (0, 61, 2)
        for within in Within:
            asked = query(everything(), steps=12, step_ms=5 * MINUTE_MS, within=within)
            assert is_close(await store.query(asked), expected(asked, points)), within
        wall.ms = START + 5 * HOUR_MS
        await store.keep_up()
        assert (rows(path, RAW), rows(path, MINUTE), rows(path, HOUR)) == (0, 0, 2)
        for within in Within:
            asked = query(everything(), steps=2, step_ms=HOUR_MS, within=within)
            assert is_close(await store.query(asked), expected(asked, points)), within
        assert len(await store.series(everything())) == 2
        wall.ms = START + 30 * HOUR_MS
        await store.keep_up()
        assert (rows(path, HOUR), await store.series(everything())) == (0, ())
        # An agent that comes back gets its series anew.
        await store.write(packed([Point(A, wall.ms, 1.0)]))
        assert await store.series(everything()) == (A,)


async def test_a_query_over_the_edge_of_two_tiers_counts_nothing_twice(path: Path, wall: Wall) -> None:
    points = [*counted(A, *range(720), every_ms=10_000), *counted(B, *range(0, 1440, 2), every_ms=10_000)]
    async with opened(SqliteMetricStore(path, retention=SHORT, now=wall)) as store:
        assert isinstance(store, SqliteMetricStore)
        await store.write(packed(points))
        wall.ms = START + 2 * HOUR_MS
        await store.keep_up()
        assert 0 < rows(path, RAW) < len(points)
        for step_ms in (MINUTE_MS, 7 * MINUTE_MS, 90_000, HOUR_MS):
            for within in (Within.COUNT, Within.SUM, Within.LAST, Within.INCREASE):
                asked = Query(
                    selection=everything(), start_ms=START, end_ms=START + 2 * HOUR_MS, step_ms=step_ms, within=within
                )
                found = await store.query(asked)
                if step_ms == 90_000:  # no whole minutes: only what ends with the range can be held to
                    assert found[0].points[-1] == expected(asked, points)[0].points[-1]
                else:
                    assert is_close(found, expected(asked, points)), (step_ms, within)


async def test_what_comes_late_is_rolled_up_too_and_what_comes_too_late_takes_nothing_away(
    path: Path, wall: Wall
) -> None:
    async with opened(SqliteMetricStore(path, retention=SHORT, now=wall)) as store:
        assert isinstance(store, SqliteMetricStore)
        first, late = counted(A, 1, 2, 3), counted(A, 4, 5, 6, start_ms=START + 30_000)
        await store.write(packed(first))
        wall.ms = START + 30 * MINUTE_MS
        await store.keep_up()
        await store.write(packed(late))
        wall.ms = START + 2 * HOUR_MS
        await store.keep_up()
        asked = query(everything(), steps=1, within=Within.SUM)
        assert await store.query(asked) == expected(asked, [*first, *late])
        await store.write(packed([Point(A, START, 1000.0)]))
        await store.keep_up()
        assert await store.query(asked) == expected(asked, [*first, *late])


async def test_the_file_stays_within_its_size_by_losing_the_oldest_first(path: Path, wall: Wall) -> None:
    limit = 1 << 20
    async with opened(SqliteMetricStore(path, retention=Retention(max_bytes=limit), now=wall)) as store:
        assert isinstance(store, SqliteMetricStore)
        many = [Series.of("records_total", {"agent": f"a{number}"}) for number in range(100)]
        for number in range(3 * 120):  # three hours, a point of each every 30 s
            wall.ms = START + number * 30_000
            await store.write(packed([Point(series, wall.ms, float(number)) for series in many]))
            if number % 10 == 9:
                await store.keep_up()
        assert path.stat().st_size < 2 * limit
        recent = await store.latest(everything(), since_ms=START)
        assert len(recent) == 100
        assert {one.last for one in recent} == {359.0}
        assert min(one.first_ms for one in recent) > START
    assert path.stat().st_size < 2 * limit


async def test_writes_come_in_between_the_steps_of_upkeep(path: Path, wall: Wall) -> None:
    async with opened(SqliteMetricStore(path, retention=SHORT, now=wall)) as store:
        assert isinstance(store, SqliteMetricStore)
        order: list[str] = []

        async def keep_up() -> None:
            await store.keep_up()
            order.append("upkeep")

        async def write() -> None:
            await store.write(packed(counted(B, 1)))
            order.append("write")

        await store.write(packed(counted(A, *range(360), every_ms=10_000)))  # sixty minutes to roll up
        wall.ms = START + 3 * HOUR_MS
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_up())
            tasks.create_task(write())
        assert order == ["write", "upkeep"]


async def test_it_is_there_after_a_restart_and_private(path: Path) -> None:
    async with opened(SqliteMetricStore(path)) as store:
        await store.write(packed(counted(A, 1, 2)))
    async with opened(SqliteMetricStore(path)) as store:
        (recent,) = await store.latest(everything(), since_ms=START)
        assert recent.last == 2
        assert path.stat().st_mode & 0o077 == 0


async def test_a_place_where_it_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SqliteMetricStore(tmp_path / "file" / "metrics.db")
    with pytest.raises(StoreUnavailableError, match=r"file/metrics\.db"):
        await store.open()
    (tmp_path / "junk.db").write_text("this is no database" * 100)
    store = SqliteMetricStore(tmp_path / "junk.db")
    with pytest.raises(StoreUnavailableError, match="no SQLite database"):
        await store.open()
    assert not (await store.health()).ok


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://relative", "is not understood"),
        ("sqlite?raw=6", "no duration"),
        ("sqlite?raw=1m", "an hour or more"),
        ("sqlite?raw=8d&minute=7d", "for as long"),
        ("sqlite?size=12", "no size"),
        ("sqlite?size=10KiB", "1 MiB or more"),
        ("sqlite?colour=red", "'colour' is not understood"),
        ("oracle://x", "there are none, sqlite"),
    ],
)
def test_a_url_that_is_not_understood_is_refused_with_words(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=words):
        open_metric_store(url, data_dir=tmp_path)


def test_none_is_no_store_and_sqlite_is_in_the_data_folder(tmp_path: Path) -> None:
    assert open_metric_store("none", data_dir=tmp_path) is None
    store = open_metric_store("sqlite?raw=2h&minute=2d&hour=30d&size=500MiB", data_dir=tmp_path)
    assert store is not None
    assert store.description == f"sqlite {tmp_path}/metrics.db"
    elsewhere = open_metric_store("sqlite:////var/lib/m.db", data_dir=tmp_path)
    assert elsewhere is not None
    assert elsewhere.description == "sqlite /var/lib/m.db"
