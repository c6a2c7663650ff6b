"""How this process is told to stop: once, to stop in order; twice, to wait for nothing any more.

There is one stop path (see `app`). What it waits for, it waits for `patiently`: forced, it goes the same way without
waiting, so that doors are closed, files removed and the state closed all the same. Belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import structlog

log = structlog.get_logger(__name__)


class Stop:
    """Two events, in their order."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.forced = asyncio.Event()

    def ask(self) -> None:
        """Begins to stop; asked again, forces it. What a signal calls."""
        (self.forced if self.asked.is_set() else self.asked).set()

    async def patiently(self, step: Coroutine[None, None, None], what: str) -> None:
        """Takes one step of the stop, until it is done or the stop is forced: then it is cancelled, and that is said.

        What the step raises, this raises.
        """
        stepping = asyncio.create_task(step, name=what)
        forced = asyncio.create_task(self.forced.wait(), name="second signal")
        try:
            await asyncio.wait({stepping, forced}, return_when=asyncio.FIRST_COMPLETED)
            if not stepping.done():
                log.warning("forced to stop", cut_short=what)
        finally:
            for task in (stepping, forced):
                task.cancel()
            await asyncio.wait({stepping, forced})
        if not stepping.cancelled():
            stepping.result()
