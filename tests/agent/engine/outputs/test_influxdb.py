"""Points for InfluxDB: what a real one holds afterwards, and what answers mean.

What is sent is compared in `golden/test_wire.py`.
"""

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.agent.engine.golden.wire import delivered
from tests.influxd import Influxd

BATCH = Batch("app", [1_000_000_000], [{"a": 1}])


async def write(plugins: PluginKit, server: Influxd, *batches: Batch, **properties: object) -> list[Result]:
    plugin = plugins.make(outputs, "influxdb", host="127.0.0.1", port=server.port, database="logs", **properties)
    await plugin.open()
    try:
        return [await plugin.write(batch) for batch in batches]
    finally:
        await plugin.close()


async def test_a_real_influxdb_holds_what_was_written(plugins: PluginKit, influxd: Influxd) -> None:
    influxd.query("CREATE DATABASE logs")
    records = [
        {"host": "a b,c=d", "text": 'é "q" \\\n', "n": 5, "f": 1.5, "ok": True, "none": None, "list": [1], "k ,=": ""},
        {"host": "", "n": 6, "nan": float("nan")},
        {"host": "alone"},
        {"n": 7},
    ]
    batch = Batch("app, one", [1_000_000_000] * 4, records)
    properties = {"tag_keys": "host", "add_integer_suffix": True}
    assert await write(plugins, influxd, batch, **properties) == [Result.OK]
    (series,) = influxd.query('SELECT * FROM "app, one"', database="logs")
    rows = [
        {name: value for name, value in zip(series["columns"], row, strict=True) if value is not None}
        for row in series["values"]
    ]
    text = '\\u00e9 \\"q\\" \\\\\\n'
    assert rows == [
        {"time": 10**9, "_seq": "0", "host": "a b,c=d", "text": text, "n": 5, "f": 1.5, "ok": True, "k ,=": ""},
        {"time": 10**9 + 1, "_seq": "1", "n": 6},
        {"time": 10**9 + 2, "_seq": "3", "n": 7},
    ]


async def test_records_of_one_time_do_not_replace_each_other_in_a_real_influxdb(
    plugins: PluginKit, influxd: Influxd
) -> None:
    influxd.query("CREATE DATABASE logs")
    batch = Batch("app", [5_000] * 1000, [{"n": n} for n in range(1000)])
    assert await write(plugins, influxd, batch, batch, sequence_tag="off") == [Result.OK] * 2
    (series,) = influxd.query("SELECT count(n), max(n) FROM app", database="logs")
    assert series["values"][0][1:] == [2000, 999]


async def test_a_real_influxdb_that_has_no_such_database_refuses_the_chunk(
    plugins: PluginKit, influxd: Influxd, caplog: pytest.LogCaptureFixture
) -> None:
    assert await write(plugins, influxd, BATCH) == [Result.ERROR]
    assert "HTTP status=404" in caplog.text
    assert "database not found" in caplog.text


async def test_a_real_influxdb_that_comes_back_gets_the_chunk_again(plugins: PluginKit, influxd: Influxd) -> None:
    influxd.query("CREATE DATABASE logs")
    influxd.kill()
    assert await write(plugins, influxd, BATCH) == [Result.RETRY]
    influxd.start()
    assert await write(plugins, influxd, BATCH) == [Result.OK]
    assert influxd.query("SELECT a FROM app", database="logs")[0]["values"] == [[1_000_000_000, 1]]


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.OK),
        (204, Result.OK),
        (201, Result.RETRY),
        (400, Result.ERROR),
        (401, Result.ERROR),
        (404, Result.ERROR),
        (408, Result.RETRY),
        (429, Result.RETRY),
        (503, Result.RETRY),
    ],
)
async def test_an_answer_is_not_taken_for_a_delivery(plugins: PluginKit, status: int, result: Result) -> None:
    results, _ = await delivered("influxdb", [BATCH], plugins, answers=[{"status": status}])
    assert results == [result]


async def test_a_chunk_without_any_field_is_done_with(plugins: PluginKit) -> None:
    batch = Batch("app", [1, 2], [{}, {"a": None, "t": "x"}])
    results, sent = await delivered("influxdb", [batch], plugins, auto_tags=True)
    assert (results, sent) == ([Result.OK], [])


async def test_the_sequence_starts_again(plugins: PluginKit) -> None:
    batch = Batch("app", [0] * 100_001, [{"a": 1}] * 100_001)
    _, (request,) = await delivered("influxdb", [batch], plugins)
    numbers = [int(line.partition("=")[2].partition(" ")[0]) for line in request["body"].splitlines()]
    assert numbers == [*range(100_000), 0]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"uri": "write"}, r"uri.*starts with '/'"),
        ({"uri": "/write?db=a b"}, r"uri.*without spaces"),
        ({"http_header": "X-A a\nb"}, "'X-A' is not a header"),
        ({"http_token": "a\nb"}, "'Authorization' is not a header"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(outputs, "influxdb", **properties)


async def test_names_of_a_database_are_quoted(plugins: PluginKit) -> None:
    _, (request,) = await delivered("influxdb", [BATCH], plugins, bucket="a b&c", org="ö")
    assert request["request"] == "POST /api/v2/write?org=%C3%B6&bucket=a%20b%26c&precision=ns HTTP/1.1"
