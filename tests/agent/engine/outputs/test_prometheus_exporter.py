"""A page of metrics: what is on it, what leaves it, and that a real Prometheus takes it."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from agent.engine.http_client import Connection
from agent.engine.plugin import PluginError, Result
from agent.engine.points import point, snapshot
from agent.engine.registry import outputs
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit
from tests.processes import eventually
from tests.servers import Prometheus, free_port


def gauges(source: str = "s.0", when: int = NOW, **values: float) -> Any:
    return snapshot("t", when, [point((name, "gauge", "", {}, value), source) for name, value in values.items()])


async def page(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
    try:
        answer = await connection.request(method, path, [("Host", "here")], b"")
    finally:
        connection.close()
    return answer.status, answer.body.decode()


def values(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


async def test_each_source_shows_its_newest_snapshot_with_the_labels_of_the_instance(plugins: PluginKit) -> None:
    port = free_port()
    output = plugins.make(outputs, "prometheus_exporter", host="127.0.0.1", port=port, add_label=["app x"])
    await output.open()
    assert await page(port) == (200, "")
    assert await output.write(gauges(a=1, b=2)) is Result.OK
    await output.write(gauges("other.0", c=3))
    assert values((await page(port))[1]) == ['a{app="x"} 1', 'b{app="x"} 2', 'c{app="x"} 3']
    await output.write(gauges(when=NOW + 1, b=4))
    assert values((await page(port))[1]) == ['b{app="x"} 4', 'c{app="x"} 3']
    await output.write(gauges("older.0", when=NOW, b=9))
    assert values((await page(port))[1]) == ['b{app="x"} 4', 'c{app="x"} 3']
    await output.close()
    with pytest.raises(OSError):
        await page(port)


async def test_times_are_shown_where_they_are_asked_for(plugins: PluginKit) -> None:
    port = free_port()
    output = plugins.make(outputs, "prometheus_exporter", host="127.0.0.1", port=port, add_timestamp=True)
    await output.open()
    await output.write(gauges(a=1))
    assert values((await page(port))[1]) == [f"a 1 {NOW // 1_000_000}"]
    await output.close()


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (200, "Fluent Bit Prometheus Exporter\n")),
        ("GET", "/x", (404, "")),
        ("POST", "/metrics", (405, "")),
    ],
)
async def test_other_requests_have_their_answer(
    plugins: PluginKit, method: str, path: str, expected: tuple[int, str]
) -> None:
    port = free_port()
    output = plugins.make(outputs, "prometheus_exporter", host="127.0.0.1", port=port)
    await output.open()
    assert await page(port, path, method) == expected
    await output.close()


async def test_an_address_that_is_taken_is_named(plugins: PluginKit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        output = plugins.make(outputs, "prometheus_exporter", host="127.0.0.1", port=port)
        with pytest.raises(PluginError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await output.open()
        await output.close()
    assert len(plugins.resources) == 0


PIPELINE = """
    service: {flush: 0.05, hot_reload: on}
    pipeline:
      inputs:
        - {name: fluentbit_metrics, tag: m, scrape_on_start: on, scrape_interval: 1}
        - {name: dummy, tag: d, rate: 50}
      outputs:
        - {name: prometheus_exporter, match: '*', host: 127.0.0.1, port: PORT, add_label: [app LABEL]}
        - {name: 'null', match: d}
"""


async def test_the_page_stays_up_over_a_reload_and_takes_over_its_address(kit: EngineKit) -> None:
    port = free_port()
    text = PIPELINE.replace("PORT", str(port))
    async with kit.run(text.replace("LABEL", "one")) as running:
        await eventually(_shows(port, 'app="one"'))
        assert await running.reload(text.replace("LABEL", "two"))
        await page(port)  # at once, before anything is measured again
        await eventually(_shows(port, 'fluentbit_uptime{app="two"'))
        await eventually(
            lambda: len(running.engine.pipeline.parts.outputs) == 2 and not running.engine.pipeline.retiring
        )
        assert 'app="one"' not in (await page(port))[1]


async def test_metrics_that_no_output_takes_are_told_once_and_hold_nothing_up(
    kit: EngineKit, caplog: pytest.LogCaptureFixture
) -> None:
    text = (
        PIPELINE.replace("PORT", str(free_port())).replace("match: '*'", "match: x").replace("match: d", "match: '*'")
    )
    async with kit.run(text.replace("'null'", "counter")) as running:
        await eventually(lambda: running.metrics("output", "counter.1").proc_records > 5)
        await eventually(lambda: "metrics of tag 'm' are dropped: none of counter.1 takes them" in caplog.text)
        assert not await running.stop()
    assert caplog.text.count("are dropped") == 1


def _shows(port: int, text: str) -> Any:
    async def shows() -> bool:
        return text in (await page(port))[1]

    return shows


async def test_a_real_prometheus_scrapes_the_page(kit: EngineKit, tmp_path: Path) -> None:
    port = free_port()
    with Prometheus.installed(tmp_path / "prometheus", port) as server:
        async with kit.run(PIPELINE.replace("PORT", str(port)).replace("LABEL", "edge")) as running:
            counted = 'fluentbit_input_records_total{name="dummy.1",app="edge"}'
            first = await eventually(lambda: server.value(f"{counted} > 10"), timeout=60)
            grown = await eventually(lambda: server.value(f"{counted} > {first}"), timeout=60)
            assert grown <= running.metrics("input", "dummy.1").records
            buckets = server.query("fluentbit_output_latency_seconds_bucket")
            assert {found["metric"]["le"] for found in buckets} >= {"0.5", "+Inf"}
            assert server.value("up") == 1
            assert server.metadata("fluentbit_output_latency_seconds")["type"] == "histogram"
            assert re.search("level=error|duplicate|out of order", server.log) is None
