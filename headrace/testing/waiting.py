"""Waiting for a condition on state that changes in the same event loop, without polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Changes:
    """Says that something changed; whoever waits looks for itself."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def announce(self) -> None:
        """Wakes everybody who waits."""
        self._event.set()

    async def until(self, condition: Callable[[], bool], *, timeout: float, shown: Callable[[], object]) -> None:
        """Returns when the condition holds; TimeoutError tells what was `shown` instead, after so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._event.clear()
                    await self._event.wait()
        except TimeoutError:
            raise TimeoutError(f"not within {timeout:g} s; there is {shown()!r}") from None
