"""The forward protocol, from sockets of ours and the fluent-logger package. Golden cases show Fluent Bit's records."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from hashlib import sha512
from pathlib import Path
from random import Random
from typing import Any

import msgpack
import pytest
from fluent.asyncsender import FluentSender as AsyncSender
from fluent.sender import FluentSender

from agent.engine.config import InvalidProperty
from agent.engine.forward_protocol import read_message
from agent.engine.registry import inputs
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.processes import eventually
from tests.servers import free_port

TIME = msgpack.ExtType(0, (1_772_359_200).to_bytes(4, "big") + (5).to_bytes(4, "big"))
EVENTS: list[Any] = [[1_772_359_200, {"a": 1}], [TIME, {"b": "x"}], [[TIME, {"m": 1}], {"c": None}]]
PACKED = b"".join(msgpack.packb(event) for event in EVENTS)
RECORDS = [{"a": 1}, {"b": "x"}, {"c": None}]


def make(plugins: PluginKit, **properties: Any) -> Any:
    return plugins.make(inputs, "forward", listen="127.0.0.1", port=0, **properties)


class Client:
    """A connection that packs and unpacks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._unpacker = msgpack.Unpacker()

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> Any:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield client
        finally:
            client.writer.close()

    def send(self, *messages: Any) -> None:
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else msgpack.packb(message))

    async def next(self) -> Any:
        """The next value that comes; None at the end."""
        while True:
            for value in self._unpacker:
                return value
            async with asyncio.timeout(20):
                data = await self.reader.read(65536)
            if not data:
                return None
            self._unpacker.feed(data)


@pytest.mark.parametrize(
    ("message", "chunk", "records"),
    [
        (["t", 1_772_359_200, {"a": 1}], None, [{"a": 1}]),
        (["t", 1_772_359_200.0, {"a": 1}], None, [{"a": 1}]),
        (["t", TIME, {"a": 2}, {"chunk": "c1"}], "c1", [{"a": 2}]),
        (["t", TIME, {"a": 2}, None], None, [{"a": 2}]),
        (["t", EVENTS], None, RECORDS),
        (["t", EVENTS, {"chunk": "c2", "size": 3}], "c2", RECORDS),
        (["t", PACKED, {"chunk": "c3"}], "c3", RECORDS),
        (["t", gzip.compress(PACKED), {"compressed": "gzip", "chunk": "c4"}], "c4", RECORDS),
        (["t", gzip.compress(PACKED[:9]) + gzip.compress(PACKED[9:])], None, RECORDS),
        (["t", []], None, []),
    ],
)
def test_messages_of_every_mode(message: Any, chunk: str | None, records: list[Any]) -> None:
    found = read_message(msgpack.packb(message), 10_000)
    assert (found.batch.tag, found.chunk, found.batch.records) == ("t", chunk, records)
    if records == RECORDS:
        assert found.batch.times == [1_772_359_200_000_000_000] + [1_772_359_200_000_000_005] * 2
        assert found.batch.metadata == [{}, {}, {"m": 1}]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (5, "no list that begins with a tag"),
        ([], "no list that begins with a tag"),
        (["t"], "no list that begins with a tag"),
        ([5, TIME, {}], "no list that begins with a tag"),
        (["t", TIME], "has no record"),
        (["t", TIME, 5], "no time with a record"),
        (["t", TIME, {}, 5], "options of a message are no map"),
        (["t", None], "has no events"),
        (["t", [5]], "no time with a record"),
        (["t", [[TIME, {"ok": 1}], ["x", {}]]], "an event has no time"),
        (["t", [[[], {}]]], "an event has no time"),
        (["t", [[True, {}]]], "an event has no time"),
        (["t", [[float("nan"), {}]]], "out of range"),
        (["t", [[2**63, {}]]], "out of range"),
        (["t", b"junk"], "no time with a record"),
        (["t", PACKED[:-1]], "cut off"),
        (["t", PACKED, {"chunk": 5}], "chunk of a message is no text"),
        (["t", PACKED, {"fluent_signal": 1}], "metrics and traces are not implemented"),
        (["t", gzip.compress(PACKED)[:-5], {"compressed": "gzip"}], "cut off"),
        (["t", gzip.compress(b"\xc0" * 20_000)], "more than 10000 bytes"),
        (["t", PACKED, {"compressed": "zstd"}], "zstd is not implemented"),
    ],
)
def test_a_message_that_is_none_is_refused_as_a_whole(message: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_message(msgpack.packb(message), 10_000)


@pytest.mark.parametrize(("properties", "tag"), [({}, "t"), ({"tag_prefix": "pre."}, "pre.t")], ids=["own", "prefixed"])
async def test_the_tag_is_the_senders(plugins: PluginKit, sink: Sink, properties: dict[str, Any], tag: str) -> None:
    plugin = make(plugins, **properties)
    async with running_input(plugin, sink), Client.to(plugin.listener.port) as client:
        client.send(["t", TIME, {"a": 1}])
        await sink.take(1)
    assert [batch.tag for batch in sink.batches] == [tag]


async def test_a_chunk_is_acknowledged_when_the_engine_has_answered_for_it_and_not_before(
    plugins: PluginKit, sink: Sink
) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink), Client.to(plugin.listener.port) as client:
        client.send(["t", TIME, {"n": 1}, {"chunk": "c1"}], ["t", TIME, {"n": 2}], ["t", PACKED, {"chunk": "c3"}])
        await sink.take(5)
        assert [ack is None for ack in sink.acks] == [False, True, False]
        sink.acks[2]()
        assert await client.next() == {"ack": "c3"}
        sink.acks[0]()
        assert await client.next() == {"ack": "c1"}


