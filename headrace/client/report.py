"""The Report stream of a session: what waits in an agent's backlog goes up, and what is stored is forgotten.

One request is under way at a time, with all that waits, up to a bound; the next follows its answer. The stream is a
call of its own beside Connect, so it neither delays nor ends the session; when it breaks it is opened again, and what
was not acknowledged is sent again under the same sequence. It is renewed by bytes and when it is idle, since what
stands between caps a stream's body and ends silent ones.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio
import structlog

from headrace import codec
from headrace.client.handler import Backlog, OnTime
from headrace.client.packing import Packer
from headrace.connection import Connection, RawStream
from headrace.errors import HeadraceError, InvalidError, UnavailableError
from headrace.limits import DEFAULT_LIMITS
from headrace.messages import ReportRequest, ReportResponse
from headrace.retry import FullJitter
from headrace.rpcs.channel import CHANNEL

log = structlog.get_logger(__name__)

# How long a store may take to answer, and how long nothing may wait before the stream is closed, in seconds.
_ANSWER_S, _IDLE_S = 60.0, 45.0
_RENEW_BYTES = 512 << 10
# The longest that a control plane may ask for, in seconds.
_LONGEST_RETRY_S = 300.0


class Reports:
    """Sends one backlog over one connection; `run` it in a task of its own, and cancel it to stop."""

    def __init__(
        self,
        connection: Connection,
        backlog: Backlog,
        *,
        rng: random.Random,
        clock: Callable[[], float] = time.monotonic,
        limit: int = DEFAULT_LIMITS.message,
        on_time: OnTime | None = None,
    ) -> None:
        """`limit` is the largest message that the other end takes, in bytes."""
        self._connection = connection
        self._backlog = backlog
        self._delays = FullJitter(rng)
        self._clock = clock
        self._limit = limit
        self._on_time = on_time
        self._failures = 0
        self._is_careful = False
        """Whether one batch goes at a time, because a request was refused and it has to be found out which one."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._backlog.arrived()
            try:
                await self._stream()
            except HeadraceError as error:
                delay = self._delays.delay(self._failures)
                self._failures += 1
                log.warning("metrics wait", reason=error.message, retry_in_s=round(delay, 1))
                await asyncio.sleep(delay)

    async def _stream(self) -> None:
        """One stream, until it is time for another one. Raises HeadraceError when it broke."""
        packer, sent = Packer(), 0
        stream = self._connection.raw_stream(CHANNEL["Report"])
        try:
            while sent < _RENEW_BYTES and await self._has_more():
                request = self._next(packer)
                if request is None:
                    break
                sent += await self._exchange(stream, packer, request)
            with self._connection.failing():
                await stream.done_writing()
        finally:
            stream.cancel()

    async def _has_more(self) -> bool:
        try:
            async with asyncio.timeout(_IDLE_S):
                await self._backlog.arrived()
        except TimeoutError:
            return False
        return True

    def _next(self, packer: Packer) -> ReportRequest | None:
        """What goes next; None when that takes a new stream."""
        batches: Sequence[ReportRequest] = self._backlog.pending()
        if self._is_careful:
            batches = batches[:1]
        while batches:
            request = packer.pack(batches)
            has_room = packer.has_room(request)
            if has_room and len(codec.encode(request)) <= self._limit:
                return request
            if not has_room and len(batches) == 1:
                return None
            batches = batches[: len(batches) // 2]
        return None

    async def _exchange(self, stream: RawStream, packer: Packer, request: ReportRequest) -> int:
        """Send, wait for the answer, and do what it says; how many bytes that took."""
        data, asked = codec.encode(request), self._clock()
        try:
            async with asyncio.timeout(_ANSWER_S):
                with self._connection.failing():
                    await stream.write(data)
                    packer.sent(request)
                    answer: Any = await stream.read()
        except TimeoutError:
            raise UnavailableError(f"{self._connection.address} took no metrics within {_ANSWER_S:g} s") from None
        except InvalidError as error:
            self._refused(request, error)
            raise
        if answer is grpc.aio.EOF:
            raise UnavailableError(f"{self._connection.address} ended the stream of metrics")
        response = codec.decode(ReportResponse, answer)
        if response.at is not None and self._on_time is not None:
            self._on_time(response.at, self._clock() - asked)
        self._backlog.acknowledge(min(response.stored, request.sequence))
        if response.stored >= request.sequence:
            self._failures, self._is_careful = 0, False
        wait = min(response.retry_after_ms / 1000, _LONGEST_RETRY_S)
        if response.stored < request.sequence and not wait:
            wait = self._delays.delay(self._failures)
            self._failures += 1
        await asyncio.sleep(wait)
        return len(data)

    def _refused(self, request: ReportRequest, error: InvalidError) -> None:
        """A batch that will never be taken must not hold up the others."""
        if self._is_careful:
            log.error("a batch of metrics is refused and dropped", sequence=request.sequence, reason=error.message)
            self._backlog.refuse(request.sequence)
        self._is_careful = True
