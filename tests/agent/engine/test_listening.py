"""What listening inputs have of the engine: addresses, sockets that outlive a reload, TLS, pausing, hostile peers."""

import asyncio
import socket
import ssl
from pathlib import Path
from random import Random

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from headrace.config import ConfigError
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.certificates import key_of, make_certificate
from tests.processes import eventually
from tests.servers import free_port

PIPELINE = """
service: {{flush: 0.05, grace: 1}}
pipeline:
  inputs:
    - {{name: tcp, tag: {tag}, listen: 127.0.0.1, port: {port}, format: none}}
    - {{name: udp, tag: {tag}, listen: 127.0.0.1, port: {port}, format: none}}
  outputs: [{{name: file, match: '*', file: {file}, format: plain, alias: {file}}}]
"""


async def say(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    await reader.read()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("name", ["tcp", "udp"])
async def test_a_port_in_use_is_named_with_its_address(plugins: PluginKit, name: str) -> None:
    kind = socket.SOCK_STREAM if name == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if name == "tcp":
            other.listen()
        port = other.getsockname()[1]
        plugin = plugins.make(inputs, name, listen="127.0.0.1", port=port)
        with pytest.raises(
            PluginError, match=rf"cannot listen on 127\.0\.0\.1:{port} \({name}\): Address already in use"
        ):
            await plugin.open()
        await plugin.close()
    assert len(plugins.resources) == 0


async def test_two_instances_at_one_address_are_a_fault_of_the_configuration(kit: EngineKit) -> None:
    text = PIPELINE.format(tag="a", port=free_port(), file="out")
    again = text.replace("    - {name: udp", "    - {name: tcp, listen: 127.0.0.1, port: 9}\n    - {name: udp")
    (kit.folder / "pipeline.yaml").write_text(again)
    async with kit.run(again):
        pass
    port = text.partition("port: ")[2].partition(",")[0]
    with pytest.raises(ConfigError, match=f"tcp 127.0.0.1:{port} is where 'tcp.0' listens"):
        async with kit.run(again.replace("port: 9}", f"port: {port}}}")):
            pass


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"port": 65536}, "property 'port': expected a port"),
        ({"port": 0, "net.backlog": 0}, "property 'net.backlog'"),
        ({"port": 0, "tls": True}, "property 'tls': needs 'tls.crt_file' and 'tls.key_file'"),
        ({"port": 0, "tls": True, "tls.crt_file": "c", "tls.key_file": "k", "tls.verify_client_cert": True}, "ca_file"),
    ],
)
def test_what_cannot_be_listened_with_is_refused(
    plugins: PluginKit, properties: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(inputs, "tcp", **{key.replace(".", "__"): value for key, value in properties.items()})


async def test_connections_of_an_unchanged_input_live_through_a_reload(kit: EngineKit) -> None:
    port = free_port()
    async with kit.run(PIPELINE.format(tag="a", port=port, file="one")) as engine:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"before\nhalf of ")
        await kit.has_lines("one", 1)
        assert await engine.reload(PIPELINE.format(tag="a", port=port, file="two"))
        writer.write(b"a line\n")
        assert await kit.has_lines("two", 1) == ['{"log":"half of a line"}']
        writer.close()
        await writer.wait_closed()


async def test_no_connection_is_refused_while_reloads_change_the_input(kit: EngineKit) -> None:
    """Nor is a line lost that was sent before the connection ended in order."""
    port, sent = free_port(), 0
    async with kit.run(PIPELINE.format(tag="t0", port=port, file="out")) as engine:
        for turn in range(20):
            change = asyncio.create_task(engine.reload(PIPELINE.format(tag=f"t{turn + 1}", port=port, file="out")))
            while not change.done():
                await asyncio.gather(*(say(port, b"%d\n" % number) for number in range(sent, sent + 5)))
                sent += 5
            assert change.result()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"by udp\n", ("127.0.0.1", port))
        await eventually(lambda: '{"log":"by udp"}' in kit.lines("out"))
    lines = kit.lines("out")
    assert sent >= 100
    assert sorted(lines) == sorted(['{"log":"by udp"}', *(f'{{"log":"{number}"}}' for number in range(sent))])


async def test_a_reload_to_a_port_in_use_leaves_the_old_listening(kit: EngineKit) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with kit.run(PIPELINE.format(tag="a", port=port, file="out")) as engine:
            assert not await engine.reload(PIPELINE.format(tag="a", port=taken, file="out"))
            assert f"cannot listen on 127.0.0.1:{taken}" in engine.engine.reloads.error
            await say(port, b"still here\n")
            assert await kit.has_lines("out", 1) == ['{"log":"still here"}']


