"""The client of the monitoring API: what it sends, what it takes, and that nothing holds it up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from agent.runtimes.monitor import Monitor, MonitorError
from agent.runtimes.ports import free_port


@asynccontextmanager
async def answering(answer: bytes | None, *, close: bool = False) -> AsyncIterator[tuple[Monitor, list[bytes]]]:
    """A server that answers each request with these bytes; None is no answer at all."""
    requests: list[bytes] = []
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        requests.append(head + await reader.readexactly(length))
        if answer is None:
            await release.wait()
        else:
            writer.write(answer)
            if not close:
                await release.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Monitor(server.sockets[0].getsockname()[1], timeout=0.5), requests
    finally:
        release.set()
        server.close()
        await server.wait_closed()


OK = b"HTTP/1.1 200 OK\r\n"


async def test_a_reload_has_a_length_and_a_body() -> None:
    async with answering(OK + b'Content-Length: 12\r\n\r\n{"status":0}') as (monitor, requests):
        assert await monitor.reload() == {"status": 0}
    assert requests[0].startswith(b"POST /api/v2/reload HTTP/1.1\r\n")
    assert requests[0].endswith(b"Content-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize(
    "answer",
    [
        OK + b'content-length: 8\r\n\r\n{"a": 1}',
        OK + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n5;x=y\r\n": 1}\r\n0\r\n\r\n',
    ],
)
async def test_bodies_of_either_kind_are_read(answer: bytes) -> None:
    async with answering(answer) as (monitor, _):
        assert await monitor.get("/") == {"a": 1}


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with answering(OK + b"\r\nplain", close=True) as (monitor, _):
        assert await monitor.text("/") == "plain"


async def test_metrics_that_are_not_gathered_yet_are_none_and_no_error() -> None:
    async with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as (monitor, _):
        assert await monitor.metrics() == {}


@pytest.mark.parametrize(("status", "is_well"), [(200, True), (500, False), (404, False)])
async def test_health_is_the_status(status: int, is_well: bool) -> None:
    async with answering(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode()) as (monitor, _):
        assert await monitor.is_well() is is_well


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        OK + b"Content-Length: x\r\n\r\n",
        OK + b"Content-Length: 999999999999\r\n\r\n",
        OK + b"Content-Length: 50\r\n\r\n{}",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + b"Content-Length: 3\r\n\r\nno!",
        OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_whatever_is_no_answer_is_one_error(answer: bytes) -> None:
    async with answering(answer, close=True) as (monitor, _):
        with pytest.raises(MonitorError):
            await monitor.get("/")


@pytest.mark.parametrize("call", [Monitor.reload, Monitor.reload_state, Monitor.is_well])
async def test_silence_has_a_deadline(call: Callable[[Monitor], object]) -> None:
    async with answering(None) as (monitor, _):
        with pytest.raises(MonitorError, match=r"no answer within 0\.5 s"):
            await call(monitor)  # type: ignore[misc]


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(MonitorError):
        await Monitor(free_port()).get("/")
