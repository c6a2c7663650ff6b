"""When inputs look that look now and then: at even intervals, without catching up on what took too long."""

import asyncio
from collections.abc import AsyncIterator

from agent.engine.record import NANOSECONDS


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
