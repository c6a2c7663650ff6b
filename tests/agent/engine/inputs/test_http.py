"""Records by HTTP. The tables of bodies, tags and forms are what Fluent Bit 5.1.1 answered and wrote."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import json
import zlib
from random import Random
from typing import Any

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.inflate import inflate
from agent.engine.registry import inputs
from agent.engine.remainder import Remainder
from tests.agent.engine.conftest import EngineKit, PluginKit, Sink, running_input
from tests.servers import free_port

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
Answer = tuple[int, dict[str, str], bytes]


def make(plugins: PluginKit, **properties: Any) -> Any:
    return plugins.make(inputs, "http", listen="127.0.0.1", port=0, **properties)


async def post(
    port: int, body: Any, path: str = "/", kind: str | None = JSON, method: str = "POST", **headers: str
) -> Answer:
    def work() -> Answer:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            client.request(method, path, body, named | ({"Content-Type": kind} if kind else {}))
            answer = client.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            client.close()

    return await asyncio.to_thread(work)


async def raw(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("body", "kind", "status", "records"),
    [
        ('{"a":1}', JSON, 201, [{"a": 1}]),
        ('[{"a":1},{"a":2}]', JSON, 201, [{"a": 1}, {"a": 2}]),
        ('{"a":1}\n{"a":2}\n', JSON, 201, [{"a": 1}, {"a": 2}]),
        ('{"a":1}{"b":2}', "application/json; charset=utf-8", 201, [{"a": 1}, {"b": 2}]),
        ('[{"a":1},5]', "Application/JSON", 201, [{"a": 1}]),
        ("[]", JSON, 201, []),
        ("5", JSON, 400, []),
        ('"s"', JSON, 400, []),
        ("{bad", JSON, 400, []),
        ('{"a":1} x', JSON, 400, []),
        ("", JSON, 400, []),
        ('{"a":1}', None, 400, []),
        ('{"a":1}', "text/plain", 400, []),
        ('{"a":1}', "application/x-ndjson", 400, []),
        ("a=1&b=x%20y+z&c&=d&e=", FORM, 201, [{"a": "1", "b": "x y z", "e": ""}]),
        ("\na=1&b=%zz", FORM, 201, [{"a": "1", "b": "%zz"}]),
        ("a=1=2&a=3&k%41=v", FORM, 201, [{"a": "3", "k%41": "v"}]),
        ("", FORM, 400, []),
    ],
)
async def test_bodies(
    plugins: PluginKit, sink: Sink, body: str, kind: str | None, status: int, records: list[Any]
) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        answer, _, text = await post(plugin.listener.port, body, kind=kind)
    assert (answer, sink.records) == (status, records)
    assert text == b"" if status == 201 else text.startswith(b"error: ")


@pytest.mark.parametrize(
    ("path", "record", "tag"),
    [
        ("/", {}, "tag"),
        ("/x", {}, "x"),
        ("/a/b.c/d-e", {}, "a_b.c_d_e"),
        ("/q?x=1", {}, "q"),
        ("//", {}, "_"),
        ("/%41b", {}, "_41b"),
        ("/x", {"k": "own"}, "own"),
        ("/x", {"k": "../y/z"}, ".._y_z"),
        ("/x", {"k": 5}, "x"),
        ("/x", {"k": ""}, "x"),
    ],
)
async def test_tags(plugins: PluginKit, sink: Sink, path: str, record: dict[str, Any], tag: str) -> None:
    plugin = make(plugins, tag_key="k")
    async with running_input(plugin, sink):
        assert (await post(plugin.listener.port, json.dumps(record), path))[0] == 201
    assert [(batch.tag, batch.records) for batch in sink.batches] == [(tag, [record])]


async def test_records_of_several_tags_in_one_request(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins, tag_key="k")
    async with running_input(plugin, sink):
        await post(plugin.listener.port, '[{"k":"a"},{"k":"b"},{"n":1},{"k":"a"}]')
    assert {batch.tag: len(batch) for batch in sink.batches} == {"a": 2, "b": 1, "tag": 1}


@pytest.mark.parametrize(("code", "status"), [(200, 200), (201, 201), (204, 204)])
async def test_status_and_headers_of_success(plugins: PluginKit, sink: Sink, code: int, status: int) -> None:
    plugin = make(plugins, successful_response_code=code, success_header=["X-A b c", "X-B d"])
    async with running_input(plugin, sink):
        answer, headers, _ = await post(plugin.listener.port, "{}")
    assert (answer, headers["X-A"], headers["X-B"]) == (status, "b c", "d")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused_and_health_can_be_asked(plugins: PluginKit, sink: Sink, method: str) -> None:
    plugin = make(plugins, enable_health_endpoint=True)
    async with running_input(plugin, sink):
        assert (await post(plugin.listener.port, None, method=method))[0] == 400
        answer = await post(plugin.listener.port, None, "/health", None, "GET")
    assert (answer[0], json.loads(answer[2])) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b'{"a":1}'), 201),
        ("gzip", gzip.compress(b'{"a"') + gzip.compress(b":1}"), 201),
        ("deflate", zlib.compress(b'{"a":1}'), 201),
        ("identity", b'{"a":1}', 201),
        ("gzip", b"xx", 400),
        ("gzip", gzip.compress(b'{"a":1}')[:-9], 400),
        ("gzip", gzip.compress(b" " * 9_000_000), 400),
        ("zstd", b"x", 415),
    ],
    ids=["whole", "two members", "deflate", "identity", "no gzip", "cut off", "bomb", "unknown"],
)
async def test_compressed_bodies(plugins: PluginKit, sink: Sink, encoding: str, body: bytes, status: int) -> None:
    plugin = make(plugins, buffer_max_size="1M")
    async with running_input(plugin, sink):
        assert (await post(plugin.listener.port, body, Content_Encoding=encoding))[0] == status
    assert sink.records == ([{"a": 1}] if status == 201 else [])


async def test_the_client_behind_a_proxy_is_added_where_the_record_has_none(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins, add_remote_addr=True)
    async with running_input(plugin, sink):
        await post(plugin.listener.port, '[{"a":1},{"REMOTE_ADDR":"me"}]', X_Forwarded_For=" 192.0.2.1 , 192.0.2.2")
        await post(plugin.listener.port, '{"b":1}')
    assert sink.records == [{"a": 1, "REMOTE_ADDR": "192.0.2.1"}, {"REMOTE_ADDR": "me"}, {"b": 1}]


POST = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("data", "start", "records"),
    [
        (
            POST + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4;x=y\r\n":1}\r\n0\r\nX: y\r\n\r\n',
            b"HTTP/1.1 201 ",
            1,
        ),
        (POST + b"Content-Length: 2\r\n\r\n{}" + POST + b"Content-Length: 2\r\n\r\n{}", b"HTTP/1.1 201 ", 2),
        (
            POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 ",
            1,
        ),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 400 ", 0),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"HTTP/1.1 400 ", 0),
        (POST + b"Content-Length: -5\r\n\r\n", b"HTTP/1.1 400 ", 0),
        (POST + b"Content-Length: 1001\r\n\r\n", b"HTTP/1.1 413 ", 0),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", b"HTTP/1.1 413 ", 0),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"HTTP/1.1 413 ", 0),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b"HTTP/1.1 400 ", 0),
        (POST + b"X: y\r\n" * 101 + b"\r\n", b"HTTP/1.1 431 ", 0),
        (b"POST / HTTP/9.9\r\n\r\n", b"HTTP/1.1 505 ", 0),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 ", 0),
        (POST + b"Content-Length: 20\r\n\r\n{", b"", 0),
        (POST.replace(b"1.1", b"1.0") + b"Content-Length: 2\r\n\r\n{}", b"HTTP/1.1 201 ", 1),
    ],
)
async def test_requests_in_bytes(plugins: PluginKit, sink: Sink, data: bytes, start: bytes, records: int) -> None:
    plugin = make(plugins, buffer_max_size=1000)
    async with running_input(plugin, sink):
        answer = await raw(plugin.listener.port, data)
        assert (await post(plugin.listener.port, "{}"))[0] == 201, "the input goes on"
    assert answer.startswith(start)
    assert bool(answer) == bool(start)
    assert len(sink.records) == records + 1


async def test_a_line_without_end_ends_its_connection(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins)
    async with running_input(plugin, sink):
        _, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        try:
            while True:
                writer.write(b"y" * 10_000)
                await writer.drain()
        except OSError:
            pass
        assert (await post(plugin.listener.port, "{}"))[0] == 201
        writer.close()


async def test_nonsense_is_survived(plugins: PluginKit, sink: Sink) -> None:
    random = Random(19)
    seed = POST + b'Content-Length: 7\r\nContent-Encoding: gzip\r\n\r\n{"a":1}' + POST + b"Content-Length: 2\r\n\r\n{}"
    plugin = make(plugins)
    async with running_input(plugin, sink) as task:
        for _ in range(300):
            at, end = sorted(random.choices(range(len(seed)), k=2))
            await raw(plugin.listener.port, seed[:at] + random.randbytes(random.randrange(5)) + seed[end:])
        assert (await post(plugin.listener.port, "{}"))[0] == 201
        assert not task.done()


async def test_more_connections_than_allowed_are_told_so(plugins: PluginKit, sink: Sink) -> None:
    plugin = make(plugins, max_connections=1)
    async with running_input(plugin, sink):
        _, writer = await asyncio.open_connection("127.0.0.1", plugin.listener.port)
        writer.write(POST)
        answer = (503, {}, b"")
        for _ in range(50):  # until the server has noticed the first; it may close before it is asked anything
            with contextlib.suppress(OSError):
                answer = await post(plugin.listener.port, "{}")
                if answer[0] == 503:
                    break
        assert answer[2] == b"error: too many connections\n"
        writer.close()


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"successful_response_code": 500}, "expected 200, 201 or 204"),
        ({"http2": True}, "property 'http2': is not implemented"),
        ({"success_header": ["X: y"]}, "'X:' is not a header"),
    ],
)
def test_what_makes_no_sense_is_refused(plugins: PluginKit, properties: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProperty, match=message):
        make(plugins, **properties)


async def test_a_paused_input_answers_503_and_takes_nothing_until_it_has_room(kit: EngineKit) -> None:
    port, body = free_port(), json.dumps({"x": "y" * 2000})
    (kit.folder / "out").mkdir()  # the output cannot write to it, and tries again
    async with kit.run(f"""
        service: {{flush: 0.05, grace: 3, scheduler.base: 1, scheduler.cap: 1}}
        pipeline:
          inputs: [{{name: http, listen: 127.0.0.1, port: {port}, mem_buf_limit: 1k}}]
          outputs: [{{name: file, match: '*', file: out, format: plain, retry_limit: no_limits}}]
        """) as engine:
        assert (await post(port, body))[0] == 201, "taken, though the engine is full then"
        answer = await post(port, body)
        assert (answer[0], answer[1]["Retry-After"]) == (503, "1")
        assert engine.metrics("input", "http.0").records == 1
        (kit.folder / "out").rmdir()
        await kit.has_lines("out", 1)
        assert (await post(port, body))[0] == 201
    assert len(kit.lines("out")) == 2


async def test_what_is_answered_with_success_outlives_the_engine_in_filesystem_storage(kit: EngineKit) -> None:
    port, taken = free_port(), 0
    text = f"""
        service: {{flush: 0.05, grace: 0, storage.path: chunks}}
        pipeline:
          inputs: [{{name: http, tag: t, listen: 127.0.0.1, port: {port}, storage.type: filesystem}}]
          outputs: [{{name: http, match: '*', port: {free_port()}, retry_limit: no_limits}}]
        """
    async with kit.run(text) as engine:
        for number in range(20):
            taken += (await post(port, json.dumps({"n": number})))[0] == 201
        remainder: Remainder = await engine.stop()
    assert remainder.kept == taken == 20


def test_inflating_is_bounded_and_exact() -> None:
    data = b"x" * 1000
    assert inflate(gzip.compress(data), 1000) == data
    assert inflate(b"", 0) == b""
    for damaged in (gzip.compress(data)[:-1], b"\x1f\x8b", gzip.compress(data) + b"x"):
        with pytest.raises(ValueError, match="compressed data"):
            inflate(damaged, 1000)
    with pytest.raises(ValueError, match="more than 999 bytes"):
        inflate(gzip.compress(data), 999)
