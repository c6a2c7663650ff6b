"""Scraping a page: what is read of it, what a bad server gives, and a real Prometheus's own page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.inputs.prometheus_scrape import PrometheusScrape, PrometheusScrapeConfig
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit, Sink, running_input
from tests.agent.engine.outputs.test_http import Server, serving
from tests.processes import eventually
from tests.servers import Prometheus, free_port

PAGE = '# HELP n Seen.\n# TYPE n counter\nn{a="b"} 3\nn{a="c"} 4 1772359200000\n'


def answer(text: str = PAGE, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


def make(plugins: PluginKit, server: Server, **properties: Any) -> Any:
    config = PrometheusScrapeConfig(host="127.0.0.1", port=server.port, **{"scrape_interval": 0.3, **properties})
    return PrometheusScrape(config, plugins.context("input", "prometheus_scrape"))


async def test_each_look_gives_the_points_of_the_page(plugins: PluginKit, sink: Sink) -> None:
    async with serving(answer()) as server:
        async with running_input(make(plugins, server, metrics_path="/m?x=1", bearer_token="secret"), sink):
            records = (await sink.take(4))[:4]
    batch = sink.batches[0]
    assert (batch.tag, batch.signal, batch.times) == ("tag", "metrics", [NOW, 1_772_359_200_000_000_000])
    assert batch.size > 0
    about = {"name": "n", "type": "counter", "help": "Seen.", "source": "prometheus_scrape.0"}
    assert records == 2 * [{**about, "labels": {"a": "b"}, "value": 3}, {**about, "labels": {"a": "c"}, "value": 4}]
    first, headers, _ = server.requests[0]
    assert first == "GET /m?x=1 HTTP/1.1"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (answer("no\n"), "line 1: 'no' is not a sample"),
        (answer(status="503 No"), "HTTP status=503"),
        (answer("# " + "x" * 2000), "more than 1024 bytes"),
        (b"nonsense\r\n\r\n", "is not HTTP"),
        (None, "closed the connection"),
    ],
)
async def test_a_page_that_cannot_be_had_is_told_and_the_next_look_is_another(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture, bad: bytes | None, why: str
) -> None:
    async with serving(bad, answer()) as server:
        async with running_input(make(plugins, server, buffer_max_size=1024), sink):
            await sink.take(2)
    assert "/metrics cannot be scraped: " in caplog.text
    assert why in caplog.text


async def test_a_server_that_does_not_answer_costs_one_look(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", answer()) as server:
        async with running_input(make(plugins, server), sink):
            await sink.take(2)
    assert "cannot be scraped: TimeoutError" in caplog.text


@pytest.mark.parametrize("properties", [{"metrics_path": "m"}, {"scrape_interval": "0"}, {"port": 0}])
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, Any]) -> None:
    with pytest.raises(InvalidProperty, match=f"'{next(iter(properties))}'"):
        plugins.make(inputs, "prometheus_scrape", **properties)


async def test_what_a_real_prometheus_says_of_itself_is_read_and_shown_to_it_again(
    kit: EngineKit, tmp_path: Path
) -> None:
    """A gauge, a counter, a histogram and a summary of its own page come back to it by ours."""
    port = free_port()
    with Prometheus.installed(tmp_path / "prometheus", port) as server:
        pipeline = f"""
            service: {{flush: 0.05}}
            pipeline:
              inputs:
                - {{name: prometheus_scrape, tag: p, host: 127.0.0.1, port: {server.port}, scrape_interval: 1}}
              outputs:
                - {{name: prometheus_exporter, match: '*', host: 127.0.0.1, port: {port}, add_label: via engine}}
            """
        async with kit.run(pipeline) as running:
            await eventually(lambda: running.metrics("output", "prometheus_exporter.0").proc_records > 100)
            for metric in (
                'prometheus_ready{via="engine"} == 1',  # a gauge
                'prometheus_http_requests_total{via="engine",handler="/-/ready",code="200"} > 0',  # a counter
                'prometheus_http_request_duration_seconds_bucket{via="engine",handler="/metrics",le="+Inf"} > 0',
                'go_gc_duration_seconds{via="engine",quantile="1"} >= 0',  # a summary
            ):
                assert await eventually(lambda metric=metric: server.value(metric) is not None, timeout=60, what=metric)
            assert "level=error" not in server.log
