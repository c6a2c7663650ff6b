"""One output's queue: writes chunks in order, tries failed ones again later, gives up as the retry limit says.

A chunk that waits for its retry does not hold up the others. Runs as one task per worker in the engine's task group.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from random import Random

from agent.engine.buffer import Chunk
from agent.engine.logs import PluginLog
from agent.engine.metrics import Accounts, Flow, OutputMetrics
from agent.engine.plugin import Output, Result
from agent.engine.record import Batch
from agent.engine.retry import RetrySchedule, may_retry

DRAIN_RETRY = 1.0


class Delivery:
    """The chunks that one output has yet to settle.

    `name` is the output's instance name; a chunk is settled under it. `flows` counts by input what was delivered.
    `prepare` makes what is written of a copy of what the chunk holds. While draining, failed chunks are tried again
    every second and not given up: hurried tries do not count, and what is left at the end can be kept.

    Of chunks on disk no more wait than have `total_limit` bytes there (0 is any number): the oldest is dropped for the
    newest, and counted, unless it is being written.
    """

    def __init__(
        self,
        name: str,
        output: Output,
        *,
        log: PluginLog,
        metrics: OutputMetrics,
        flows: dict[str, Flow],
        accounts: Accounts,
        retry_limit: int,
        schedule: Callable[[], RetrySchedule],
        rng: Random,
        prepare: Callable[[Batch], Batch] | None = None,
        total_limit: int = 0,
    ) -> None:
        self.name = name
        self.output = output
        self.metrics = metrics
        self.flows = flows
        self._accounts = accounts
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self._log = log
        self._retry_limit = retry_limit
        self._schedule = schedule
        self._rng = rng
        self._prepare = prepare
        self._total_limit = total_limit
        self._on_disk: dict[Chunk, int] = {}
        self._queue: deque[Chunk] = deque()
        self._ready = asyncio.Event()
        self._writing: set[Chunk] = set()
        self._waiting: dict[Chunk, asyncio.TimerHandle] = {}
        self._retries: dict[Chunk, int] = {}
        self._draining = False
        self._successor: Delivery | None = None

    @property
    def busy(self) -> int:
        """Chunks that wait or are being written."""
        return len(self._queue) + len(self._writing) + len(self._waiting)

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk; it has this output's name in `waiting`."""
        self._queue.append(chunk)
        self._ready.set()
        self.is_idle.clear()
        if self._total_limit and chunk.file is not None and chunk not in self._on_disk:
            self._on_disk[chunk] = chunk.file.size()
            self._make_room()

    async def run(self) -> None:
        """Write chunks until cancelled. A write under way when that happens counts as not done."""
        while True:
            while not self._queue:
                self._ready.clear()
                await self._ready.wait()
            chunk = self._queue.popleft()
            self._writing.add(chunk)
            try:
                result = await self._write(chunk)
            except asyncio.CancelledError:
                self._queue.appendleft(chunk)
                raise
            finally:
                self._writing.discard(chunk)
            self._conclude(chunk, result)

    def drain(self) -> None:
        """The end is near: try what failed again now, and then every second."""
        self._draining = True
        for chunk, timer in list(self._waiting.items()):
            timer.cancel()
            del self._waiting[chunk]
            self.offer(chunk)

    def hand_over(self, successor: "Delivery") -> None:
        """Give every chunk to the output that takes this one's place; a write under way ends here first."""
        self._successor = successor
        self.drain()
        while self._queue:
            successor.offer(self._queue.popleft())
        self._check_idle()

    def abandon(self) -> int:
        """Drop what is left, counted: the configuration has this output no more. Returns the number of records."""
        self.drain()
        records = sum(chunk.count for chunk in self._queue)
        while self._queue:
            self._drop(self._queue.popleft())
        return records

    def _make_room(self) -> None:
        total = sum(self._on_disk.values())
        if total <= self._total_limit:
            return
        for chunk in sorted(self._on_disk.keys() - self._writing, key=lambda chunk: chunk.number):
            size = self._on_disk[chunk]
            self._push_out(chunk, total)
            total -= size
            if total <= self._total_limit:
                return

    def _push_out(self, chunk: Chunk, total: int) -> None:
        self._log.error(
            "%d records of %s are dropped: %d bytes wait on disk, and storage.total_limit_size is %d",
            chunk.count,
            chunk.buffer.source,
            total,
            self._total_limit,
        )
        timer = self._waiting.pop(chunk, None)
        if timer is not None:
            timer.cancel()
        else:
            self._queue.remove(chunk)
        for look in chunk.looks:
            look.delivered(self.name, Result.ERROR)
        self._drop(chunk)

    async def _write(self, chunk: Chunk) -> Result:
        try:
            batch = chunk.load()
            if self._prepare is not None:
                batch = self._prepare(batch.copy())  # other outputs have the same one
            batch.origin = (chunk.buffer.plugin, chunk.buffer.source)
            result = await self.output.write(batch) if batch.records else Result.OK
        except (OSError, TimeoutError) as error:
            self._log.error("%s", error)
            result = Result.RETRY
        except Exception:
            self._log.exception("unexpected error in write; the chunk will be tried again")
            result = Result.RETRY
        if result is Result.OK:
            self.metrics.proc_records += chunk.count
            self.metrics.proc_bytes += chunk.size
            records, size = (chunk.count, chunk.size) if chunk.signal == "logs" else (0, 0)
            seconds = time.monotonic() - chunk.created
            self.flows.setdefault(chunk.buffer.source, Flow()).add(records, size, seconds)
        return result

    def _conclude(self, chunk: Chunk, result: Result) -> None:
        for look in chunk.looks:
            look.delivered(self.name, result)
        retries = self._retries.get(chunk, 0)
        if result is Result.OK:
            self._settle(chunk)
        elif result is Result.RETRY and self._successor is not None:
            self._successor.offer(chunk)
        elif result is Result.RETRY and (self._draining or may_retry(retries, self._retry_limit)):
            self._retry_later(chunk, retries + 1)
        else:
            if result is Result.RETRY:
                self.metrics.retries_failed += 1
                self._log.error("chunk of %d records given up after %d retries: dropped", chunk.count, retries)
            else:
                self.metrics.errors += 1
                self._log.error("chunk of %d records was refused: dropped", chunk.count)
            self._drop(chunk)
        self._check_idle()

    def _drop(self, chunk: Chunk) -> None:
        self.metrics.dropped_records += chunk.count
        self._accounts.dropped += chunk.count if chunk.signal == "logs" else 0
        self._settle(chunk)

    def _retry_later(self, chunk: Chunk, retry: int) -> None:
        self._retries[chunk] = retry
        self.metrics.retries += 1
        self.metrics.retried_records += chunk.count
        delay = DRAIN_RETRY if self._draining else self._schedule().delay(retry, self._rng)
        self._log.warning("chunk of %d records was not delivered; retry %d in %g seconds", chunk.count, retry, delay)
        chunk.unload()

        def again() -> None:
            del self._waiting[chunk]
            self.offer(chunk)

        self._waiting[chunk] = asyncio.get_running_loop().call_later(delay, again)

    def _settle(self, chunk: Chunk) -> None:
        self._retries.pop(chunk, None)
        self._on_disk.pop(chunk, None)
        try:
            chunk.settle(self.name)
        except OSError as error:  # the records are delivered; at worst they are again after a restart
            self._log.error("chunk is settled, but its file could not be changed: %s", error)
        self._check_idle()

    def _check_idle(self) -> None:
        if not self.busy:
            self.is_idle.set()
