"""One moment that something waits for, which may be moved."""

import asyncio
from collections.abc import Callable


class Alarm:
    """`ring` is called once, with the loop's time, at the moment that was set last."""

    __slots__ = ("_ring", "_timer")

    def __init__(self, ring: Callable[[float], None]) -> None:
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float | None) -> None:
        """By the loop's time; None is never."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(at, lambda: self._ring(loop.time()))
