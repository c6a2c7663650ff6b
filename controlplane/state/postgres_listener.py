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
async def listening(
    connect: Connect, hint: Callable[[int], None], unreachable: tuple[type[BaseException], ...]
) -> AsyncIterator[None]:
    """Listens until the block ends, whatever the server does; what is `unreachable` is tried again."""
    task = asyncio.create_task(_listen_for_ever(connect, hint, unreachable), name="postgres listener")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled() and (defect := task.exception()):
            _log.error("postgres listener ended early", exc_info=defect)


async def _listen_for_ever(
    connect: Connect, hint: Callable[[int], None], unreachable: tuple[type[BaseException], ...]
) -> None:
    rng = random.Random()
    retried = tenacity.retry_if_exception_type((*unreachable, asyncpg.PostgresError))
    while True:
        # A new series of attempts for each connection: the delay starts small again.
        delays = FullJitter(rng, maximum=RECONNECT_MAX_S)
        async for attempt in tenacity.AsyncRetrying(wait=delays, retry=retried, before_sleep=_say_why):
            with attempt:
                connection = await connect()
        try:
            await _listen(connection, hint)
        except (*unreachable, asyncpg.PostgresError) as error:
            _log.warning("postgres listener lost its connection", error=str(error) or type(error).__name__)
        finally:
            connection.terminate()


async def _listen(connection: asyncpg.Connection, hint: Callable[[int], None]) -> None:
    """Until the connection ends, which is an error."""
    ended = asyncio.Event()
    connection.add_termination_listener(lambda _: ended.set())
    await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: _hint(hint, payload))
    hint(await connection.fetchval("SELECT fleet_revision FROM plane", timeout=ANSWER_S))
    while True:
        try:
            async with asyncio.timeout(SILENCE_S):
                await ended.wait()
        except TimeoutError:
            await connection.fetchval("SELECT 1", timeout=ANSWER_S)
        else:
            raise ConnectionResetError("the server closed it")


def _say_why(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("postgres listener cannot connect", error=str(error) or type(error).__name__)


def _hint(hint: Callable[[int], None], payload: str) -> None:
    if payload.isdecimal():  # anybody who may connect may notify
        hint(int(payload))
