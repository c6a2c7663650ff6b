"""Syslog messages, from our sockets, from rsyslog and nginx. Golden cases `syslog_*` show Fluent Bit's records."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from logging.handlers import SysLogHandler
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.payload import CountedSplitter
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.processes import eventually
from tests.servers import Nginx, free_port

PARSERS = r"""
- {name: all, format: regex, regex: '^(?<all>.*)$'}
- name: syslog-rfc3164
  format: regex
  regex: '/^\<(?<pri>[0-9]+)\>(?<time>[^ ]* {1,2}[^ ]* [^ ]*) (?<host>[^ ]*) (?<ident>[a-zA-Z0-9_\/\.\-]*)(?:\[(?<pid>[0-9]+)\])?(?:[^\:]*\:)? *(?<message>.*)$/'
  time_key: time
  time_format: '%b %d %H:%M:%S'
- name: syslog-rfc5424
  format: regex
  regex: '^\<(?<pri>[0-9]{1,5})\>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\[(.*?)\]|-)) (?<message>.+)$'
  time_key: time
  time_format: '%Y-%m-%dT%H:%M:%S.%L%z'
"""  # noqa: E501  # as Fluent Bit has them
Rsyslog = Callable[[str], AbstractContextManager[Path]]


def make(plugins: PluginKit, mode: str, **properties: Any) -> Any:
    where = {"path": "sock"} if mode.startswith("unix") else {"listen": "127.0.0.1", "port": 0}
    return plugins.make(inputs, "syslog", mode=mode, parsers=PARSERS, **{"parser": "all", **where, **properties})


def say(plugin: Any, *pieces: bytes) -> None:
    address = plugin.listener.address
    kind = socket.SOCK_STREAM if address.kind == "stream" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX if address.path else socket.AF_INET, kind) as client:
        client.connect(address.path or ("127.0.0.1", plugin.listener.port))
        for piece in pieces:
            client.sendall(piece)


@pytest.mark.parametrize(
    ("mode", "peer"),
    [
        ("tcp", r"tcp://127\.0\.0\.1:\d+"),
        ("udp", r"udp://127\.0\.0\.1:\d+"),
        ("unix_tcp", "unix://pid_PID"),
        ("unix_udp", r"unix://unavailable"),
    ],
)
async def test_every_mode_gives_the_message_its_raw_text_and_sender(
    plugins: PluginKit, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, peer: str
) -> None:
    """The senders' addresses are as Fluent Bit writes them."""
    monkeypatch.chdir(tmp_path)
    plugin = make(plugins, mode, raw_message_key="raw", source_address_key="from", unix_perm="0600")
    async with running_input(plugin, sink):
        say(plugin, b"one\n", b"two\n")
        if mode.startswith("unix"):
            assert Path("sock").stat().st_mode & 0o777 == 0o600
        records = await sink.take(2)
    raw = "" if mode.endswith("tcp") else "\n"
    assert [(r["all"], r["raw"]) for r in records] == [("one", "one" + raw), ("two", "two" + raw)]
    assert all(re.fullmatch(peer.replace("PID", str(os.getpid())), record["from"]) for record in records)
    assert not Path("sock").exists()


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"mode": "unix_tcp", "path": ""}, "property 'path': mode unix_tcp needs the path"),
        ({"mode": "udp", "tls": True, "tls__crt_file": "c", "tls__key_file": "k"}, "mode udp has no TLS"),
        ({"mode": "tcp", "buffer_chunk_size": 0}, "property 'buffer_chunk_size': 0 is too small"),
        ({"mode": "tcp", "parser": "rfc"}, "parser 'rfc' is not defined"),
    ],
)
def test_what_makes_no_sense_is_refused(plugins: PluginKit, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        make(plugins, **properties)


def test_the_parser_is_the_users_own_by_the_name_that_fluent_bit_looks_for(plugins: PluginKit) -> None:
    with pytest.raises(InvalidProperty, match="parser 'syslog-rfc5424' is not defined"):
        plugins.make(inputs, "syslog", mode="tcp")
    with pytest.raises(InvalidProperty, match="parser 'syslog-rfc3164-local' is not defined"):
        plugins.make(inputs, "syslog", path="sock")


async def test_a_message_that_the_parser_does_not_take_is_named_and_left_out(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = make(plugins, "udp", parser="syslog-rfc5424")
    async with running_input(plugin, sink):
        say(plugin, b"nonsense", b"<34>1 2003-10-11T22:14:15.003Z h su - ID47 - text")
        assert (await sink.take(1))[0]["message"] == "text"
    assert "parser 'syslog-rfc5424' does not take a message of 8 bytes" in caplog.text
    assert sink.batches[0].times == [1_065_910_455_003_000_000]


@pytest.mark.parametrize(
    ("properties", "data", "why"),
    [
        ({"buffer_chunk_size": 100}, b"x" * 101, "longer than the buffer (100 bytes)"),
        ({"format": "octet_counting", "buffer_chunk_size": 100}, b"101 x", "longer than the buffer (100 bytes)"),
        ({"format": "octet_counting"}, b"2 abnonsense", "no length of a message"),
        ({"format": "octet_counting"}, b"9999999999999999999", "no length of a message"),
    ],
)
async def test_a_stream_that_cannot_be_followed_is_ended(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture, properties: dict[str, Any], data: bytes, why: str
) -> None:
    plugin = make(plugins, "tcp", **properties)
    async with running_input(plugin, sink):
        reader, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        writer.write(data)
        assert await reader.read() == b""
        writer.close()
    assert f"{why}; the connection is closed" in caplog.text


def test_counted_messages_are_found_however_they_are_cut() -> None:
    random, messages = Random(3), [b"hello", b"a\nb", b"12 x", b"\n", b"x" * 40]
    data = b"".join(b"%d %s%s" % (len(m), m, random.choice([b"", b"\n"])) for m in messages)
    for _ in range(200):
        splitter, found, at = CountedSplitter(100), [], 0
        while at < len(data):
            step = random.randrange(1, 12)
            values, fault = splitter.feed(data[at : at + step])
            assert not fault
            found += values
            at += step
        assert found == messages


@pytest.mark.parametrize("mode", ["tcp", "udp"])
@pytest.mark.parametrize("format", ["newline", "octet_counting"])
async def test_nonsense_is_survived(plugins: PluginKit, sink: Sink, mode: str, format: str) -> None:
    random = Random(17)
    plugin = make(plugins, mode, format=format)
    async with running_input(plugin, sink) as task:
        for _ in range(100):
            data = random.randbytes(random.randrange(200)) + random.choice([b"", b"\n", b"3 abc", b"99 "])
            try:
                say(plugin, data, b"\n\n", data)
            except OSError:  # the connection was ended in the middle
                assert mode == "tcp"
            before = sum("done" in record.get("all", "") for record in sink.records)
            say(plugin, b"4 done" if format == "octet_counting" and mode == "tcp" else b"4 done\n")
            await eventually(lambda: sum("done" in record.get("all", "") for record in sink.records) > before)  # noqa: B023
        assert not task.done()


async def test_a_socket_that_was_left_is_replaced_and_one_in_use_is_not(
    plugins: PluginKit, sink: Sink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind("sock")
        with pytest.raises(PluginError, match=r"cannot listen on sock \(unix\): .*another process listens on it"):
            await make(plugins, "unix_udp").open()
    plugin = make(plugins, "unix_udp")
    async with running_input(plugin, sink):
        say(plugin, b"here")
        assert await sink.take(1) == [{"all": "here"}]
    Path("sock").write_text("precious")
    with pytest.raises(PluginError, match="is no socket"):
        await make(plugins, "unix_udp").open()
    assert Path("sock").read_text() == "precious"


PIPELINE = """
service: {{flush: 0.05, grace: 2}}
parsers: {parsers}
pipeline:
  inputs: [{{name: syslog, tag: s, mode: {mode}, listen: 127.0.0.1, port: {port}, {more}}}]
  outputs: [{{name: file, match: '*', file: out, format: plain}}]
"""


def pipeline(mode: str, port: int, more: str) -> str:
    parsers = "\n  " + PARSERS.strip().replace("\n", "\n  ")
    return PIPELINE.format(mode=mode, port=port, more=more, parsers=parsers)


@pytest.mark.parametrize(
    ("mode", "more", "action"),
    [
        ("udp", "parser: syslog-rfc3164", 'protocol="udp" template="RSYSLOG_TraditionalForwardFormat"'),
        ("tcp", "parser: syslog-rfc5424", 'protocol="tcp" template="RSYSLOG_SyslogProtocol23Format"'),
        (
            "tcp",
            "format: octet_counting",
            'protocol="tcp" template="RSYSLOG_SyslogProtocol23Format" TCP_Framing="octet-counted"',
        ),
    ],
)
async def test_rsyslog_forwards_to_it(
    kit: EngineKit,
    rsyslog: Rsyslog,
    mode: str,
    more: str,
    action: str,
) -> None:
    port, count = free_port(), 200
    async with kit.run(pipeline(mode, port, more)):
        with rsyslog(f'action(type="omfwd" target="127.0.0.1" port="{port}" {action})') as path:
            handler = SysLogHandler(str(path), facility=SysLogHandler.LOG_LOCAL0)
            handler.setFormatter(logging.Formatter("prog[7]: %(message)s"))
            for number in range(count):
                record = logging.LogRecord("x", logging.WARNING, "", 0, "message %d", (number,), None)
                await asyncio.to_thread(handler.emit, record)
            handler.close()
            lines = await kit.has_lines("out", count)
    assert len(lines) == count
    for number in range(count):
        assert re.search(rf'"message":" ?message {number}"', lines[number])
    assert '"pri":"132"' in lines[0]
    assert '"ident":"prog"' in lines[0]
    assert '"pid":"7"' in lines[0]


async def test_nginx_logs_to_it(kit: EngineKit) -> None:
    port = free_port()
    async with kit.run(pipeline("udp", port, "parser: syslog-rfc3164")):
        also = f"access_log syslog:server=127.0.0.1:{port},tag=web,facility=local7,severity=info combined;"
        with Nginx.installed(kit.folder / "nginx", also) as server:
            for number in range(10):
                await asyncio.to_thread(lambda at=number: urllib.request.urlopen(f"{server.url}/page{at}").read())
            await kit.has_lines("out", 10)
    lines = [line for line in kit.lines("out") if "/page" in line]
    assert [f"/page{number} " in line for number, line in enumerate(lines)] == [True] * 10
    assert all('"pri":"190"' in line and '"ident":"web"' in line for line in lines)
