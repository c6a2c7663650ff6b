"""When inputs look that look now and then: at even intervals, without catching up on what took too long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from agent.engine.config import INTEGER, option
from agent.engine.record import NANOSECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalOptions:
    """How often an input looks that looks every second by default."""

    interval_sec: int = option(INTEGER, 1, help="seconds between two looks")
    interval_nsec: int = option(INTEGER, 0, help="nanoseconds between two looks, added to the seconds")

    @property
    def seconds(self) -> float:
        return interval(self.interval_sec, self.interval_nsec)


async def every(seconds: float, *, at_once: bool = False) -> AsyncIterator[None]:
    """Comes each so many seconds, the first time after as many, or at once."""
    loop = asyncio.get_running_loop()
    due = loop.time() + (0 if at_once else seconds)
    while True:
        await asyncio.sleep(max(0.0, due - loop.time()))
        yield
        due = max(due + seconds, loop.time())


def interval(seconds: int, nanoseconds: int) -> float:
    """The interval that two properties say together; where they say none it is a second, as in Fluent Bit."""
    given = seconds * NANOSECONDS + nanoseconds
    return given / NANOSECONDS if given > 0 else 1.0
