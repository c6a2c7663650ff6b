"""The two outputs that tell of chunks: one counts, one stops the engine."""

import json

import pytest

from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit


def batch(count: int) -> Batch:
    return Batch("t", [1] * count, [{}] * count)


async def test_the_counter_prints_a_line_for_each_chunk(plugins: PluginKit, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = plugins.make(outputs, "counter")
    for count in (1, 3):
        await plugin.write(batch(count))
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["serialized_events"], line["log_records"], line["total"]) for line in lines] == [(1, 1, 1), (3, 3, 3)]


@pytest.mark.parametrize(
    ("properties", "stops_at"),
    [
        ({}, 1),
        ({"flush_count": 3}, 3),
        ({"record_count": 5}, 3),
        ({"flush_count": 9, "record_count": 2}, 1),
    ],
)
async def test_exit_stops_after_so_many_chunks_or_records(
    plugins: PluginKit, properties: dict[str, int], stops_at: int
) -> None:
    plugin = plugins.make(outputs, "exit", **properties)
    await plugin.open()
    for number in range(1, stops_at + 1):
        assert not plugins.stopped, number
        await plugin.write(batch(2))
    assert plugins.stopped == ["exit.0 has seen what it waited for"]
