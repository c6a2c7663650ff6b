"""Posting chunks: what is sent, what answers mean, what a bad server can do."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.engine.config import InvalidProperty
from agent.engine.plugin import PluginError, Result
from agent.engine.record import Batch
from agent.engine.registry import outputs
from tests.agent.engine.conftest import PluginKit
from tests.certificates import key_of, make_certificate

BATCH = Batch("app", [1_000_000_000], [{"a": 1}])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers each request with the next of `answers`, the last one for ever; None closes the connection instead."""

    answers: list[bytes | None] = field(default_factory=lambda: [OK])
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.append(asyncio.current_task())
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["Content-Length"]))
                self.requests.append((first, headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if b"Content-Length" not in answer and b"chunked" not in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            await asyncio.sleep(0)


@asynccontextmanager
async def serving(*answers: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(list(answers) or [OK])
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in server.tasks:
            task.cancel()
        await asyncio.gather(*server.tasks, return_exceptions=True)


async def post(plugins: PluginKit, server: Server, *, times: int = 1, **properties: object) -> list[Result]:
    plugin = plugins.make(outputs, "http", **{"host": "127.0.0.1", "port": server.port, **properties})
    await plugin.open()
    try:
        return [await plugin.write(BATCH) for _ in range(times)]
    finally:
        await plugin.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("properties", "body", "content_type"),
    [
        ({}, b'[{"date":1.0,"a":1}]', "application/json"),
        ({"format": "json_lines"}, b'{"date":1.0,"a":1}\n', "application/x-ndjson"),
        ({"format": "json_stream", "json_date_key": "false"}, b'{"a":1}', "application/json"),
        ({"json_date_format": "iso8601"}, b'[{"date":"1970-01-01T00:00:01.000000Z","a":1}]', "application/json"),
    ],
)
async def test_a_chunk_is_posted_in_its_format(
    plugins: PluginKit, properties: dict[str, object], body: bytes, content_type: str
) -> None:
    async with serving() as server:
        assert await post(plugins, server, uri="logs", **properties) == [Result.OK]
    ((first, headers, sent),) = server.requests
    assert first == "POST /logs HTTP/1.1"
    assert sent == body
    assert headers["Content-Type"] == content_type
    assert headers["Host"] == f"127.0.0.1:{server.port}"


async def test_headers_compression_tag_and_user_are_sent(plugins: PluginKit) -> None:
    async with serving() as server:
        more = {"header": ["X-A 1 2", "X-B b"], "header_tag": "X-Tag", "compress": "gzip", "http_user": "u"}
        await post(plugins, server, http_method="PUT", http_passwd="p", **more)
    ((first, headers, sent),) = server.requests
    assert first.startswith("PUT / ")
    assert json.loads(gzip.decompress(sent)) == [{"date": 1.0, "a": 1}]
    assert (headers["X-A"], headers["X-B"], headers["X-Tag"]) == ("1 2", "b", "app")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Authorization"] == "Basic dTpw"


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.OK),
        (201, Result.OK),
        (204, Result.OK),
        (205, Result.OK),
        (206, Result.RETRY),
        (301, Result.RETRY),
        (400, Result.ERROR),
        (404, Result.ERROR),
        (408, Result.RETRY),
        (429, Result.RETRY),
        (500, Result.RETRY),
        (503, Result.RETRY),
    ],
)
async def test_a_status_is_delivered_refused_or_tried_again(plugins: PluginKit, status: int, result: Result) -> None:
    async with serving(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as server:
        assert await post(plugins, server) == [result]


async def test_a_connection_is_used_again_and_replaced_when_the_server_closed_it(plugins: PluginKit) -> None:
    async with serving(OK, OK, None, OK) as server:
        assert await post(plugins, server, times=3) == [Result.OK] * 3
        assert server.connections == 2
    async with serving() as server:
        await post(plugins, server, times=2, net__keepalive=False)
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
    ],
)
async def test_every_way_to_end_an_answer_is_understood(plugins: PluginKit, answer: bytes) -> None:
    async with serving(answer) as server:
        assert await post(plugins, server, times=2) == [Result.OK, Result.OK]


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
        None,
    ],
)
async def test_a_server_that_does_not_speak_http_is_tried_again(plugins: PluginKit, answer: bytes | None) -> None:
    async with serving(answer) as server:
        assert await post(plugins, server) == [Result.RETRY]


async def test_a_server_that_is_away_or_silent_is_tried_again(plugins: PluginKit) -> None:
    async with serving() as server:
        pass
    assert await post(plugins, server) == [Result.RETRY]
    silent: Callable[..., object] = lambda reader, writer: held.append(writer)  # noqa: E731  # a server that never answers
    held: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(silent, "127.0.0.1", 0)  # type: ignore[arg-type]  # takes any callable
    server.port = listener.sockets[0].getsockname()[1]
    assert await post(plugins, server, http__response_timeout="0") == [Result.RETRY]
    for writer in held:
        writer.close()
    listener.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    path = make_certificate(tmp_path, "server")
    return path, key_of(path)


async def test_over_tls_the_server_is_verified_unless_told_otherwise(
    plugins: PluginKit, certificate: tuple[Path, Path]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    async with serving(OK, tls=context) as server:
        assert await post(plugins, server, tls=True, tls__ca_file=str(certificate[0])) == [Result.OK]
        assert await post(plugins, server, tls=True, tls__verify=False) == [Result.OK]
        assert await post(plugins, server, tls=True) == [Result.RETRY], "nobody vouches for the certificate"
        named = {"tls__ca_file": str(certificate[0]), "tls__vhost": "elsewhere.example"}
        assert await post(plugins, server, tls=True, **named) == [Result.RETRY], "it is for another name"
        assert await post(plugins, server, tls=True, tls__verify_hostname=False, **named) == [Result.OK]
    assert len(server.requests) == 3
    with pytest.raises(PluginError, match="TLS files cannot be used"):
        await post(plugins, server, tls=True, tls__ca_file="missing.pem")


@pytest.mark.parametrize(
    "properties",
    [{"port": 0}, {"header": "bad:name x"}, {"header": "X-A a\r\nb"}, {"header_tag": "a b"}],
)
def test_what_would_break_the_request_is_refused(plugins: PluginKit, properties: dict[str, object]) -> None:
    with pytest.raises(InvalidProperty):
        plugins.make(outputs, "http", **properties)


@pytest.mark.parametrize("compress", [None, "gzip"])
async def test_msgpack_is_sent_as_fluent_bit_sends_it(plugins: PluginKit, compress: str | None) -> None:
    properties = {"compress": compress} if compress else {}
    async with serving() as server:
        assert await post(plugins, server, format="msgpack", **properties) == [Result.OK]
    _, headers, body = server.requests[0]
    assert headers["Content-Type"] == "application/msgpack"
    data = gzip.decompress(body) if compress else body
    assert data.hex() == "9292d700000000010000000080" + "81a16101"
