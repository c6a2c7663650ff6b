"""The pump sends for all links of a service: each by a short task of its own, a bounded number started per turn.

So a change that goes to thousands of links does not hold up what comes in, and one slow reader holds up nobody. What is
sent is looked up when its turn has come, so a burst of changes costs one message.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable
from typing import Protocol

# How many senders start in one turn of the loop; between turns, what came in is read.
_PER_TURN = 100


class Sender(Protocol):
    """Somebody with something to send; submits itself again when more has come after `flush` ended."""

    flushing: asyncio.Task[None] | None

    async def flush(self) -> None:
        """Sends everything that waits; raises nothing."""


class Pump:
    """First come, first served. Belongs to one event loop; `close` it when no sender is left."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._waiting: collections.deque[Sender] = collections.deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, sender: Sender) -> None:
        """Calls its `flush` soon."""
        self._waiting.append(sender)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._turn)

    async def close(self) -> None:
        """Ends what is still being sent."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(_PER_TURN, len(self._waiting))):
            sender = self._waiting.popleft()
            sender.flushing = task = loop.create_task(sender.flush(), name="sender")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._waiting:
            loop.call_soon(self._turn)
