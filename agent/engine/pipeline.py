"""A running pipeline: records flow from inputs through filters to outputs, and parts are exchanged while they do.

Everything runs in the task group that the owner passes in. Filters and routes are exchanged between two batches; inputs
and outputs start and stop one by one. A stop drains from the source on: inputs first, then buffers, then outputs.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from agent.engine.buffer import Chunk, InputBuffer, Ticket
from agent.engine.delivery import Delivery
from agent.engine.logs import ROOT as LOG
from agent.engine.parts import FilterPart, InputPart, OutputPart, Parts
from agent.engine.plugin import Ack
from agent.engine.record import Batch
from agent.engine.router import Routes
from agent.engine.service import Service
from agent.engine.storage import ChunkStore


@dataclass(slots=True)
class Remainder:
    """Records that a stop had to leave: on disk for the next run, at their source to be read again, or nowhere."""

    kept: int = 0
    replayable: int = 0
    lost: int = 0

    def __bool__(self) -> bool:
        return bool(self.kept or self.replayable or self.lost)

    def __str__(self) -> str:
        return (
            f"{self.kept} are on disk for the next start, {self.replayable} will be read again, {self.lost} are lost"
            + (" (set 'storage.path' to keep such records)" if self.lost else "")
        )


class Pipeline:
    """The running parts. `failed` is called with a sentence when a part ends that must not."""

    def __init__(
        self,
        *,
        service: Service,
        store: ChunkStore | None,
        tasks: asyncio.TaskGroup,
        rng: Random,
        failed: Callable[[str], None],
    ) -> None:
        self.parts = Parts()
        self.service = service
        self.store = store
        self.retiring: list[InputPart | OutputPart] = []
        self.backlog: InputBuffer | None = None
        self._tasks = tasks
        self._rng = rng
        self._failed = failed
        self._dirty = asyncio.Event()
        self._filters: Routes[FilterPart] = Routes(())
        self._outputs: Routes[OutputPart] = Routes(())
        self._flusher = tasks.create_task(self._flush(), name="flush")

    @property
    def buffers(self) -> list[InputBuffer]:
        """The buffers of all inputs, also of those that are gone but not settled, and of the backlog."""
        own = [
            part.buffer for part in [*self.parts.inputs, *self.retiring] if isinstance(part, InputPart) and part.buffer
        ]
        return own + ([self.backlog] if self.backlog is not None else [])

    async def exchange(self, parts: Parts) -> None:
        """Run `parts` from now on: all open; those that already ran go on, the others start, what is not among them
        ends.

        An output takes over the undelivered chunks of the one it replaces under the same name.
        """
        old = self.parts
        leaving_inputs = [part for part in old.inputs if part not in parts.inputs]
        await self._end_tasks(part.task for part in leaving_inputs if part.task)
        self.parts = parts
        self._filters = Routes([(part.takes, part) for part in parts.filters])
        self._outputs = Routes([(part.takes, part) for part in parts.outputs])
        for output in parts.outputs:
            if output.delivery is None:
                self._start_output(output)
        for output in old.outputs:
            if output not in parts.outputs:
                successor = next((part for part in parts.outputs if part.name == output.name), None)
                self.retiring.append(output)
                self._tasks.create_task(self._retire_output(output, successor), name=f"retire output {output.name}")
        for leaving in leaving_inputs:
            if leaving.buffer is not None:
                leaving.buffer.flush()
            self.retiring.append(leaving)
            self._tasks.create_task(self._retire_input(leaving), name=f"retire input {leaving.name}")
        for starting in parts.inputs:
            if starting.task is None:
                self._start_input(starting)
        still_used = parts.all()
        for part in old.all():
            if isinstance(part, FilterPart) and part not in still_used:
                await part.plugin.close()

    def deliver_backlog(self) -> int:
        """Send what earlier runs left on disk; returns the number of records."""
        if self.store is None:
            return 0
        self.backlog = InputBuffer(
            "storage_backlog", send=self._send, dirty=self._dirty.set, store=self.store, durable=True
        )
        records = 0
        for file in self.store.backlog():
            try:
                batch, done = file.load()
                number = int(file.path.stem)
            except (OSError, ValueError, KeyError, TypeError) as error:
                LOG.error("[storage] %s is not a whole chunk and is left alone: %s", file.path, error)
                continue
            takers = [part for part in self._outputs.of(batch.tag) if part.name not in done]
            if not takers and not done:
                LOG.warning("[storage] %s: no output takes tag %r; left on disk", file.path, batch.tag)
                continue
            chunk = Chunk(number, batch, self.backlog, file)
            chunk.waiting = {part.name for part in takers}
            records += chunk.count
            self.backlog.adopt(chunk)
        return records

    async def push(self, part: InputPart, batch: Batch, ack: Ack | None) -> None:
        """What `inlet.push` does. Records are taken before the first wait: a push that is cancelled has taken them."""
        buffer = part.buffer
        assert buffer is not None
        part.metrics.records += len(batch)
        part.metrics.bytes += batch.size
        ticket = Ticket(ack)
        if part.settings.routable:
            for processor in part.processors:
                batch = _run(processor, batch, _no_emit)
            for result in self._filtered(batch):
                buffer.append(result, ticket)
        ticket.release()
        if not buffer.has_room.is_set():
            buffer.flush()
        if buffer.has_room.is_set():
            await asyncio.sleep(0)  # let outputs and the monitoring API have their turn
        else:
            part.context.log.warning("paused (mem buf overlimit)")
            await buffer.has_room.wait()
            part.context.log.info("resume (mem buf overlimit)")

    async def stop(self) -> Remainder:
        """Stop all parts, inputs first; undelivered records get `grace` seconds, the rest is kept if it can be."""
        everything: list[InputPart | OutputPart] = [*self.parts.inputs, *self.parts.outputs, *self.retiring]
        inputs = [part for part in everything if isinstance(part, InputPart)]
        outputs = [part for part in everything if isinstance(part, OutputPart)]
        await self._end_tasks([self._flusher, *(part.task for part in inputs if part.task)])
        for buffer in self.buffers:
            buffer.flush()
        for output in outputs:
            if output.delivery is not None:
                output.delivery.drain()
        try:
            async with asyncio.timeout(self.service.grace):
                for buffer in self.buffers:
                    await buffer.is_idle.wait()
        except TimeoutError:
            LOG.warning("[engine] outputs did not take everything in %d seconds", self.service.grace)
        await self._end_tasks(task for part in outputs for task in part.tasks)
        remainder = self._keep_rest()
        for part in everything:
            await part.plugin.close()
        for filter_part in self.parts.all():
            if isinstance(filter_part, FilterPart):
                await filter_part.plugin.close()
        return remainder

    def _keep_rest(self) -> Remainder:
        remainder = Remainder()
        for buffer in self.buffers:
            for chunk in buffer.chunks:
                try:
                    kept = buffer.keep(chunk)
                except (OSError, ValueError) as error:
                    LOG.error("[storage] a chunk of %d records cannot be kept: %s", chunk.count, error)
                    kept = False
                if kept:
                    remainder.kept += chunk.count
                elif chunk.replayable:
                    remainder.replayable += chunk.count
                else:
                    remainder.lost += chunk.count
        return remainder

    def _filtered(self, batch: Batch) -> Iterable[Batch]:
        """What the filters make of a batch. A filter never sees again what it emitted itself."""
        work: deque[tuple[Batch, frozenset[FilterPart]]] = deque([(batch, frozenset())])
        while work:
            current, emitters = work.popleft()
            for part in self._filters.of(current.tag):
                if part in emitters:
                    continue
                by = emitters | {part}
                current = _run(part, current, lambda emitted, by=by: work.append((emitted, by)))  # type: ignore[misc]  # default binds the loop's value
                if not current.records:
                    break
            if current.records:
                yield current

    def _send(self, chunk: Chunk) -> None:
        takers = self._outputs.of(chunk.tag)
        if chunk.waiting:  # from the backlog: some outputs may have it already
            takers = tuple(part for part in takers if part.name in chunk.waiting)
        chunk.waiting = {part.name for part in takers}
        if not takers:
            chunk.buffer.settle(chunk)
        for part in takers:
            assert part.delivery is not None
            part.delivery.offer(chunk)

    async def _flush(self) -> None:
        while True:
            await self._dirty.wait()
            await asyncio.sleep(self.service.flush)
            self._dirty.clear()
            for buffer in self.buffers:
                buffer.flush()

    def _start_input(self, part: InputPart) -> None:
        part.buffer = InputBuffer(
            part.name,
            send=self._send,
            dirty=self._dirty.set,
            limit=part.settings.mem_buf_limit,
            store=self.store,
            durable=part.durable,
        )
        part.task = self._task(f"input {part.name}", part.plugin.run(_Inlet(self, part)))

    def _start_output(self, part: OutputPart) -> None:
        part.delivery = Delivery(
            part.name,
            part.plugin,
            log=part.context.log,
            metrics=part.metrics,
            retry_limit=part.retry_limit,
            schedule=lambda: self.service.schedule,
            rng=self._rng,
        )
        workers = max(1, part.settings.workers)
        part.tasks = [self._task(f"output {part.name} worker {n}", part.delivery.run()) for n in range(workers)]

    def _task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:
                LOG.exception("[engine] %s failed", name)
                self._failed(f"{name} failed: {error}")

        return self._tasks.create_task(guarded(), name=name)

    async def _retire_input(self, part: InputPart) -> None:
        assert part.buffer is not None
        await part.buffer.is_idle.wait()
        self.retiring.remove(part)
        await part.plugin.close()

    async def _retire_output(self, part: OutputPart, successor: OutputPart | None) -> None:
        assert part.delivery is not None
        if successor is not None and successor.delivery is not None:
            part.delivery.hand_over(successor.delivery)
        else:
            part.delivery.drain()
        try:
            async with asyncio.timeout(self.service.grace):
                await part.delivery.is_idle.wait()
        except TimeoutError:
            pass
        await self._end_tasks(part.tasks)
        if successor is not None and successor.delivery is not None:
            part.delivery.hand_over(successor.delivery)
        elif part.delivery.busy:
            dropped = part.delivery.abandon()
            LOG.error(
                "[output:%s] is gone from the configuration; %d undelivered records are dropped", part.name, dropped
            )
        self.retiring.remove(part)
        await part.plugin.close()

    @staticmethod
    async def _end_tasks(tasks: Iterable[asyncio.Task[None]]) -> None:
        ending = list(tasks)
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)


class _Inlet:
    """The inlet of one input."""

    def __init__(self, pipeline: Pipeline, part: InputPart) -> None:
        self._pipeline = pipeline
        self._part = part

    async def push(self, batch: Batch, ack: Ack | None = None) -> None:
        await self._pipeline.push(self._part, batch, ack)


def _run(part: FilterPart, batch: Batch, emit: Callable[[Batch], None]) -> Batch:
    records, size = len(batch), batch.size
    result = part.plugin.process(batch, emit)
    part.metrics.count(records, len(result), size, result.size)
    return result


def _no_emit(_batch: Batch) -> None:
    raise RuntimeError("a processor cannot emit records under another tag")
