"""Forward protocol: acknowledgements, the handshake, Unix sockets, and the real Fluent Bit on both ends.

What is sent is compared in `golden/test_wire.py`.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.agent.engine.receiver import Receiver
from tests.fluent_bit import FLUENT_BIT, needs_fluent_bit
from tests.processes import Program, eventually
from tests.servers import free_port, is_listening

BATCH = Batch("app", [1_500_000_000, 2_000_000_000], [{"a": 1}, {"b": "é", "c": [None, {"d": 2.5}]}])
EVENTS = [("app", 1.5, {"a": 1}), ("app", 2.0, {"b": "é", "c": [None, {"d": 2.5}]})]


async def write(plugins: PluginKit, receiver: Receiver, *batches: Batch, **properties: Any) -> list[Result]:
    where = {} if "unix_path" in properties else {"host": "127.0.0.1", "port": receiver.port}
    plugin = plugins.make(outputs, "forward", **where, **properties)
    await plugin.open()
    try:
        return [await plugin.write(batch) for batch in batches]
    finally:
        await plugin.close()


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"send_options": True},
        {"compress": "gzip"},
        {"require_ack_response": True},
        {"require_ack_response": True, "compress": "gzip"},
        {"shared_key": "secret", "require_ack_response": True},
        {"empty_shared_key": True},
    ],
)
async def test_a_receiver_gets_every_event(plugins: PluginKit, properties: dict[str, Any]) -> None:
    key = "" if "empty_shared_key" in properties else properties.get("shared_key")
    async with Receiver(key=key).listening() as receiver:
        assert await write(plugins, receiver, BATCH, BATCH, **properties) == [Result.OK] * 2
        await eventually(lambda: receiver.events == EVENTS * 2)
    assert receiver.connections == 1
    assert receiver.handshakes == (key is not None)


async def test_a_tag_of_keys_makes_messages_that_are_acknowledged_one_by_one(plugins: PluginKit) -> None:
    async with Receiver().listening() as receiver:
        properties = {"tag": "x.$a", "require_ack_response": True, "time_as_integer": True}
        assert await write(plugins, receiver, BATCH, **properties) == [Result.OK]
    assert receiver.events == [("x.1", 1, {"a": 1}), ("x.", 2, EVENTS[1][2])]
    assert len({options["chunk"] for options in receiver.options}) == 2


async def test_metadata_travels_with_a_message(plugins: PluginKit) -> None:
    async with Receiver().listening() as receiver:
        batch = Batch("app", [1, 2], [{"a": 1}, {"a": 2}], [{"m": 1}, {}])
        await write(plugins, receiver, batch, tag="x.$a")
        await eventually(lambda: len(receiver.events) == 2)
    assert [options.get("metadata") for options in receiver.options] == [{"m": 1}, None]


@pytest.mark.parametrize("answer", [{"ack": "another"}, {}, {"ack": 5}, [1], "no", b"\xc1"])
async def test_a_chunk_that_is_not_acknowledged_is_sent_again(plugins: PluginKit, answer: Any) -> None:
    async with Receiver().listening() as receiver:
        receiver.ack = answer
        assert await write(plugins, receiver, BATCH, require_ack_response=True) == [Result.RETRY]


async def test_a_receiver_that_goes_away_in_place_of_an_acknowledgement_gets_the_same_chunk_again(
    plugins: PluginKit,
) -> None:
    async with Receiver().listening() as receiver:
        receiver.acknowledges = False
        assert await write(plugins, receiver, BATCH, require_ack_response=True) == [Result.RETRY]
        receiver.acknowledges = True
        assert await write(plugins, receiver, BATCH, require_ack_response=True) == [Result.OK]
    assert receiver.events == EVENTS * 2
    assert receiver.options[0]["chunk"] == receiver.options[1]["chunk"]


async def test_users_are_proved_by_their_password(plugins: PluginKit, caplog: pytest.LogCaptureFixture) -> None:
    async with Receiver(key="k", users={"u": "p"}).listening() as receiver:
        who = {"shared_key": "k", "username": "u", "self_hostname": "here"}
        assert await write(plugins, receiver, BATCH, password="p", require_ack_response=True, **who) == [Result.OK]
        assert await write(plugins, receiver, BATCH, password="q", **who) == [Result.RETRY]
        assert "the server refuses us: username/password mismatch" in caplog.text
        assert await write(plugins, receiver, BATCH, shared_key="other") == [Result.RETRY]
        assert "the server refuses us: shared_key mismatch" in caplog.text
    assert receiver.events == EVENTS, "nothing is sent to a server that refuses"


async def test_a_receiver_that_cannot_prove_the_key_gets_nothing(
    plugins: PluginKit, caplog: pytest.LogCaptureFixture
) -> None:
    async with Receiver(key="k").listening() as receiver:
        receiver.proof = "0" * 128
        assert await write(plugins, receiver, BATCH, shared_key="k") == [Result.RETRY]
    assert "the server has another shared_key" in caplog.text
    assert receiver.events == []


@pytest.mark.parametrize(
    "greeting",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        b"\xa4HELO",
        b"\x92\xa4HELO\x80",
        b"\x92\xa4HELO\x81\xa5nonce\x05",
        b"\x92\xa4HELO\x81\xa5nonce\xc4\xff",
        b"\x81\x80\x01",
        b"\xdc\xff\xff" + b"\x91" * 70_000,
    ],
)
async def test_a_server_that_greets_otherwise_is_tried_again(plugins: PluginKit, greeting: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    receiver = Receiver()
    receiver.port = listener.sockets[0].getsockname()[1]
    assert await write(plugins, receiver, BATCH, shared_key="k") == [Result.RETRY]
    listener.close()


async def test_a_unix_socket_is_a_server_too(plugins: PluginKit, tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    properties = {"unix_path": str(path), "shared_key": "k", "require_ack_response": True}
    assert await write(plugins, Receiver(), BATCH, **properties) == [Result.RETRY]
    async with Receiver(key="k").listening(path) as receiver:
        assert await write(plugins, receiver, BATCH, **properties) == [Result.OK]
    assert receiver.events == EVENTS


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"username": "u"}, "username.*needs shared_key"),
        ({"compress": "gzip", "time_as_integer": True}, "compress.*time_as_integer"),
        ({"compress": "gzip", "tag": "$a"}, "compress.*a tag of keys"),
        ({"tag": "$a['"}, "tag.*not a record accessor"),
        ({"unix_path": "/x", "tls": True}, "unix_path.*no TLS"),
        ({"port": 0}, "port"),
    ],
)
def test_what_cannot_work_is_refused(plugins: PluginKit, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        plugins.make(outputs, "forward", **properties)


def fluent_bit(folder: Path, inputs: dict[str, Any], outputs: dict[str, Any]) -> Program:
    document = {"service": {"flush": 0.2, "grace": 1}, "pipeline": {"inputs": [inputs], "outputs": [outputs]}}
    (folder / "p.yaml").write_text(json.dumps(document))
    command = [FLUENT_BIT, "-c", folder / "p.yaml"]
    return Program(command, folder=folder, name="fluent-bit")


@needs_fluent_bit
@pytest.mark.parametrize(
    "properties",
    [
        {"require_ack_response": True},
        {"require_ack_response": True, "compress": "gzip"},
        {"require_ack_response": True, "tag": "app$gone"},
        {"require_ack_response": True, "time_as_integer": True},
        {"require_ack_response": True, "shared_key": "k", "username": "u", "password": "p"},
    ],
)
async def test_a_real_fluent_bit_takes_what_is_sent(
    plugins: PluginKit, tmp_path: Path, properties: dict[str, Any]
) -> None:
    port = free_port()
    source = {"name": "forward", "listen": "127.0.0.1", "port": port}
    if "shared_key" in properties:
        source |= {"shared_key": "k", "self_hostname": "them", "security.users": "u p"}
    sink = {"name": "file", "match": "*", "path": str(tmp_path), "file": "out"}
    with fluent_bit(tmp_path, source, sink) as program:
        await asyncio.to_thread(program.wait_for, lambda: is_listening(port))
        receiver = Receiver()
        receiver.port = port
        assert await write(plugins, receiver, BATCH, **properties) == [Result.OK]
        out = tmp_path / "out"
        lines = await eventually(lambda: out.exists() and len(out.read_text().splitlines()) == 2 and out.read_text())
    seconds = 1 if "time_as_integer" in properties else 1.5
    assert [(line.partition(": ")[0], json.loads(line.partition(": ")[2])) for line in lines.splitlines()] == [
        ("app", [seconds, {"a": 1}]),
        ("app", [2, {"b": "é", "c": [None, {"d": 2.5}]}]),
    ]


@needs_fluent_bit
async def test_the_receiver_of_these_tests_is_one_for_a_real_fluent_bit(tmp_path: Path) -> None:
    async with Receiver(key="k", users={"u": "p"}).listening() as receiver:
        source = {"name": "dummy", "tag": "app", "dummy": '{"a": 1}', "samples": 2}
        sink = {"name": "forward", "match": "*", "host": "127.0.0.1", "port": receiver.port, "shared_key": "k"}
        sink |= {"username": "u", "password": "p", "require_ack_response": True, "compress": "gzip"}
        with fluent_bit(tmp_path, source, sink):
            await eventually(lambda: len(receiver.events) == 2)
    assert [(tag, record) for tag, _, record in receiver.events] == [("app", {"a": 1})] * 2
