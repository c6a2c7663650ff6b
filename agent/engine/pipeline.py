"""A running pipeline: records flow from inputs through filters to outputs, and parts are exchanged while they do.

Everything runs in the task group that the owner passes in. Filters and routes are exchanged between two batches; inputs
and outputs start and stop one by one. A stop drains from the source on: inputs first, then buffers, then outputs.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from random import Random
from typing import Any

from agent.engine.buffer import Chunk, InputBuffer, Ticket
from agent.engine.counters import Counters
from agent.engine.delivery import Delivery
from agent.engine.filtering import Passed, filtered, processed
from agent.engine.line import Kept, Line
from agent.engine.logs import ROOT as LOG
from agent.engine.metrics import Accounts
from agent.engine.parts import FilterPart, InputPart, OutputPart, Parts
from agent.engine.plugin import Ack, Held, Wait
from agent.engine.record import Batch, Signal
from agent.engine.remainder import Remainder, keep_rest
from agent.engine.router import Routes
from agent.engine.service import Service
from agent.engine.storage import ChunkStore
from agent.engine.tracing import Look, Tracer


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
        tracer: Tracer,
        counters: Counters,
    ) -> None:
        self.tracer = tracer
        self.parts = Parts()
        self.service = service
        self.store = store
        self.retiring: list[InputPart | OutputPart] = []
        self.backlog: InputBuffer | None = None
        self._tasks = tasks
        self._rng = rng
        self._failed = failed
        self._counters = counters
        self._dirty = asyncio.Event()
        self._filters: Routes[FilterPart] = Routes(())
        self._outputs: Routes[OutputPart] = Routes(())
        self._untaken: set[tuple[str, Signal]] = set()
        self._retirements: set[asyncio.Task[None]] = set()
        self._leaving_filters: list[FilterPart] = []
        self._flusher = tasks.create_task(self._flush(), name="flush")

    @property
    def buffers(self) -> list[InputBuffer]:
        """The buffers of all inputs, also of those that are gone but not settled, and of the backlog."""
        own = [
            part.buffer for part in [*self.parts.inputs, *self.retiring] if isinstance(part, InputPart) and part.buffer
        ]
        return own + ([self.backlog] if self.backlog is not None else [])

    @property
    def _lines(self) -> list[Line]:
        """The lines that somebody stands in."""
        parts = [part for part in [*self.parts.inputs, *self.retiring] if isinstance(part, InputPart)]
        return [part.line for part in parts if part.line is not None and not part.line.is_empty]

    @property
    def unaccounted(self) -> int | None:
        """Log records that are lost without a word; None where that cannot be told."""
        waiting = 0
        for buffer in self.buffers:
            for chunk in buffer.chunks:
                if chunk.signal == "logs":
                    waiting += chunk.count * (len(chunk.waiting) if chunk in buffer.sent else 1)
        return self._counters.unaccounted(waiting)

    @property
    def _accounts(self) -> Accounts:
        return self._counters.accounts

    async def exchange(self, parts: Parts) -> None:
        """Run `parts`, which are all open, from now on: those that ran go on, the others start, what is not there ends.

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
                self._retire(f"output {output.name}", self._retire_output(output, successor))
        for leaving in leaving_inputs:
            if leaving.buffer is not None:
                leaving.buffer.flush()
            self.retiring.append(leaving)
            self.tracer.stop(leaving.name)
            self._retire(f"input {leaving.name}", self._retire_input(leaving))
        for starting in parts.inputs:
            if starting.task is None:
                self._start_input(starting)
        still_used = parts.all()
        gone = [part for part in old.all() if isinstance(part, FilterPart) and part not in still_used]
        if waiting := [line.task for line in self._lines if line.task]:
            self._leaving_filters += gone
            self._retire("filters", self._retire_filters(gone, waiting))
        else:
            for part in gone:
                await part.plugin.close()

    def deliver_backlog(self) -> int:
        """Send what earlier runs left on disk; returns the number of records."""
        if self.store is None:
            return 0
        self.backlog = InputBuffer(
            "storage_backlog",
            send=self._send,
            dirty=self._dirty.set,
            store=self.store,
            durable=True,
            plugin="storage_backlog",
        )
        records = 0
        for file in self.store.backlog():
            try:
                batch, done = file.load()
                number = int(file.path.stem)
            except (OSError, ValueError, KeyError, TypeError) as error:
                LOG.error("[storage] %s is not a whole chunk and is left alone: %s", file.path, error)
                continue
            if not done and not self._outputs.of(batch.tag):
                LOG.warning("[storage] %s: no output takes tag %r; left on disk", file.path, batch.tag)
                continue
            chunk = Chunk(number, batch, self.backlog, file)
            chunk.done = done
            records += chunk.count
            if chunk.signal == "logs" and not self._counters.is_resumed:
                self._accounts.resumed += chunk.count
            self.backlog.adopt(chunk)
        return records

    async def push(self, part: InputPart, batch: Batch, ack: Ack | None) -> None:
        """What `inlet.push` does. Records are taken before the first wait: a push that is cancelled has taken them."""
        buffer = part.buffer
        assert buffer is not None
        part.metrics.records += len(batch) if batch.signal == "logs" else 0
        part.metrics.bytes += batch.size
        ticket = Ticket(ack)
        look = self.tracer.look(part.name, part.section.alias)
        if look is not None:
            look.read(batch)
        if part.settings.routable:
            self._take(part, batch, part.processors, [ticket], look)
        elif batch.signal == "logs":
            self._accounts.unrouted += len(batch)
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
        await self._end_tasks(self._retirements)  # what they have not finished is done here
        everything: list[InputPart | OutputPart] = [*self.parts.inputs, *self.parts.outputs, *self.retiring]
        inputs = [part for part in everything if isinstance(part, InputPart)]
        outputs = [part for part in everything if isinstance(part, OutputPart)]
        await self._end_tasks([self._flusher, *(part.task for part in inputs if part.task)])
        deadline = asyncio.get_running_loop().time() + self.service.grace
        if waiting := [line.task for line in self._lines if line.task]:
            await asyncio.wait(waiting, timeout=self.service.grace / 2)
        for line in self._lines:
            await line.finish()
        filters = [*self.parts.filters, *self._leaving_filters, *(own for part in inputs for own in part.processors)]
        for filter_part in filters:
            await filter_part.plugin.close()  # what they hold is emitted
        for line in self._lines:
            await line.finish()
        for buffer in self.buffers:
            buffer.flush()
        for output in outputs:
            if output.delivery is not None:
                output.delivery.drain()
        try:
            async with asyncio.timeout_at(deadline):
                for buffer in self.buffers:
                    await buffer.is_idle.wait()
        except TimeoutError:
            LOG.warning("[engine] outputs did not take everything in %d seconds", self.service.grace)
        await self._end_tasks(task for part in outputs for task in part.tasks)
        remainder = keep_rest(self.buffers, self._accounts)
        for part in everything:
            await part.plugin.close()
        for processor in (own for part in outputs for own in part.processors):
            await processor.plugin.close()
        return remainder

    def _take(
        self, part: InputPart, batch: Batch, processors: Sequence[FilterPart], tickets: list[Ticket], look: Look | None
    ) -> None:
        """Through these processors of the input and the filters into its buffer."""
        buffer = part.buffer
        assert buffer is not None

        def hold(rest: Sequence[FilterPart]) -> Held:
            return Kept(lambda kept, own: self._take(part, kept, rest, own, look), tickets, buffer)

        self._filter(part, processed(batch, processors, hold), tickets, look)

    def _filter(
        self,
        part: InputPart,
        batch: Batch,
        tickets: list[Ticket],
        look: Look | None,
        passed: Passed = frozenset(),
    ) -> None:
        """Through the filters that it has not passed into the input's buffer, one after the other in its line."""
        buffer, line = part.buffer, part.line
        assert buffer is not None
        assert line is not None

        def hold(behind: Passed) -> Held:
            def emit(kept: Batch, own: list[Ticket]) -> None:
                self._accounts.emitted += len(kept) if kept.signal == "logs" else 0
                self._filter(part, kept, own, look, behind)

            return Kept(emit, tickets, buffer)

        way = filtered(batch, self._filters, hold, self._accounts, look, passed)
        records = len(batch) if batch.signal == "logs" else 0
        self._accounts.standing += records
        line.take(self._begun(way, records), *tickets, size=batch.size, look=look)

    def _begun(self, way: Iterator[Batch | Wait], records: int) -> Iterator[Batch | Wait]:
        """Until its first step a batch stands in line."""
        self._accounts.standing -= records
        yield from way

    def _send(self, chunk: Chunk) -> None:
        meant = self._outputs.of(chunk.tag)
        able = [part for part in meant if chunk.signal in part.signals]
        if meant and not able and (chunk.tag, chunk.signal) not in self._untaken:
            self._untaken.add((chunk.tag, chunk.signal))
            names = ", ".join(part.name for part in meant)
            LOG.warning("[router] %s of tag %r are dropped: none of %s takes them", chunk.signal, chunk.tag, names)
        takers = [part for part in able if part.name not in chunk.done]
        chunk.waiting = {part.name for part in takers}
        if chunk.signal == "logs":
            self._accounts.copied += chunk.count * max(0, len(takers) - 1)
            self._accounts.unrouted += 0 if takers else chunk.count
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
            plugin=part.section.name or "",
        )
        part.line = Line(part.buffer, lambda work: self._task(f"line of input {part.name}", work))
        part.task = self._task(f"input {part.name}", part.plugin.run(_Inlet(self, part)))

    def _start_output(self, part: OutputPart) -> None:
        part.delivery = Delivery(
            part.name,
            part.plugin,
            log=part.context.log,
            metrics=part.metrics,
            flows=part.flows,
            accounts=self._accounts,
            retry_limit=part.retry_limit,
            schedule=lambda: self.service.schedule,
            rng=self._rng,
            total_limit=part.settings.total_limit_size,
            prepare=(lambda batch: processed(batch, part.processors)) if part.processors else None,
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

    def _retire(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work, name=f"retire {name}")
        self._retirements.add(task)
        task.add_done_callback(self._retirements.discard)

    async def _retire_filters(self, parts: list[FilterPart], waiting: list[asyncio.Task[None]]) -> None:
        """Close filters when no batch is on its way through them any more."""
        await asyncio.wait(waiting)
        for part in parts:
            self._leaving_filters.remove(part)
            await part.plugin.close()

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

    @property
    def is_paused(self) -> bool:
        return self._part.buffer is not None and self._part.buffer.paused

    async def push(self, batch: Batch, ack: Ack | None = None) -> None:
        await self._pipeline.push(self._part, batch, ack)
