"""A store whose reads and writes are timed; otherwise the store that it stands for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from typing import TypeVar

from controlplane.model import LogRow, PlaneRow
from controlplane.state.store import Reader, Store, Transaction

L = TypeVar("L", bound=LogRow)

Timer = Callable[[], AbstractContextManager[object]]


class MeteredStore:
    """`reading` and `writing` time a block from its wait for the store to its end, the caller's own work included."""

    def __init__(self, store: Store, *, reading: Timer, writing: Timer) -> None:
        self._store = store
        self._reading = reading
        self._writing = writing

    @property
    def description(self) -> str:
        return self._store.description

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Reader]:
        with self._reading():
            async with self._store.read() as reader:
                yield reader

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        with self._writing():
            async with self._store.write() as transaction:
                yield transaction

    def on_commit(self, hint: Callable[[int], None]) -> Callable[[], None]:
        return self._store.on_commit(hint)

    async def trim(self, row: type[L], *, older_than: datetime) -> int:
        return await self._store.trim(row, older_than=older_than)

    def dump(self) -> AsyncGenerator[bytes, None]:
        return self._store.dump()

    async def load(self, pieces: Iterable[bytes]) -> PlaneRow:
        return await self._store.load(pieces)
