"""Chunks into a TCP connection: which connection, and what a peer can do.

What is sent is compared in `golden/test_wire.py`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Output, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.processes import eventually

BATCH = Batch("app", [1_000_000_000], [{"a": 1}])
LINE = b'{"a":1}\n'


class Peer:
    """Keeps what each connection sent."""

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.received)
        self.received.append(bytearray())
        self.writers.append(writer)
        try:
            while data := await reader.read(65536):
                self.received[number] += data
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def connected(plugins: PluginKit, **properties: object) -> AsyncIterator[tuple[Peer, Output]]:
    peer = Peer()
    listener = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = listener.sockets[0].getsockname()[1]
    usual = {"host": "127.0.0.1", "port": peer.port, "format": "json_lines", "json_date_key": "false"}
    plugin = plugins.make(outputs, "tcp", **{**usual, **properties})
    await plugin.open()
    try:
        yield peer, plugin
    finally:
        await plugin.close()
        listener.close()
        for writer in peer.writers:
            writer.close()


async def test_chunks_go_through_one_connection(plugins: PluginKit) -> None:
    async with connected(plugins) as (peer, plugin):
        assert [await plugin.write(BATCH) for _ in range(3)] == [Result.OK] * 3
        await eventually(lambda: peer.received == [LINE * 3], what="three lines in one connection")


async def test_each_chunk_has_its_own_connection_where_none_is_kept(plugins: PluginKit) -> None:
    async with connected(plugins, net__keepalive=False) as (peer, plugin):
        assert [await plugin.write(BATCH) for _ in range(2)] == [Result.OK] * 2
        await eventually(lambda: peer.received == [LINE, LINE], what="two connections")


async def test_writes_at_the_same_time_do_not_share_a_connection(plugins: PluginKit) -> None:
    large = Batch("app", [1] * 1000, [{"a": "x" * 2000}] * 1000)
    async with connected(plugins) as (peer, plugin):
        assert await asyncio.gather(plugin.write(large), plugin.write(large)) == [Result.OK] * 2
        size = len(b'{"a":""}\n') + 2000
        await eventually(lambda: [len(data) for data in peer.received] == [size * 1000] * 2)


async def test_a_connection_that_the_peer_closed_is_replaced(plugins: PluginKit) -> None:
    async with connected(plugins) as (peer, plugin):
        assert await plugin.write(BATCH) == Result.OK
        await eventually(lambda: peer.received == [LINE])
        peer.writers[0].close()
        await peer.writers[0].wait_closed()
        await eventually(lambda: plugin._streams._idle[0].is_closed, what="the end has arrived")
        assert await plugin.write(BATCH) == Result.OK
        await eventually(lambda: peer.received == [LINE, LINE], what="the line in a new connection")


async def test_a_peer_that_is_away_is_tried_again(plugins: PluginKit, caplog: pytest.LogCaptureFixture) -> None:
    async with connected(plugins) as (peer, _):
        pass
    plugin = plugins.make(outputs, "tcp", host="127.0.0.1", port=peer.port)
    await plugin.open()
    assert await plugin.write(BATCH) == Result.RETRY
    assert f"could not deliver to 127.0.0.1:{peer.port}" in caplog.text
    await plugin.close()


async def test_a_peer_that_resets_while_a_chunk_is_written_gets_it_again(plugins: PluginKit) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    plugin = plugins.make(outputs, "tcp", host="127.0.0.1", port=port)
    await plugin.open()
    large = Batch("app", [1] * 1000, [{"a": "x" * 20_000}] * 1000)
    assert await plugin.write(large) == Result.RETRY
    await plugin.close()
    listener.close()


@pytest.mark.parametrize("properties", [{"port": 0}, {"raw_message_key": "$a['"}, {"port": 65536}])
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, object]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(outputs, "tcp", **properties)
