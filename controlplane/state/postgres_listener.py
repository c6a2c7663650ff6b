"""Hears of other processes' commits by LISTEN, on a connection of its own that comes back by itself.

A notification is a hint and may be lost; after each (re)connection the counter is read once, so that what was said
meanwhile counts as said late.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import structlog
import tenacity

from headrace.retry import FullJitter

CHANNEL = "headrace"
SILENCE_S = 30.0
"""After so long without a word the server is asked whether it is there."""
ANSWER_S = 10.0
RECONNECT_MAX_S = 5.0

Connect = Callable[[], Awaitable[asyncpg.Connection]]

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def listening(connect: Connect, hint: Callable[[int], None]) -> AsyncIterator[None]:
    """Listens until the block ends, whatever the server does."""
    task = asyncio.create_task(_listen_for_ever(connect, hint), name="postgres listener")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _listen_for_ever(connect: Connect, hint: Callable[[int], None]) -> None:
    delays = FullJitter(random.Random(), maximum=RECONNECT_MAX_S)
    # Whatever the error: a listener that gave up would be missed by nobody, and every change be a second late.
    retried = tenacity.retry_if_exception_type(Exception)
    while True:
        # A new series of attempts for each connection: the delay starts small again.
        async for attempt in tenacity.AsyncRetrying(wait=delays, retry=retried, before_sleep=_say_why):
            with attempt:
                connection = await _subscribed(connect, hint)
        try:
            await _lost(connection)
        finally:
            connection.terminate()


async def _subscribed(connect: Connect, hint: Callable[[int], None]) -> asyncpg.Connection:
    connection = await connect()
    try:
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: _hear(hint, payload))
        hint(await connection.fetchval("SELECT fleet_revision FROM plane", timeout=ANSWER_S))
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _lost(connection: asyncpg.Connection) -> None:
    """Returns when the connection has ended, or answers no more."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    while not connection.is_closed():
        try:
            async with asyncio.timeout(SILENCE_S):
                await ended.wait()
        except TimeoutError:
            try:
                await connection.fetchval("SELECT 1", timeout=ANSWER_S)
            except Exception as error:
                _log.warning("postgres listener has no answer", error=str(error) or type(error).__name__)
                return
    _log.info("postgres listener lost its connection")


def _say_why(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("postgres listener cannot listen", error=str(error) or type(error).__name__)


def _hear(hint: Callable[[int], None], payload: str) -> None:
    if payload.isdecimal():  # anybody who may connect may notify
        hint(int(payload))
