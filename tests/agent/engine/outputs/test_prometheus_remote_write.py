"""Remote write: what is sent, what answers mean, and a real Prometheus that receives it, also after it was away."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.points import point, snapshot
from agent.engine.registry import outputs
from agent.engine.remote_write import write_request
from agent.engine.snappy import framed
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit
from tests.agent.engine.outputs.test_http import Server, serving
from tests.processes import eventually
from tests.servers import Prometheus

BATCH = snapshot("t", NOW, [point(("a", "gauge", "", {"x": "y"}, 1.5), "s")])


async def post(plugins: PluginKit, server: Server, **properties: Any) -> Result:
    own = {"host": "127.0.0.1", "port": server.port, **properties}
    plugin = plugins.make(outputs, "prometheus_remote_write", **own)
    await plugin.open()
    try:
        return await plugin.write(BATCH)
    finally:
        await plugin.close()
        await asyncio.sleep(0)


async def test_a_chunk_is_one_request_as_fluent_bit_sends_it(plugins: PluginKit) -> None:
    async with serving() as server:
        result = await post(
            plugins, server, uri="/api/v1/write", add_label="job x", header="X-A b", http_user="u", http_passwd="p"
        )
    assert result is Result.OK
    ((first, headers, body),) = server.requests
    assert first == "POST /api/v1/write HTTP/1.1"
    assert body == framed(write_request(BATCH, {"job": "x"}))
    assert headers == {
        "Authorization": "Basic dTpw",
        "Content-Encoding": "snappy",
        "Content-Length": str(len(body)),
        "Content-Type": "application/x-protobuf",
        "Host": f"127.0.0.1:{server.port}",
        "User-Agent": "Fluent-Bit",
        "X-A": "b",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }


async def test_the_body_can_be_gzip(plugins: PluginKit) -> None:
    async with serving() as server:
        await post(plugins, server, compression="gzip")
    ((_, headers, body),) = server.requests
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == write_request(BATCH, {})


@pytest.mark.parametrize(
    ("status", "result"),
    [(204, Result.OK), (400, Result.ERROR), (429, Result.RETRY), (500, Result.RETRY), (301, Result.RETRY)],
)
async def test_a_status_means_what_it_means_to_fluent_bit(plugins: PluginKit, status: int, result: Result) -> None:
    async with serving(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        assert await post(plugins, server) is result


def test_a_header_that_would_break_the_request_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="'header'"):
        plugins.make(outputs, "prometheus_remote_write", header="X:A b")


async def test_a_real_prometheus_has_every_record_counted_after_it_was_away(kit: EngineKit, tmp_path: Path) -> None:
    """Metrics that were measured while it was down are kept on disk, tried again, and are there with their times."""
    server = Prometheus.stopped(tmp_path / "prometheus")
    pipeline = f"""
        service: {{flush: 0.05, storage.path: store, scheduler.base: 1, scheduler.cap: 1}}
        pipeline:
          inputs:
            - {{name: dummy, tag: app, samples: 40, rate: 100, dummy: '{{"took": 0.3}}', storage.type: filesystem}}
          filters:
            - {{name: log_to_metrics, match: app, tag: m, metric_name: n, metric_description: Seen.}}
            - {{name: log_to_metrics, match: app, tag: m, metric_mode: histogram, metric_name: took, value_field: took,
               metric_description: Took., bucket: [0.1, 1]}}
          outputs:
            - {{name: 'null', match: app}}
            - {{name: prometheus_remote_write, match: m, host: 127.0.0.1, port: {server.port}, uri: /api/v1/write,
               add_label: job edge, retry_limit: no_limits}}
        """
    async with kit.run(pipeline) as running:
        await eventually(lambda: running.metrics("output", "null.0").proc_records == 40)
        await eventually(lambda: running.metrics("output", "prometheus_remote_write.1").retries > 0)
        with server.running():
            counted = 'log_metric_counter_n{job="edge"}'
            assert await eventually(lambda: server.value(f"{counted} == 40") == 40, timeout=60)
            assert server.value('log_metric_histogram_took_bucket{le="1.0"}') == 40
            assert server.value('log_metric_histogram_took_bucket{le="0.1"}') == 0
            assert server.value("log_metric_histogram_took_sum") == pytest.approx(12)
            assert server.value(f"count_over_time({counted}[5m])") > 1
            assert not await running.stop()
            assert "level=error" not in server.log
    assert running.metrics("output", "prometheus_remote_write.1").dropped_records == 0
