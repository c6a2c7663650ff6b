"""The line of one input before a filter that waits for something: batches go on in order, and none goes twice.

A filter that needs something from elsewhere says what to wait for (`Prepares` in `plugin.py`). The batch's way through
the filters, which is a generator, then stops before that filter and stands at the head of its input's line; what the
input hands over meanwhile queues up behind it. One task per line waits and goes on; a line that is empty has none, and
costs nothing. What stands in line is not acknowledged, counts as the input's memory, so that the input pauses at its
limit, and keeps its buffer from being idle. `finish` waits no longer: the filters do what they can with what they have.
Used from the event loop's thread only.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.engine.buffer import InputBuffer, Ticket
from agent.engine.logs import ROOT as LOG
from agent.engine.plugin import Held, Wait
from agent.engine.record import Batch
from agent.engine.tracing import Look


@dataclass(slots=True)
class _Job:
    """A batch on its way; `wait` is what it stands for now, if it has begun."""

    way: Iterator[Batch | Wait]
    tickets: tuple[Ticket, ...]
    look: Look | None
    size: int
    wait: Wait | None = None
    is_broken: bool = False


class Line:
    """`start` makes the task that waits."""

    def __init__(self, buffer: InputBuffer, start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._buffer = buffer
        self._start = start
        self._jobs: deque[_Job] = deque()
        self.task: asyncio.Task[None] | None = None
        """Runs while somebody stands in line."""

    @property
    def is_empty(self) -> bool:
        return not self._jobs

    def take(self, way: Iterator[Batch | Wait], *tickets: Ticket, size: int, look: Look | None = None) -> None:
        """Let a batch go its way, in this turn if nobody stands in line and it has nothing to wait for."""
        job = _Job(way, tickets, look, size)
        if not self._jobs:
            job.wait = self._go(job)
            if job.wait is None:
                return
        for ticket in tickets:
            ticket.hold()
        self._buffer.hold(size)
        self._jobs.append(job)
        if self.task is None:
            self.task = self._start(self._work())

    async def finish(self) -> None:
        """Let everybody go on now. Records that a filter fails on are not acknowledged."""
        await asyncio.sleep(0)  # a task that is new has begun
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        for job in list(self._jobs):
            try:
                wait = job.wait or self._go(job)
                while wait is not None:
                    wait.close()
                    wait = self._go(job)
            except Exception:
                LOG.exception("[engine] records of %s that stood in line are not delivered", self._buffer.source)
            self._leave(job)

    async def _work(self) -> None:
        try:
            while self._jobs:
                job = self._jobs[0]
                wait, job.wait = job.wait or self._go(job), None
                while wait is not None:
                    await wait
                    wait = self._go(job)
                self._leave(job)
                await asyncio.sleep(0)  # outputs have their turn
        finally:
            self.task = None

    def _go(self, job: _Job) -> Wait | None:
        """As far as it goes without waiting; what to wait for before the next step, None at the end."""
        try:
            for step in job.way:
                if not isinstance(step, Batch):
                    return step
                self._buffer.append(step, *job.tickets, look=job.look)
        except BaseException:
            job.is_broken = True  # never acknowledged
            raise
        return None

    def _leave(self, job: _Job) -> None:
        self._jobs.remove(job)
        if not job.is_broken:
            for ticket in job.tickets:
                ticket.release()
        self._buffer.let_go(job.size)


class Kept:
    """What a filter keeps of a batch, which is of one push, or of the several that a message was put together of."""

    def __init__(self, emit: Callable[[Batch, list[Ticket]], None], tickets: list[Ticket], buffer: InputBuffer) -> None:
        self._emit = emit
        self._tickets = tickets
        self._buffer = buffer
        for ticket in tickets:
            ticket.hold()
        buffer.hold()

    def emit(self, batch: Batch, others: Iterable[Held] = ()) -> None:
        more = (ticket for other in others if isinstance(other, Kept) for ticket in other._tickets)
        self._emit(batch, [*self._tickets, *more])

    def release(self) -> None:
        for ticket in self._tickets:
            ticket.release()
        self._buffer.let_go()
