"""Between many reports and one store: points wait here, bounded, until enough are there or a moment has passed.

Whoever puts points waits until the store has them, or is told at once when to come again: the buffer is full, or the
store is away. So a store that is down costs no memory and delays nothing but metrics, and agents keep what they have.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.store import MetricStore
from controlplane.metrics.vocabulary import Block, StoreUnavailableError, Written, size_of
from headrace.retry import FullJitter

CAPACITY, BATCH, MOST = 200_000, 5_000, 20_000
"""How many points may wait, how many are worth a write, and how many go into one."""
LINGER_S = 1.0
_LONGEST_PAUSE_S = 30.0

log = structlog.get_logger(__name__)


class NotStoredError(Exception):
    """Not taken; the same points are welcome again after so many seconds."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"come again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class _Entry:
    """One caller's points; they are written together."""

    blocks: Sequence[Block]
    size: int
    stored: asyncio.Future[None]


class Buffer:
    """`run` it in a task of its own; everything else may be called concurrently."""

    def __init__(
        self,
        store: MetricStore,
        *,
        meters: MetricMeters,
        monotonic: Callable[[], float],
        rng: random.Random,
        capacity: int = CAPACITY,
        linger_s: float = LINGER_S,
    ) -> None:
        self._store = store
        self._meters = meters
        self._monotonic = monotonic
        self._rng = rng
        self._capacity = capacity
        self._linger_s = linger_s
        self._pauses = FullJitter(rng, first=1.0, maximum=_LONGEST_PAUSE_S)
        self._entries: list[_Entry] = []
        self._waiting = 0
        self._under_way = 0
        self._arrived, self._enough = asyncio.Event(), asyncio.Event()
        self._failures = 0
        self._closed_until = 0.0
        self.trouble = ""
        """Why the store took nothing the last time; empty when it did."""

    async def put(self, blocks: Sequence[Block]) -> None:
        """Returns when the store has them. Raises NotStoredError."""
        size = size_of(blocks)
        if not size:
            return
        if (pause := self._closed_until - self._monotonic()) > 0:
            raise self._come_again(pause)
        if self._waiting + self._under_way + size > self._capacity:
            raise self._come_again(2 * self._linger_s)
        entry = _Entry(blocks, size, asyncio.get_running_loop().create_future())
        self._entries.append(entry)
        self._waiting += size
        self._meters.waiting.set(self._waiting + self._under_way)
        self._arrived.set()
        if self._waiting >= BATCH:
            self._enough.set()
        await entry.stored

    async def run(self) -> None:
        """Writes until cancelled; then nobody is left waiting."""
        try:
            while True:
                await self._arrived.wait()
                try:
                    async with asyncio.timeout(self._linger_s):
                        await self._enough.wait()
                except TimeoutError:
                    pass
                await self._write(self._take())
        finally:
            self._fail(self._take(everything=True), 0.0)

    def _take(self, *, everything: bool = False) -> list[_Entry]:
        taken: list[_Entry] = []
        size = 0
        for entry in self._entries:
            if taken and size + entry.size > MOST and not everything:
                break
            taken.append(entry)
            size += entry.size
        del self._entries[: len(taken)]
        self._waiting -= size
        if not self._entries:
            self._arrived.clear()
        if self._waiting < BATCH:
            self._enough.clear()
        return taken

    async def _write(self, entries: list[_Entry]) -> None:
        # Who was cancelled meanwhile, say because its stream broke, sends the same again.
        blocks = [block for entry in entries if not entry.stored.cancelled() for block in entry.blocks]
        if not blocks:
            return
        self._under_way = size_of(blocks)
        try:
            with self._meters.writes.time():
                written = await self._store.write(blocks)
        except StoreUnavailableError as error:
            self._pause(error.message, error.retry_after_s)
            self._fail([*entries, *self._take(everything=True)], self._closed_until - self._monotonic())
        except asyncio.CancelledError:
            self._fail(entries, 0.0)
            raise
        except Exception:
            log.exception("metrics could not be written", points=self._under_way)
            self._pause("a defect of this control plane; its log has it", 0.0)
            self._fail(entries, self._closed_until - self._monotonic())
        else:
            self._succeed(entries, written)
        finally:
            self._under_way = 0
            self._meters.waiting.set(self._waiting)

    def _succeed(self, entries: list[_Entry], written: Written) -> None:
        if self._failures:
            log.info("metric store takes metrics again", store=self._store.description)
        self._failures, self.trouble = 0, ""
        self._meters.points.inc(written.stored)
        for reason, count in written.refused.items():
            self._meters.refuse(reason, count)
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_result(None)

    def _pause(self, message: str, wish_s: float) -> None:
        if not self._failures:
            log.warning("metric store takes no metrics; agents keep them", error=message)
        pause = max(wish_s, self._pauses.delay(self._failures))
        self._failures += 1
        self.trouble = message
        self._closed_until = self._monotonic() + pause

    def _fail(self, entries: list[_Entry], pause: float) -> None:
        for entry in entries:
            if not entry.stored.done():
                entry.stored.set_exception(self._come_again(pause))

    def _come_again(self, pause: float) -> NotStoredError:
        """Spread, so that a fleet does not come at once."""
        return NotStoredError(max(1.0, pause) * self._rng.uniform(1.0, 1.5))
