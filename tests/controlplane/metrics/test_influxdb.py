"""InfluxDB as it answers when things are not well: real 1.x, a fake 2.x and 3.x, and VictoriaMetrics for 2.x's path."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from controlplane.metrics import open_metric_store
from controlplane.metrics.influxdb import InfluxMetricStore
from controlplane.metrics.influxdb_url import parse
from controlplane.metrics.line_protocol import cut_of, measurement_of
from controlplane.metrics.vocabulary import Query, Recent, Selection, Series, StoreUnavailableError, Within
from headrace.errors import InvalidError
from tests.controlplane.metrics.conftest import START, opened
from tests.controlplane.metrics.fake_influx import FakeInflux
from tests.controlplane.metrics.points import Point, packed
from tests.controlplane.metrics.test_contract import A, B, counted, everything
from tests.influxd import Influxd
from tests.processes import eventually
from tests.servers import free_port
from tests.victoria import Victoria

GOOD = [Series.of("good_total", {"agent": f"a{number}"}) for number in range(200)]
BAD = Series.of("bad_total", {"agent": "a"})


def store_at(port: int, rest: str = "/metrics?retention=0", *, login: str = "") -> InfluxMetricStore:
    return InfluxMetricStore(parse(f"influxdb://{login}127.0.0.1:{port}{rest}"))


def fake_store(fake: FakeInflux, rest: str = "") -> InfluxMetricStore:
    return store_at(fake.port, f"/metrics?token=secret&org=o{rest}")


# Real 1.x.


async def test_the_database_is_made_when_the_server_comes_with_a_policy_of_its_own(influxd: Influxd) -> None:
    influxd.stop()
    async with opened(store_at(influxd.port, "/metrics?retention=48h")) as store:
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            await store.write(packed(counted(A, 1)))
        assert not (await store.health()).ok
        running = asyncio.create_task(store.run())
        influxd.start()
        await running  # ends when it is ready
        assert (await store.health()).ok
        (policies,) = influxd.query('SHOW RETENTION POLICIES ON "metrics"')
        assert [row[:2] for row in policies["values"]] == [["headrace", "48h0m0s"]]


async def test_a_database_that_is_there_is_left_as_it_is_and_one_that_was_dropped_is_made_anew(
    influxd: Influxd,
) -> None:
    influxd.query('CREATE DATABASE "metrics"')
    async with opened(store_at(influxd.port)) as store:
        await store.write(packed(counted(A, 1)))
        (policies,) = influxd.query('SHOW RETENTION POLICIES ON "metrics"')
        assert [row[0] for row in policies["values"]] == ["autogen"]
        influxd.query('DROP DATABASE "metrics"')
        with pytest.raises(StoreUnavailableError, match="not found"):
            await store.write(packed(counted(A, 1)))
        await store.write(packed(counted(A, 2)))
        (recent,) = await store.latest(everything(), since_ms=START)
        assert recent.last == 2


async def test_bad_lines_are_found_and_counted_and_no_good_one_is_lost(influxd: Influxd) -> None:
    async with opened(store_at(influxd.port)) as store:
        await store.write(packed(counted(A, 1)))
        data = b'bad_total,agent=a value=7i 1767225600000000000\nworse_total value="text" 1767225600000000000'
        influxd.post("/write?db=metrics", data)
        points = [Point(series, START, 1.0) for series in GOOD]
        worse = Point(Series("worse_total"), START + 1, 1.0)
        written = await store.write(packed([*points[:77], Point(BAD, START, 1.5), *points[77:], worse]))
        assert written.stored == len(GOOD)
        assert dict(written.refused) == {"InfluxDB has this metric with values of another type": 2}
        assert len(await store.latest(Selection(names=("good_total",)), since_ms=START)) == len(GOOD)


async def test_what_is_older_than_the_server_keeps_is_counted_too(influxd: Influxd) -> None:
    async with opened(store_at(influxd.port, "/metrics?retention=1h")) as store:
        written = await store.write(packed(counted(A, 1, 2)))
        assert (written.stored, written.refused) == (0, {"InfluxDB keeps nothing so old": 2})


async def test_what_was_stored_outlives_a_kill_and_what_was_not_is_told(influxd: Influxd) -> None:
    async with opened(store_at(influxd.port)) as store:
        await store.write(packed(counted(A, 1, 2, 3)))
        influxd.kill()
        with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{influxd.port}"):
            await store.write(packed(counted(B, 1)))
        influxd.start()
        await eventually(lambda: _writes(store, counted(B, 5)))
        assert {recent.series: recent.last for recent in await store.latest(everything(), since_ms=START)} == {
            A: 3,
            B: 5,
        }


async def _writes(store: InfluxMetricStore, points: list[Point]) -> bool:
    try:
        return (await store.write(packed(points))).stored == len(points)
    except StoreUnavailableError:
        return False


@pytest.mark.parametrize("login", ["", "headrace:wrong@"])
async def test_who_may_not_is_told_so_and_who_may_does(login: str, tmp_path: Path) -> None:
    with Influxd.installed(tmp_path / "influxd", auth=True) as server:
        server.post("/query", b"q=CREATE USER headrace WITH PASSWORD 'pass:w@rd' WITH ALL PRIVILEGES")
        async with opened(store_at(server.port, login=login)) as store:
            with pytest.raises(StoreUnavailableError, match=r"401.*check the user and password"):
                await store.write(packed(counted(A, 1)))
        async with opened(store_at(server.port, login="headrace:pass%3Aw%40rd@")) as store:
            assert (await store.write(packed(counted(A, 1)))).stored == 1
            assert len(await store.latest(everything(), since_ms=START)) == 1


# A fake 2.x and 3.x.


async def test_2x_gets_its_bucket_and_a_batch_that_is_refused_whole_is_cut_to_the_bad_line() -> None:
    with FakeInflux(2, refused={"bad_total"}) as fake:
        async with opened(fake_store(fake, "&retention=30d")) as store:
            points = [Point(series, START, 1.0) for series in GOOD]
            written = await store.write(packed([*points, Point(BAD, START, 1.0)]))
            assert written.stored == len(GOOD)
            assert sum(written.refused.values()) == 1
        assert fake.buckets == [
            {"orgID": "0a", "name": "metrics", "retentionRules": [{"type": "expire", "everySeconds": 30 * 86_400}]}
        ]
        assert len(fake.lines) == len(GOOD)
        assert len(fake.writes) < 20


async def test_3x_says_which_line_was_bad_and_is_asked_once() -> None:
    with FakeInflux(3, refused={"bad_total"}) as fake:
        async with opened(fake_store(fake)) as store:
            written = await store.write(
                packed([Point(BAD, START, 1.0), *(Point(series, START, 1.0) for series in GOOD)])
            )
            assert (written.stored, sum(written.refused.values())) == (len(GOOD), 1)
        assert (len(fake.lines), fake.writes) == (len(GOOD), [len(GOOD) + 1])


def test_a_batch_is_cut_between_metrics_where_it_can_be() -> None:
    lines = [r"a\,b,k=v value=1 1", r"a\,b\ c value=1 1", *["m,k=v value=1 1"] * 6]
    assert measurement_of(lines[0]) == r"a\,b"
    assert cut_of(lines) == 2
    assert cut_of(lines[:2]) == 1
    assert cut_of(lines[2:]) == 3


async def test_a_metric_that_is_refused_as_a_whole_does_not_cost_a_request_for_each_line() -> None:
    with FakeInflux(2, refused={"bad_total"}, buckets=[{"name": "metrics"}]) as fake:
        async with opened(fake_store(fake)) as store:
            bad = [Point(Series.of("bad_total", {"agent": f"a{number}"}), START, 1.0) for number in range(2_000)]
            written = await store.write(packed([*(Point(series, START, 1.0) for series in GOOD), *bad]))
            assert (written.stored, sum(written.refused.values())) == (len(GOOD), len(bad))
        assert len(fake.writes) <= 120


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("status", "header", "wish"),
    [(429, "7", 7.0), (503, "2", 2.0), (503, "", 0.0), (500, "soon", 0.0), (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
async def test_a_server_that_wants_no_more_is_left_alone_as_long_as_it_wishes(
    version: int, status: int, header: str, wish: float
) -> None:
    with FakeInflux(version, buckets=[{"name": "metrics"}]) as fake:
        fake.script.append((status, {"retry-after": header} if header else {}, b'{"message": "too much"}'))
        async with opened(fake_store(fake)) as store:
            with pytest.raises(StoreUnavailableError, match=f"{status}: too much") as raised:
                await store.write(packed(counted(A, 1)))
            assert raised.value.retry_after_s == wish
            assert (await store.write(packed(counted(A, 1)))).stored == 1


async def test_a_batch_that_is_too_large_is_cut() -> None:
    with FakeInflux(3) as fake:
        fake.script.append((413, {}, b"too large"))
        async with opened(fake_store(fake)) as store:
            assert (await store.write(packed(counted(A, *range(100))))).stored == 100
        assert fake.writes == [100, 50, 50]


@pytest.mark.parametrize("version", [2, 3])
async def test_a_wrong_token_and_an_unknown_organisation_are_told(version: int) -> None:
    with FakeInflux(version) as fake:
        async with opened(store_at(fake.port, "/metrics?token=wrong&org=o")) as store:
            with pytest.raises(StoreUnavailableError, match=r"401.*the token"):
                await store.write(packed(counted(A, 1)))
        if version == 2:
            async with opened(store_at(fake.port, "/metrics?token=secret&org=nobody")) as store:
                with pytest.raises(StoreUnavailableError, match="no organisation 'nobody'"):
                    await store.write(packed(counted(A, 1)))


@pytest.mark.parametrize("version", [2, 3])
async def test_2x_and_3x_are_read_by_influxql_with_the_token_and_the_name_of_the_bucket(version: int) -> None:
    tags = {"agent": "a-1", "plugin": "tail.0", "env": ""}  # 3.x says of every tag that another series has one
    series = Series.of(A.name, tags)
    selection = Selection(names=(A.name,), tags={"agent": ("a-1",)})

    def row(*values: list[float]) -> list[dict[str, object]]:
        return [{"name": A.name, "tags": tags, "columns": ["time", "value"], "values": list(values)}]

    with FakeInflux(version) as fake:
        async with opened(fake_store(fake)) as store:
            fake.rows.extend([row([START, 1.0]), row([START + 9_000, 4.0])])
            assert await store.latest(selection, since_ms=START) == (Recent(series, START, 1.0, START + 9_000, 4.0),)
            fake.rows.append(row([START - 10_000, 1.0], [START, 4.0], [START + 10_000, 9.0]))
            query = Query(
                selection=selection, start_ms=START, end_ms=START + 20_000, step_ms=10_000, within=Within.INCREASE
            )
            (line,) = await store.query(query)
            assert line.points == ((START, 3.0), (START + 10_000, 5.0))
            fake.rows.append(row([START, 4.0]))
            assert await store.series(selection) == (series,)
            fake.rows.append([{**row([START, 1.0])[0], "partial": True}])
            with pytest.raises(StoreUnavailableError, match="cut its answer short"):
                await store.query(query)
    assert {(form["db"], form["epoch"]) for form in fake.queries} == {("metrics", "ms")}
    assert f"time >= {START - 10_000}ms AND time < {START + 20_000}ms" in fake.queries[1]["q"]


# VictoriaMetrics, which takes lines by 2.x's path.


async def test_a_real_server_takes_lines_by_the_path_of_2x(tmp_path: Path) -> None:
    with Victoria.installed(tmp_path / "victoria") as server:
        async with opened(store_at(server.port, "/metrics?api=2&org=o&token=t")) as store:
            hostile = Series.of("records_total", {"plugin": 'say "hi", a=b ключ', "agent": "b"})
            points = [*counted(A, 1, 2.5, 3), *counted(hostile, 2.0**53 + 2)]
            assert (await store.write(packed(points))).stored == 4
        exported = await eventually(lambda: server.export("records_total_value"))
        found = {frozenset(item["metric"].items()): (item["timestamps"], item["values"]) for item in exported}
        name = ("__name__", "records_total_value")
        database = ("db", "metrics")
        for series, times, values in (
            (A, [START, START + 10_000, START + 20_000], [1, 2.5, 3]),
            (hostile, [START], [2.0**53 + 2]),
        ):
            key = next(key for key in found if key - {name, database} == frozenset(series.tags))
            assert found[key] == (times, values), json.dumps(exported)


# URLs.


def test_a_url_says_where_and_its_description_no_secret() -> None:
    settings = parse("influxdbs://u%3A:p%40ss@[::1]:9/data%20base?api=3&retention=0&ca=/ca.pem")
    assert (settings.user, settings.password, settings.address) == ("u:", "p@ss", "https://[::1]:9")
    assert (settings.database, settings.api, settings.retention_h, settings.ca) == ("data base", 3, 0, "/ca.pem")
    assert "p@ss" not in repr(settings) + settings.place
    bucket = parse("influxdb://h?token=t0ken&org=o&bucket=b&retention=2d")
    assert (bucket.database, bucket.port, bucket.retention_h, bucket.token) == ("b", 8086, 48, "t0ken")
    assert "t0ken" not in repr(bucket)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("influxdb://h", "bucket="),
        ("influxdb:///db", "HOST:PORT"),
        ("influxdb://h:port/db", "host and port"),
        ("influxdb://h/db?api=4", "api is 1, 2 or 3"),
        ("influxdb://h/db?retention=9", "retention is such as 90d"),
        ("influxdb://h/db?colour=red", "'colour' is not understood"),
        ("influxdb://h/a/b", "DATABASE"),
        ("influxdb://h/db?token=%0Aevil", "printable"),
        ("influxdbs://h/db?ca=/nowhere", "holds no certificates"),
    ],
)
def test_a_url_that_is_not_understood_is_refused_without_its_secrets(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match=words):
        open_metric_store(url, data_dir=tmp_path)


def test_a_port_nobody_listens_on_is_no_error_at_the_start(tmp_path: Path) -> None:
    store = open_metric_store(f"influxdb://u:p@127.0.0.1:{free_port()}/db", data_dir=tmp_path)
    assert store is not None
    assert "u:p" not in store.description
