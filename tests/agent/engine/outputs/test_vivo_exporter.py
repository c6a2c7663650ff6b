"""Newest records over HTTP: the same documents and headers as Fluent Bit's, ids to go on from, bounds, browsers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.config import InvalidProperty
from agent.engine.outputs.vivo_exporter import Queue, VivoExporter
from agent.engine.plugin import PluginError, Result
from agent.engine.points_document import points_documents
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import EngineKit, PluginKit
from tests.agent.engine.golden.requests import golden, metrics, traces
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import Program, eventually
from tests.servers import free_port, is_listening

PIPELINE = """
service: {{flush: 0.2, grace: 1}}
pipeline:
  inputs:
    - name: dummy
      alias: src
      tag: app.log
      dummy: '{{"message": "é", "n": 1}}'
      metadata: '{{"m": 1}}'
      start_time_sec: 5
      start_time_nsec: 7
      fixed_timestamp: on
      samples: 1
  outputs:
    - {{name: vivo_exporter, match: '*', host: 127.0.0.1, port: {port}, http_cors_allow_origin: 'http://ui'}}
"""
DOCUMENT = (
    '{"source_type":"dummy","source_name":"src","tag":"app.log",'
    '"records":[[[5000000007,{"m":1}],{"message":"\\u00e9","n":1}]]}\n'
)
"""What Fluent Bit 5.1.1 answered to the pipeline."""
HEADERS = {
    "content-type": "application/json",
    "access-control-allow-origin": "http://ui",
    "access-control-allow-headers": "Origin, X-Requested-With, Content-Type, Accept",
    "access-control-expose-headers": "vivo-stream-start-id, vivo-stream-end-id, vivo-stream-next-id",
    "vivo-stream-next-id": "1",
    "vivo-stream-start-id": "0",
    "vivo-stream-end-id": "0",
    "content-length": str(len(DOCUMENT)),
}
"""And with these headers, besides those that name the server."""


async def get(
    port: int, path: str = "/api/v1/logs", *, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)

    def ask() -> tuple[int, dict[str, str], str]:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()

    return await asyncio.to_thread(ask)


@asynccontextmanager
async def exporting(plugins: PluginKit, **properties: Any) -> AsyncIterator[VivoExporter]:
    plugin = plugins.make(outputs, "vivo_exporter", **{"host": "127.0.0.1", "port": 0, **properties})
    await plugin.open()
    try:
        yield plugin
    finally:
        await plugin.close()


async def kept(plugin: VivoExporter, *numbers: int) -> None:
    for number in numbers:
        assert await plugin.write(Batch("app", [number], [{"n": number}])) == Result.OK


def numbers_in(body: str) -> list[int]:
    return [json.loads(line)["records"][0][1]["n"] for line in body.splitlines()]


async def test_an_engine_shows_what_fluent_bit_showed(kit: EngineKit) -> None:
    port = free_port()
    async with kit.run(PIPELINE.format(port=port)):

        async def filled() -> tuple[int, dict[str, str], str] | None:
            answer = await get(port)
            return answer if answer[2] else None

        status, headers, body = await eventually(filled)
        assert (status, body) == (200, DOCUMENT)
        assert headers.items() >= HEADERS.items()
        assert set(headers) - set(HEADERS) == {"connection"}, "as the client asked for"
        assert (await get(port, "/"))[2] == "Fluent Bit Vivo Exporter\n"
        assert (await get(port, "/logs"))[0] == 404
        for path in ("/api/v1/metrics", "/api/v1/traces"):
            status, headers, body = await get(port, path)
            assert (status, body, headers["vivo-stream-next-id"]) == (200, "", "0")


@needs_fluent_bit
async def test_fluent_bit_shows_what_is_kept_here(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "p.yaml").write_text(PIPELINE.format(port=port))
    command = [FLUENT_BIT, "-c", tmp_path / "p.yaml"]
    with Program(command, folder=tmp_path, name="fluent-bit") as program:
        await asyncio.to_thread(program.wait_for, lambda: is_listening(port))

        async def filled() -> tuple[int, dict[str, str], str] | None:
            answer = await get(port)
            return answer if answer[2] else None

        status, headers, body = await eventually(filled)
    assert (status, body) == (200, DOCUMENT)
    assert headers.items() >= HEADERS.items()


async def test_what_is_kept_stays_over_a_reload(kit: EngineKit) -> None:
    port = free_port()
    async with kit.run(PIPELINE.format(port=port)) as running:

        async def is_filled() -> bool:
            return bool((await get(port))[2])

        await eventually(is_filled)
        changed = PIPELINE.replace("samples: 1", "samples: 1\n      copies: 1").replace("http://ui", "http://other")
        assert await running.reload(changed.format(port=port))
        _, headers, body = await get(port)
        assert body.startswith(DOCUMENT)
        assert headers["access-control-allow-origin"] == "http://other"


@pytest.mark.parametrize(
    ("query", "numbers", "ids"),
    [
        ("", [0, 1, 2, 3, 4], ("0", "4")),
        ("?", [0, 1, 2, 3, 4], ("0", "4")),
        ("?from=3", [3, 4], ("3", "4")),
        ("?from=1&to=3", [1, 2, 3], ("1", "3")),
        ("?to=0", [0], ("0", "0")),
        ("?limit=2", [0, 1], ("0", "1")),
        ("?limit=0", [0, 1, 2, 3, 4], ("0", "4")),
        ("?from=2&limit=1&other=x", [2], ("2", "2")),
        ("?from=5", [], None),
        ("?from=9&to=3", [], None),
    ],
)
async def test_a_reader_goes_on_from_where_it_was(
    plugins: PluginKit, query: str, numbers: list[int], ids: tuple[str, str] | None
) -> None:
    async with exporting(plugins) as plugin:
        await kept(plugin, 0, 1, 2, 3, 4)
        status, headers, body = await get(plugin.port, f"/api/v1/logs{query}")
    assert (status, numbers_in(body)) == (200, numbers)
    assert headers["vivo-stream-next-id"] == "5"
    found = headers.get("vivo-stream-start-id"), headers.get("vivo-stream-end-id")
    assert found == (ids or (None, None))


async def test_each_signal_has_a_stream_of_its_own(plugins: PluginKit) -> None:
    spans, points = traces(golden("traces.json"), is_json=True), metrics(golden("metrics.json"), is_json=True)
    async with exporting(plugins) as plugin:
        await kept(plugin, 5)
        for batch in (spans, points, points):
            assert await plugin.write(batch) == Result.OK
        pages = {signal: await get(plugin.port, f"/api/v1/{signal}") for signal in ("logs", "metrics", "traces")}
    assert pages["traces"][2] == golden("traces.page").decode(), "to the byte"
    assert [json.loads(line) for line in pages["metrics"][2].splitlines()] == 2 * list(points_documents(points))
    assert numbers_in(pages["logs"][2]) == [5]
    assert [pages[signal][1]["vivo-stream-next-id"] for signal in pages] == ["1", "2", "1"]


@pytest.mark.parametrize("query", ["from=x", "to=-1", "limit=", "from=1.5", "from=" + "9" * 30, "to=²"])
async def test_a_query_that_is_no_number_is_refused(plugins: PluginKit, query: str) -> None:
    async with exporting(plugins) as plugin:
        status, _, body = await get(plugin.port, f"/api/v1/logs?{urllib.request.quote(query, safe='=')}")
    assert status == 400
    assert "is not a number from 0 on" in json.loads(body)["error"]


async def test_the_oldest_go_where_there_is_no_room(plugins: PluginKit) -> None:
    async with exporting(plugins) as probe:
        await kept(probe, 1)
        size = len((await get(probe.port))[2])
    async with exporting(plugins, stream_queue_size=size * 3) as plugin:
        await kept(plugin, 1, 2, 3, 4, 5)
        _, headers, body = await get(plugin.port)
        assert numbers_in(body) == [3, 4, 5]
        assert headers["vivo-stream-start-id"] == "2"
        assert await plugin.write(Batch("app", [9], [{"n": 9, "x": "x" * size * 9}])) == Result.OK
        assert numbers_in((await get(plugin.port))[2]) == [9], "one that is too large is kept alone"


async def test_what_was_read_is_forgotten_and_nothing_else(plugins: PluginKit) -> None:
    async with exporting(plugins, empty_stream_on_read=True) as plugin:
        await kept(plugin, 0, 1, 2, 3)
        assert (await get(plugin.port, method="HEAD"))[1]["vivo-stream-end-id"] == "3"
        assert numbers_in((await get(plugin.port, "/api/v1/logs?limit=2"))[2]) == [0, 1]
        assert numbers_in((await get(plugin.port))[2]) == [2, 3]
        _, headers, body = await get(plugin.port)
        assert (body, headers["vivo-stream-next-id"]) == ("", "4")


async def test_a_page_in_a_browser_reads_only_where_it_may(plugins: PluginKit) -> None:
    async with exporting(plugins) as plugin:
        status, headers, _ = await get(plugin.port, Origin="http://ui")
        assert status == 403
        assert "access-control-allow-origin" not in headers
    async with exporting(plugins, http_cors_allow_origin="http://ui") as plugin:
        assert (await get(plugin.port, Origin="http://ui"))[0] == 200
        assert (await get(plugin.port, Origin="http://elsewhere"))[0] == 403
        status, headers, body = await get(plugin.port, method="OPTIONS", Origin="http://ui")
        assert (status, body, headers["access-control-allow-origin"]) == (200, "", "http://ui")
        assert (await get(plugin.port, method="POST", Origin="http://ui"))[0] == 405
    async with exporting(plugins, http_cors_allow_origin="*") as plugin:
        assert (await get(plugin.port, Origin="http://elsewhere"))[0] == 200


async def test_a_port_that_is_taken_says_so(plugins: PluginKit) -> None:
    listener = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    plugin = plugins.make(outputs, "vivo_exporter", host="127.0.0.1", port=port)
    with pytest.raises(PluginError, match=f"cannot listen on 127.0.0.1:{port}"):
        await plugin.open()
    listener.close()
    assert len(plugins.resources) == 0


@pytest.mark.parametrize("properties", [{"port": 65536}, {"http_cors_allow_origin": "a\r\nX-B: c"}])
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, Any]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(outputs, "vivo_exporter", **properties)


@given(st.integers(0, 40), st.lists(st.binary(min_size=1, max_size=15), max_size=30))
def test_a_queue_keeps_the_newest_that_fit(limit: int, entries: list[bytes]) -> None:
    queue = Queue(limit)
    for data in entries:
        queue.append(data)
    found = queue.read()
    assert queue.next_id == len(entries)
    assert found == list(enumerate(entries))[len(entries) - len(found) :]
    size = sum(len(data) for _, data in found)
    assert size <= limit or len(found) == 1
    if entries:
        assert found, "the newest is always there"
