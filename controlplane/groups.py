"""Group commit: many small writes of many tasks as few transactions.

What arrives while a transaction is under way goes into the next one, so a busy store gets larger transactions and an
idle one answers at once. Order of arrival is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from headrace.errors import HeadraceError, UnavailableError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)


class GroupCommit(Generic[Item, Answer]):
    """Collects items and commits them by `commit`, which answers one for one; `run` it in a task of its own."""

    def __init__(self, commit: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, size: int = 500) -> None:
        self._commit = commit
        self._size = size
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._arrived = asyncio.Event()

    async def submit(self, item: Item) -> Answer:
        """Waits until the item is committed; raises what its commit raised."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Commits until cancelled; then nobody is left waiting."""
        try:
            while True:
                await self._arrived.wait()
                group, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                if not self._waiting:
                    self._arrived.clear()
                await self._settle([pair for pair in group if not pair[1].cancelled()])
        finally:
            for _, future in self._waiting:
                future.cancel()

    async def _settle(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        if not group:
            return
        try:
            answers = await self._commit([item for item, _ in group])
        except UnavailableError as error:
            _fail(group, error)
        except Exception as error:
            if not isinstance(error, HeadraceError):
                log.exception("group commit failed", size=len(group))
            if len(group) == 1:
                _fail(group, error)
                return
            for pair in group:  # one bad item must not take the others with it
                await self._settle([pair])
        except asyncio.CancelledError:
            for _, future in group:
                future.cancel()
            raise
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(group: Sequence[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)
