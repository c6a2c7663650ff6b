"""Lines of standard input."""

import os
from collections.abc import Iterator

import pytest

from agent.engine.inputs import stdin as module
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that stands for standard input."""
    reading, writing = os.pipe()

    class Stdin:
        def fileno(self) -> int:
            return reading

    monkeypatch.setattr(module.sys, "stdin", Stdin())
    yield writing
    os.close(reading)


async def test_objects_and_timed_objects_are_taken_and_the_end_stops_the_engine(
    plugins: PluginKit, sink: Sink, pipe: int
) -> None:
    plugin = plugins.make(inputs, "stdin")
    async with running_input(plugin, sink) as task:
        os.write(pipe, b'{"a":1}\n[2.5,{"b":2}]\nno json\n\n{"c"')
        await sink.take(2)
        os.write(pipe, b":3}")
        os.close(pipe)
        await task
    assert sink.records == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert [time for batch in sink.batches for time in batch.times] == [NOW, 2_500_000_000, NOW]
    assert plugins.stopped == ["standard input ended"]


async def test_a_parser_takes_lines_apart(plugins: PluginKit, sink: Sink, pipe: int) -> None:
    plugin = plugins.make(inputs, "stdin", parsers="- {name: kv, format: logfmt}", parser="kv")
    async with running_input(plugin, sink) as task:
        os.write(pipe, b"a=1\nb=2\n")
        os.close(pipe)
        await task
    assert sink.records == [{"a": "1"}, {"b": "2"}]


async def test_a_line_beyond_the_buffer_is_left_out(plugins: PluginKit, sink: Sink, pipe: int) -> None:
    plugin = plugins.make(inputs, "stdin", buffer_size=100)
    async with running_input(plugin, sink) as task:
        os.write(pipe, b'{"long":"' + b"x" * 1000)
        os.write(pipe, b'"}\n{"a":1}\n')
        os.close(pipe)
        await task
    assert {"a": 1} in sink.records
    assert not any("long" in record for record in sink.records)
