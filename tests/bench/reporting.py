"""The Report streams of a worker's agents: each sends a batch, waits for its answer, and repeats what was not stored.

An agent has a connection of its own for them, beside the one of its session. Batches are encoded once for many agents,
in a few variants, so that the generator costs little beside what it measures.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.metrics.export import NAMES
from headrace import codec
from headrace.messages import ReportRequest, ReportResponse, Samples, Series
from headrace.rpcs.channel import CHANNEL
from tests.bench.http2 import Stream, frame, opening

_VARIANTS = 32
_MOST_BATCHES = 100
"""Of one stream, which never counts what its window has left."""
_PIPELINES = 2
_PATIENCE_S = 120.0


def definitions(count: int) -> tuple[Series, ...]:
    """Series as an agent with two pipelines has them."""
    return tuple(
        Series(
            id=number + 1,
            name=NAMES[number // _PIPELINES % len(NAMES)],
            tags={"pipeline": f"bench-{number % _PIPELINES}", "plugin": f"tail.{number // _PIPELINES % 3}"},
        )
        for number in range(count)
    )


class Reporting:
    """The streams of one worker; `start` and then `end`, again and again on the same streams."""

    def __init__(self, target: str, credentials: Sequence[str], *, series: int) -> None:
        self.target = target
        self.definitions = definitions(series)
        self.latencies: list[float] = []
        """Seconds from sending a batch to the answer that it is stored."""
        self.turned_away = 0
        self.broken: list[str] = []
        self.stored_at = 0.0
        self._rng = random.Random(1)
        self._frames: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._streams = [_ReportStream(self, credential, number) for number, credential in enumerate(credentials)]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, *, interval: float, rounds: int, seconds: float) -> None:
        """`rounds` batches of each, an interval apart, all spread over the interval; without one, each as soon as the
        one before is stored, for so many seconds."""
        until = time.monotonic() + seconds
        self.latencies, self.broken, self.turned_away, self._tasks = [], [], 0, []
        for number, stream in enumerate(self._streams):
            begin = interval * number / len(self._streams)
            self._tasks.append(
                asyncio.create_task(stream.run(begin, interval, rounds, until), name=f"reports {number}")
            )

    @property
    def pause_s(self) -> float:
        """Before a stream that broke is opened again."""
        return self._rng.uniform(0.5, 2.0)

    async def end(self) -> dict[str, Any]:
        """What came of it, once all have got their last answer."""
        _, late = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
        for task in late:
            task.cancel()
        for failure in await asyncio.gather(*self._tasks, return_exceptions=True):
            if failure is not None:
                self.broken.append(f"{type(failure).__name__}: {failure}")
        return {
            "batches": len(self.latencies),
            "samples": len(self.latencies) * len(self.definitions),
            "latencies": sorted(self.latencies)[:: max(1, len(self.latencies) // 1000)],
            "turned_away": self.turned_away,
            "broken": len(self.broken),
            "why": sorted(set(self.broken))[:3],
            "stored_at": self.stored_at,
        }

    def framed(self, sequence: int, variant: int, *, defines: bool) -> bytes:
        """The batch with this sequence, with or without its definitions; it is as old as its first use."""
        key = (sequence, variant % _VARIANTS)
        found = self._frames.get(key)
        if found is None:
            now = datetime.now(UTC)
            at = now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(milliseconds=key[1])
            count = len(self.definitions)
            values = tuple(float(sequence * 1000 + self._rng.randrange(1000)) for _ in range(count))
            request = ReportRequest(
                sequence=sequence, samples=(Samples(at=at, series=tuple(range(1, count + 1)), values=values),)
            )
            whole = dataclasses.replace(request, series=self.definitions)
            found = self._frames[key] = (frame(codec.encode(request)), frame(codec.encode(whole)))
        return found[defines]


class _ReportStream(Stream):
    __slots__ = ("_answer", "_credential", "_first", "_number", "_of", "_sequence")

    def __init__(self, of: Reporting, credential: str, number: int) -> None:
        super().__init__()
        self._of, self._credential, self._number = of, credential, number
        self._first = b""
        self._sequence = 0
        self._answer: asyncio.Future[ReportResponse] | None = None

    async def run(self, begin: float, interval: float, rounds: int, until: float) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.sleep(begin)
        for number in range(rounds if interval else _MOST_BATCHES):
            if self._sequence >= _MOST_BATCHES or (not interval and time.monotonic() >= until):
                return
            await asyncio.sleep(max(0.0, started + begin + number * interval - loop.time()))
            self._sequence += 1
            await self._store(self._sequence)

    async def _store(self, sequence: int) -> None:
        began = time.monotonic()
        while True:
            try:
                answer = await self._exchange(sequence)
            except OSError as error:  # as a real agent does, it opens a new one
                self._of.broken.append(f"{type(error).__name__}: {error}")
                await asyncio.sleep(self._of.pause_s)
                continue
            if answer.stored >= sequence:
                break
            self._of.turned_away += 1
            await asyncio.sleep(answer.retry_after_ms / 1000)
        self._of.stored_at = time.monotonic()
        self._of.latencies.append(self._of.stored_at - began)

    async def _exchange(self, sequence: int) -> ReportResponse:
        self._answer = asyncio.get_running_loop().create_future()
        if self.is_open:
            self.send(self._of.framed(sequence, self._number, defines=False))
        else:
            self._first = self._of.framed(sequence, self._number, defines=True)
            host, _, port = self._of.target.rpartition(":")
            await asyncio.get_running_loop().create_connection(lambda: self, host, int(port))
        return await self._answer

    def opened(self) -> bytes:
        metadata = {"authorization": f"Bearer {self._credential}"}
        return opening(self._of.target, CHANNEL["Report"].path, metadata) + self._first

    def message(self, data: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(codec.decode(ReportResponse, data))

    def ended(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(why))
