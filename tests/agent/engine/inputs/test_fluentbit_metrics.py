"""The engine's own metrics as records of another signal."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.inputs.fluentbit_metrics import FluentbitMetrics, FluentbitMetricsConfig
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, EngineKit, PluginKit, Sink, running_input


async def test_a_look_gives_every_sample_and_counts_itself(plugins: PluginKit, sink: Sink) -> None:
    context = replace(
        plugins.context("input", "m"), own_metrics=lambda: [("fluentbit_x", "gauge", "Help.", {"name": "a"}, 1.5)]
    )
    config = FluentbitMetricsConfig(scrape_on_start=True, scrape_interval=1000)
    async with running_input(FluentbitMetrics(config, context), sink):
        await sink.take(2)
    (batch,) = sink.batches
    assert (batch.signal, batch.times) == ("metrics", [NOW, NOW])
    assert [(r["name"], r["labels"], r["value"]) for r in batch.records] == [
        ("fluentbit_x", {"name": "a"}, 1.5),
        ("fluentbit_input_metrics_scrapes_total", {"name": "m.0"}, 1),
    ]


def test_an_interval_of_nothing_is_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(inputs, "fluentbit_metrics", scrape_interval="0s")


PIPELINE = """
    service: {flush: 0.05, storage.path: store, storage.type: STORAGE}
    pipeline:
      inputs:
        - {name: fluentbit_metrics, tag: m, scrape_on_start: on, scrape_interval: 1}
        - {name: dummy, tag: m, rate: 100}
      filters: [{name: modify, match: '*', add: k v}]
      outputs:
        - {name: file, match: '*', file: out, format: plain}
        - {name: http, match: '*', port: 9, retry_limit: no_limits}
"""


@pytest.mark.parametrize("storage", ["memory", "filesystem"])
async def test_metrics_go_past_the_filters_to_outputs_that_take_them(kit: EngineKit, storage: str) -> None:
    async with kit.run(PIPELINE.replace("STORAGE", storage).replace(", {name: dummy", "")) as running:
        async with asyncio.timeout(20):
            while not any("fluentbit_uptime" in line for line in kit.lines("out")):
                await kit.has_lines("out", len(kit.lines("out")) + 1)
        assert running.metrics("input", "fluentbit_metrics.0").records == 0
        await running.stop()
    lines = kit.lines("out")
    samples = [line for line in lines if not line.startswith("{")]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z fluentbit_\w+(\{.*\})? = [-\d.e]+", s) for s in samples
    )
    assert any(re.search(r'fluentbit_filter_records_total\{name="modify\.0"\} = \d+$', sample) for sample in samples)
    assert {line for line in lines if line.startswith("{")} == {'{"message":"dummy","k":"v"}'}
