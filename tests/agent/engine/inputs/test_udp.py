"""Records in datagrams. The golden cases `udp_*` show what Fluent Bit makes of them."""

import re
import socket
from random import Random

import pytest

from agent.engine.registry import inputs
from tests.agent.engine.conftest import PluginKit, Sink, running_input


def say(port: int, *datagrams: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for data in datagrams:
            client.sendto(data, ("127.0.0.1", port))


async def test_each_datagram_stands_alone_and_has_its_sender(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "udp", listen="127.0.0.1", port=0, source_address_key="from")
    async with running_input(plugin, sink):
        say(plugin.listener.port, b'{"a":', b'{"b":1}\n{"b":2}', b"", b"x", b"[3]")
        records = await sink.take(3)
    assert [{**record, "from": ""} for record in records] == [
        {"b": 1, "from": ""},
        {"b": 2, "from": ""},
        {"msg": [3], "from": ""},
    ]
    assert all(re.fullmatch(r"udp://127\.0\.0\.1:\d+", record["from"]) for record in records)


async def test_a_datagram_longer_than_the_buffer_is_cut(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "udp", listen="127.0.0.1", port=0, format="none", chunk_size="1")
    async with running_input(plugin, sink):
        say(plugin.listener.port, b"whole\n" + b"x" * 3000 + b"\nlost\n", b"next\n")
        assert await sink.take(2) == [{"log": "whole"}, {"log": "next"}]


@pytest.mark.parametrize("format", ["json", "none"])
async def test_nonsense_is_survived(plugins: PluginKit, sink: Sink, format: str) -> None:
    random = Random(13)
    plugin = plugins.make(inputs, "udp", listen="127.0.0.1", port=0, format=format)
    async with running_input(plugin, sink) as task:
        for _ in range(30):
            say(plugin.listener.port, *(random.randbytes(random.randrange(300)) for _ in range(10)))
            before = len(sink.records)
            say(plugin.listener.port, b'["done"]\n')
            await sink.take(before + 1)
        assert not task.done()
