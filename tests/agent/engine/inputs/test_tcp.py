"""Records over TCP. Golden cases `tcp_*` show what Fluent Bit makes of them, `test_listening.py` the connections."""

import asyncio
import re
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.registry import inputs
from headrace.config import ConfigError
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input

PARSERS = "- {name: js, format: json, time_key: t, time_format: '%s'}"


async def sent(plugin: Any, sink: Sink, *pieces: bytes) -> None:
    """All of it over one connection, which the input has then seen the end of."""
    async with running_input(plugin, sink):
        reader, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()


@pytest.mark.parametrize(
    ("properties", "data", "records"),
    [
        ({}, b'{"a":1}[1]', [{"a": 1, "from": "PEER"}, {"msg": [1], "from": "PEER"}]),
        ({}, b'{"from":"me"}', [{"from": "PEER"}]),
        ({"format": "none"}, b"a\n\nb\r\n", [{"log": "a"}, {"log": "b\r"}]),
        ({"format": "none", "separator": "\\t"}, b"a\nb\tc\t", [{"log": "a\nb"}, {"log": "c"}]),
        ({"parser": "js"}, b'{"t":"5","b":1}\nno\n', [{"b": 1, "from": "PEER"}, {"log": "no", "from": "PEER"}]),
        ({}, b'{"a":1} no {"b":2}', [{"a": 1, "from": "PEER"}]),
    ],
)
async def test_records_and_where_they_come_from(
    plugins: PluginKit, sink: Sink, properties: dict[str, Any], data: bytes, records: list[Any]
) -> None:
    """Text without a parser has no key for the sender, as in Fluent Bit."""
    plugin = plugins.make(
        inputs, "tcp", listen="127.0.0.1", port=0, source_address_key="from", parsers=PARSERS, **properties
    )
    await sent(plugin, sink, data)
    peers = {record["from"] for record in sink.records if "from" in record}
    assert all(re.fullmatch(r"tcp://127\.0\.0\.1:\d+", peer) for peer in peers)
    assert [{**record, "from": "PEER"} if "from" in record else record for record in sink.records] == records
    assert sum(batch.size for batch in sink.batches) <= len(data)


async def test_a_parser_gives_the_time(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, parser="js", parsers=PARSERS)
    await sent(plugin, sink, b'{"t":"17', b'72359200","b":1}\n')
    assert [batch.times for batch in sink.batches] == [[1_772_359_200_000_000_000]]


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"format": "xml"}, "'xml' is not one of json, none"),
        ({"separator": "\\x"}, "escape that is not known"),
        ({"separator": ""}, "expected at least one character"),
        ({"chunk_size": "1M"}, "'1M' is not a number of kilobytes"),
        ({"buffer_size": "0"}, "'0' is not a number of kilobytes"),
    ],
)
async def test_values_that_make_no_sense_are_refused(kit: EngineKit, properties: dict[str, str], message: str) -> None:
    given = "".join(f", {name}: '{value}'" for name, value in properties.items())
    with pytest.raises(ConfigError, match=message):
        async with kit.run(f"pipeline: {{inputs: [{{name: tcp, port: 0{given}}}]}}"):
            pass


def test_a_buffer_smaller_than_a_chunk_and_an_unknown_parser_are_refused(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="below 'chunk_size'"):
        plugins.make(inputs, "tcp", chunk_size="4", buffer_size="2")
    with pytest.raises(InvalidProperty, match=r"property 'parser': parser 'jss' is not defined; did you mean 'js'"):
        plugins.make(inputs, "tcp", parser="jss", parsers=PARSERS)
