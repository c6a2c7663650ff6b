"""Sample records."""

import asyncio

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input


async def test_it_makes_so_many_samples_and_ends(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "dummy", dummy='{"a":{"b":1}}', samples=3, rate=1000)
    async with running_input(plugin, sink) as task:
        await asyncio.wait_for(task, 10)
    assert sink.records == [{"a": {"b": 1}}] * 3
    assert [batch.times for batch in sink.batches] == [[NOW]] * 3
    assert [batch.tag for batch in sink.batches] == ["tag"] * 3


async def test_records_are_not_shared(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "dummy", dummy='{"a":{"b":1}}', samples=1, copies=2, rate=1000)
    async with running_input(plugin, sink) as task:
        await asyncio.wait_for(task, 10)
    sink.records[0]["a"]["b"] = 2
    assert sink.records[1] == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("properties", "when"),
    [
        ({"fixed_timestamp": True}, NOW),
        ({"start_time_sec": 5, "start_time_nsec": 7}, 5_000_000_007),
        ({"start_time_sec": 5, "start_time_nsec": 7, "fixed_timestamp": True}, 5_000_000_007),
        ({"start_time_nsec": 9}, 9),
    ],
)
async def test_times_start_where_they_are_told(
    plugins: PluginKit, sink: Sink, properties: dict[str, object], when: int
) -> None:
    plugin = plugins.make(inputs, "dummy", samples=1, interval_nsec=1, **properties)
    async with running_input(plugin, sink) as task:
        await asyncio.wait_for(task, 10)
    assert sink.batches[0].times == [when]


async def test_metadata_goes_with_each_record(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "dummy", samples=1, rate=1000, metadata='{"m":1}', flush_on_startup=True)
    async with running_input(plugin, sink) as task:
        await asyncio.wait_for(task, 10)
    assert sink.batches[0].metadata == [{"m": 1}]


@pytest.mark.parametrize(
    "properties", [{"dummy": "{"}, {"dummy": "[1]"}, {"metadata": "x"}, {"rate": 0}, {"samples": -1}, {"copies": 0}]
)
def test_what_is_no_sample_is_refused(plugins: PluginKit, properties: dict[str, object]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(inputs, "dummy", **properties)
