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
        self._waiting: list[tuple[Item, asyncio.Future[Answer] | None]] = []
        self._arrived = asyncio.Event()
        self._rested = asyncio.Event()
        self._rested.set()

    async def submit(self, item: Item) -> Answer:
        """Waits until the item is committed; raises what its commit raised. Who is cancelled takes its item along."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._add(item, future)
        return await future

    def post(self, item: Item) -> None:
        """Commits the item soon; nobody waits for it, and a failure is only logged."""
        self._add(item, None)

    async def rest(self) -> None:
        """Waits until nothing waits."""
        await self._rested.wait()

    async def run(self) -> None:
        """Commits until cancelled; then nobody is left waiting."""
        try:
            while True:
                await self._arrived.wait()
                group, self._waiting = self._waiting[: self._size], self._waiting[self._size :]
                if not self._waiting:
                    self._arrived.clear()
                await self._settle([pair for pair in group if pair[1] is None or not pair[1].cancelled()])
                if not self._waiting:
                    self._rested.set()
        finally:
            self._rested.set()
            for _, future in self._waiting:
                if future is not None:
                    future.cancel()

    def _add(self, item: Item, future: asyncio.Future[Answer] | None) -> None:
        self._waiting.append((item, future))
        self._rested.clear()
        self._arrived.set()

    async def _settle(self, group: Sequence[tuple[Item, asyncio.Future[Answer] | None]]) -> None:
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
                if future is not None:
                    future.cancel()
            raise
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                if future is not None and not future.done():
                    future.set_result(answer)


def _fail(group: Sequence[tuple[Item, asyncio.Future[Answer] | None]], error: Exception) -> None:
    for item, future in group:
        if future is None:
            log.warning("not committed", item=repr(item), error=str(error))
        elif not future.done():
            future.set_exception(error)