async def test_an_ended_input_still_acknowledges_what_it_took(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        reader, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        client = Client(reader, writer)
        client.send(["t", TIME, {"n": 1}, {"chunk": "c1"}])
        await sink.take(1)
        running = next(task for task in asyncio.all_tasks() if task.get_name() == "input under test")
        running.cancel()
        await asyncio.wait([running])
        sink.acks[0]()
        assert await client.next() == {"ack": "c1"}
        assert await client.next() is None
        writer.close()


async def test_acknowledgements_come_at_delivery_in_memory_and_at_once_on_disk(kit: EngineKit) -> None:
    port = free_port()
    text = """
        service: {{flush: 0.05, grace: 1, storage.path: chunks, scheduler.base: 1, scheduler.cap: 1}}
        pipeline:
          inputs: [{{name: forward, listen: 127.0.0.1, port: {port}, storage.type: {storage}}}]
          outputs: [{{name: file, match: '*', file: out, format: plain, retry_limit: no_limits}}]
        """
    (kit.folder / "out").mkdir()  # the output cannot write to it, and tries again
    async with kit.run(text.format(port=port, storage="memory")) as engine:
        async with Client.to(port) as client:
            client.send(["t", TIME, {"n": 1}, {"chunk": "c1"}])
            acknowledged = asyncio.create_task(client.next())
            await eventually(lambda: engine.metrics("output", "file.0").retries > 0)
            assert not acknowledged.done()
            (kit.folder / "out").rmdir()
            assert await acknowledged == {"ack": "c1"}
            assert kit.lines("out") == ['{"n":1}']
    (kit.folder / "out").rename(kit.folder / "first")
    (kit.folder / "out").mkdir()
    async with kit.run(text.format(port=port, storage="filesystem")):
        async with Client.to(port) as client:
            client.send(["t", TIME, {"n": 2}, {"chunk": "c2"}])
            assert await client.next() == {"ack": "c2"}
    (kit.folder / "out").rmdir()
    async with kit.run(text.format(port=port, storage="filesystem")):
        assert await kit.has_lines("out", 1) == ['{"n":2}']


async def test_a_sender_that_repeats_what_was_not_acknowledged_loses_nothing_over_reloads(kit: EngineKit) -> None:
    port, count = free_port(), 60
    text = """
        service: {{flush: 0.02, grace: 2}}
        pipeline:
          inputs: [{{name: forward, listen: 127.0.0.1, port: {port}, tag: t{turn}}}]
          outputs: [{{name: file, match: '*', file: out, format: plain}}]
        """
    refused = number = 0

    async def sender() -> None:
        nonlocal refused, number
        while number < count:
            try:
                async with Client.to(port) as client:
                    while number < count:
                        client.send(["t", TIME, {"n": number}, {"chunk": f"c{number}"}])
                        if await client.next() != {"ack": f"c{number}"}:
                            break
                        number += 1
            except ConnectionRefusedError:
                refused += 1
            except OSError:
                continue

    async with kit.run(text.format(port=port, turn=0)) as engine:
        sending, turn = asyncio.create_task(sender()), 0
        while not sending.done():
            turn, before = turn + 1, number
            assert await engine.reload(text.format(port=port, turn=turn))
            await eventually(lambda: number > before + 1 or sending.done())  # noqa: B023
        await sending
    numbers = set(kit.lines("out"))
    assert numbers == {f'{{"n":{number}}}' for number in range(count)}
    assert (refused, turn > 5) == (0, True)


def ping(helo: Any, key: str, user: str = "", password: str = "") -> list[Any]:
    about = {name: value.encode() if isinstance(value, str) else value for name, value in helo[1].items()}
    digest = sha512(b"salt" + b"me" + about["nonce"] + key.encode()).hexdigest()
    secret = sha512(about["auth"] + user.encode() + password.encode()).hexdigest() if about["auth"] else ""
    return ["PING", "me", "salt", digest, user, secret]


USERS = ["ann one", "bob two"]


@pytest.mark.parametrize(
    ("properties", "key", "user", "password", "why"),
    [
        ({"shared_key": "k"}, "k", "", "", ""),
        ({"shared_key": "k"}, "wrong", "", "", "shared_key mismatch"),
        ({"empty_shared_key": True}, "", "", "", ""),
        ({"shared_key": "k", "security__users": USERS}, "k", "bob", "two", ""),
        ({"shared_key": "k", "security__users": USERS}, "k", "bob", "one", "username/password mismatch"),
        ({"shared_key": "k", "security__users": USERS}, "k", "eve", "one", "username/password mismatch"),
    ],
)
async def test_a_handshake_lets_in_who_knows_the_key_and_a_password(
    plugins: PluginKit, sink: Sink, properties: dict[str, Any], key: str, user: str, password: str, why: str
) -> None:
    plugin = make(plugins, self_hostname="here", **properties)
    async with running_input(plugin, sink), Client.to(plugin.listener.port) as client:
        client._unpacker = msgpack.Unpacker(unicode_errors="surrogateescape")
        helo = await client.next()
        helo[1] = {
            name: v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for name, v in helo[1].items()
        }
        assert (helo[0], len(helo[1]["nonce"]), bool(helo[1]["auth"])) == ("HELO", 16, "security__users" in properties)
        client.send(ping(helo, key, user, password), ["t", TIME, {"a": 1}])
        pong = await client.next()
        own = sha512(b"salt" + b"here" + helo[1]["nonce"] + key.encode()).hexdigest()
        assert pong == (["PONG", False, why, "", ""] if why else ["PONG", True, "", "here", own])
        if why:
            assert await client.next() is None
        else:
            await sink.take(1)
    assert sink.records == ([] if why else [{"a": 1}])


async def test_without_the_handshake_nothing_is_taken(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins, shared_key="k")
    async with running_input(plugin, sink):
        for first in (["t", TIME, {"a": 1}], ["PING", 1, 2, 3, 4, 5], ["PING"], b"\xc1", b"\xdb\xff\xff\xff\xff"):
            async with Client.to(plugin.listener.port) as client:
                client.send(first)
                assert await client.reader.readexactly(6) == b"\x92\xa4HELO"
                assert b"PONG" not in await client.reader.read()
    assert sink.records == []


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"security__users": ["a b"]}, "property 'security.users': needs 'shared_key'"),
        ({"buffer_max_size": 0}, "property 'buffer_max_size'"),
    ],
)
def test_what_makes_no_sense_is_refused(plugins: PluginKit, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        make(plugins, **properties)


async def test_what_cannot_be_followed_ends_its_connection_and_is_named(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = make(plugins, buffer_max_size=1000)
    async with running_input(plugin, sink):
        for data in (
            b"nonsense",
            b"\xdd\xff\xff\xff\xff",
            msgpack.packb(["t", TIME, {"a": "x" * 2000}]),
            b"\x91" * 999 + b"\x00",
        ):
            async with Client.to(plugin.listener.port) as client:
                client.send(["t", TIME, {"before": 1}], data)
                assert await client.next() is None
    assert sink.records == [{"before": 1}] * 4
    assert "longer than 1000 bytes; the connection is closed" in caplog.text


async def test_nonsense_is_survived(plugins: PluginKit, sink: Sink) -> None:
    random = Random(29)
    seed = msgpack.packb(["t", EVENTS, {"chunk": "c"}]) + msgpack.packb(["t", gzip.compress(PACKED)])
    plugin = make(plugins)
    async with running_input(plugin, sink) as task:
        for _ in range(300):
            at, end = sorted(random.choices(range(len(seed)), k=2))
            async with Client.to(plugin.listener.port) as client:
                client.send(seed[:at] + random.randbytes(random.randrange(5)) + seed[end:])
                client.writer.write_eof()
                for ack in sink.acks:
                    if ack is not None:
                        ack()
                sink.acks.clear()
        async with Client.to(plugin.listener.port) as client:
            client.send(["t", TIME, {"done": 1}])
            await eventually(lambda: {"done": 1} in sink.records)
        assert not task.done()
        for ack in sink.acks:
            if ack is not None:
                ack()


@pytest.mark.parametrize("compress", ["text", "gzip"])
async def test_the_engines_own_output_sends_to_it(kit: EngineKit, compress: str) -> None:
    port = free_port()
    async with kit.run(f"""
        service: {{flush: 0.05, grace: 5}}
        pipeline:
          inputs:
            - {{name: dummy, tag: app, samples: 3, rate: 100, metadata: '{{"m":1}}'}}
            - {{name: forward, listen: 127.0.0.1, port: {port}, tag_prefix: got.,
               shared_key: k, security.users: bob two}}
          outputs:
            - {{name: forward, match: app, host: 127.0.0.1, port: {port}, require_ack_response: on,
                compress: {compress}, shared_key: k, username: bob, password: two}}
            - {{name: file, match: 'got.*', file: out, format: out_file}}
        """) as engine:
        lines = await kit.has_lines("out", 3)
        await eventually(lambda: engine.metrics("output", "forward.0").proc_records == 3)
    assert [line.partition(":")[0] for line in lines] == ["got.app"] * 3
    assert all(line.endswith('{"message":"dummy"}]') for line in lines)


@pytest.mark.parametrize("make_sender", [FluentSender, AsyncSender], ids=["at once", "from a queue"])
async def test_the_fluent_logger_package_sends_to_it(plugins: PluginKit, sink: Sink, make_sender: Any) -> None:
    plugin, count = make(plugins), 100

    def send() -> None:
        sender = make_sender("app", host="127.0.0.1", port=plugin.listener.port, nanosecond_precision=True)
        for number in range(count):
            assert sender.emit_with_time("web", 1_772_359_200 + number, {"n": number, "text": "ü"})
        sender.close()

    async with running_input(plugin, sink):
        await asyncio.to_thread(send)
        records = await sink.take(count)
    assert records == [{"n": number, "text": "ü"} for number in range(count)]
    assert {batch.tag for batch in sink.batches} == {"app.web"}
    assert [time // 10**9 for batch in sink.batches for time in batch.times] == [
        1_772_359_200 + n for n in range(count)
    ]


async def test_the_fluent_logger_package_sends_through_a_socket_in_the_file_system(
    plugins: PluginKit, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plugin = plugins.make(inputs, "forward", unix_path="sock", unix_perm="0600")

    def send() -> None:
        sender = FluentSender("app", host="unix://" + str(tmp_path / "sock"))
        assert sender.emit("x", {"a": 1})
        sender.close()

    async with running_input(plugin, sink):
        assert Path("sock").stat().st_mode & 0o777 == 0o600
        await asyncio.to_thread(send)
        assert await sink.take(1) == [{"a": 1}]
    assert not Path("sock").exists()
