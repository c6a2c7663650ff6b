"""A connection that is closed under a call fails that call, and cancels nobody; who is cancelled is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from headrace.connection import Connection
from headrace.errors import UnavailableError
from headrace.messages import EnrollRequest, GetBlobRequest, PutBlobRequest
from headrace.rpcs.channel import CHANNEL, CHANNEL_SERVICE
from headrace.types import Facts

REQUEST = EnrollRequest(token="", facts=Facts(name="a", version="0"))


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Its address, and what is set when it has got a call, which it never answers."""
    called = asyncio.Event()

    async def one(_: Any, context: Any) -> bytes:
        called.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def many(_: Any, context: Any) -> AsyncIterator[bytes]:
        yield await one(_, context)

    server = grpc.aio.server()
    handlers = {
        "Enroll": grpc.unary_unary_rpc_method_handler(one),
        "PutBlob": grpc.stream_unary_rpc_method_handler(one),
        "GetBlob": grpc.unary_stream_rpc_method_handler(many),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CHANNEL_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", called
    finally:
        await server.stop(0)


async def one_way(connection: Connection) -> None:
    await connection.unary(CHANNEL["Enroll"], REQUEST)


async def many_ways(connection: Connection) -> None:
    async def pieces() -> AsyncIterator[PutBlobRequest]:
        yield PutBlobRequest(data=b"x")

    await connection.client_stream(CHANNEL["PutBlob"], pieces())


async def many_back(connection: Connection) -> None:
    async with aclosing(connection.server_stream(CHANNEL["GetBlob"], GetBlobRequest(sha256="0"))) as answers:
        async for _ in answers:
            pass


CALLS = pytest.mark.parametrize("call", [one_way, many_ways, many_back])


@CALLS
async def test_a_call_under_way_fails_when_its_connection_is_closed(call: Any) -> None:
    async with silent_server() as (address, called):
        connection = Connection(address)
        waiting = asyncio.create_task(call(connection))
        await asyncio.wait_for(called.wait(), 10)
        await connection.close()
        with pytest.raises(UnavailableError, match=f"the connection to {address} was closed"):
            await waiting


@CALLS
async def test_a_call_on_a_closed_connection_fails(call: Any) -> None:
    connection = Connection("127.0.0.1:1")
    await connection.close()
    with pytest.raises(UnavailableError, match=r"the connection to 127.0.0.1:1 was closed"):
        await call(connection)


@CALLS
async def test_who_is_cancelled_is_cancelled(call: Any) -> None:
    async with silent_server() as (address, called):
        connection = Connection(address)
        waiting = asyncio.create_task(call(connection))
        await asyncio.wait_for(called.wait(), 10)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        await connection.close()


BROKEN = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "reset")


@pytest.mark.parametrize(
    "instead", [BROKEN, asyncio.InvalidStateError("finished"), None], ids=["failure", "finished", "nothing"]
)
async def test_who_is_cancelled_just_as_the_call_breaks_is_cancelled_too(instead: Exception | None) -> None:
    """grpc then gives what became of the call, and the cancellation is nowhere but in the task's count of them."""
    connection, under_way = Connection("127.0.0.1:1"), asyncio.Event()

    async def call() -> None:
        with connection.failing():
            try:
                under_way.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if instead is not None:
                    raise instead from None

    waiting = asyncio.create_task(call())
    await under_way.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()


async def test_a_call_that_breaks_after_a_cancellation_that_its_task_outlived_fails() -> None:
    connection, under_way = Connection("127.0.0.1:1"), asyncio.Event()

    async def call() -> None:
        try:
            under_way.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with connection.failing():
                raise BROKEN from None

    saying_goodbye = asyncio.create_task(call())
    await under_way.wait()
    saying_goodbye.cancel()
    with pytest.raises(UnavailableError, match=r"cannot reach .*127.0.0.1:1"):
        await saying_goodbye