async def test_what_has_arrived_is_taken_when_the_input_ends(plugins: PluginKit, sink: Sink) -> None:
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, format="none")
    held = asyncio.Event()

    class Slow(Sink):
        async def push(self, batch: object, ack: object = None) -> None:
            await sink.push(batch)  # type: ignore[arg-type]  # a batch
            held.set()
            await asyncio.Event().wait()  # the engine is full

    async with running_input(plugin, Slow()):
        _, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        writer.write(b"first\n")
        await held.wait()
        writer.write(b"second\nhalf")
        await writer.drain()
    assert sink.records == [{"log": "first"}, {"log": "second"}]
    writer.close()


async def test_a_paused_input_stops_reading_and_goes_on_later(kit: EngineKit) -> None:
    port = free_port()
    text = PIPELINE.format(tag="a", port=port, file="out").replace(
        "format: none}", "format: none, mem_buf_limit: 1k}", 1
    )
    (kit.folder / "out").mkdir()  # the output cannot write to it, and tries again
    text = text.replace("alias: out", "alias: out, retry_limit: no_limits").replace(
        "grace: 1", "grace: 1, scheduler.base: 1, scheduler.cap: 1"
    )
    async with kit.run(text) as engine:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        line, sent = b"x" * 999 + b"\n", 0
        writer.transport.set_write_buffer_limits(0)
        while True:
            writer.write(line * 100)
            sent += 100
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except TimeoutError:
                break
        taken = engine.metrics("input", "tcp.0").records
        assert taken < sent
        (kit.folder / "out").rmdir()
        writer.write_eof()
        assert len(await kit.has_lines("out", sent)) == sent
        writer.close()


async def test_a_record_longer_than_the_buffer_ends_its_connection_and_no_other(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, format="none", chunk_size="1", buffer_size="2")
    async with running_input(plugin, sink):
        other = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        reader, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        writer.write(b"whole\n" + b"x" * 3000)
        assert await reader.read() == b""
        other[1].write(b"other\n")
        assert await sink.take(2) == [{"log": "whole"}, {"log": "other"}]
        for _, closing in (other, (reader, writer)):
            closing.close()
    assert "a record is longer than buffer_size (2048 bytes)" in caplog.text


@pytest.mark.parametrize("format", ["json", "none"])
async def test_nonsense_from_many_clients_is_survived(plugins: PluginKit, sink: Sink, format: str) -> None:
    random = Random(11)
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, format=format)
    async with running_input(plugin, sink) as task:
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
            writer.write(random.randbytes(random.randrange(2000)) + random.choice([b"", b"\n", b'{"a":', b'[{"b":1}]']))
            if random.random() < 0.5:
                writer.write_eof()
                await reader.read()
            writer.close()
        await say(plugin.listener.port, b'\n["done"]\n')
        await eventually(lambda: {"msg": ["done"]} in sink.records or {"log": '["done"]'} in sink.records)
        assert not task.done()


async def test_tls_with_a_certificate_and_one_of_the_client(
    plugins: PluginKit, sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = make_certificate(tmp_path, "server", names="DNS:localhost")
    key = key_of(certificate)
    tls = {"tls": True, "tls__crt_file": str(certificate), "tls__key_file": str(key)}
    strict = {**tls, "tls__verify_client_cert": True, "tls__ca_file": str(certificate)}
    context = ssl.create_default_context(cafile=str(certificate))
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, **tls)
    async with running_input(plugin, sink):
        await secure_say(plugin.listener.port, context)
        assert await sink.take(1) == [{"a": 1}]
    plugin = plugins.make(inputs, "tcp", listen="127.0.0.1", port=0, **strict)
    async with running_input(plugin, sink):
        await secure_say(plugin.listener.port, context)
        await eventually(lambda: "could not be set up" in caplog.text)
        context.load_cert_chain(certificate, key)
        await secure_say(plugin.listener.port, context)
        assert await sink.take(2) == [{"a": 1}, {"a": 1}]


async def secure_say(port: int, context: ssl.SSLContext) -> None:
    """The server tells a client that it refuses its certificate after the handshake."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        writer.write(b'{"a":1}\n')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except OSError:
        pass


async def test_tls_files_that_cannot_be_used_are_named(plugins: PluginKit, tmp_path: Path) -> None:
    plugin = plugins.make(inputs, "tcp", port=0, tls=True, tls__crt_file="no.crt", tls__key_file="no.key")
    with pytest.raises(PluginError, match=r"TLS cannot be set up with no\.crt, no\.key: .*No such file"):
        await plugin.open()
