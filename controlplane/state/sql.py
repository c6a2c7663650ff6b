"""The Store of every SQL database: when transactions begin and end, who is told, and how it is dumped and loaded.

A backend is a `Database`: how to connect, and the few things that SQLite and Postgres do differently.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Protocol, TypeVar, cast

import sqlalchemy as sa
import structlog

from controlplane.model import LogRow, PlaneRow
from controlplane.state import dump
from controlplane.state.migrate import migrate
from controlplane.state.statements import Dialect, Statements
from controlplane.state.tables import table_of
from controlplane.state.transaction import Run, SqlReader, SqlTransaction
from headrace.errors import UnavailableError

L = TypeVar("L", bound=LogRow)

TRIM_BATCH = 1000
"""Rows that one transaction of `trim` looks at, so that no other waits for long."""

_log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _new_instance_id() -> str:
    return secrets.token_hex(8)


class Database(Dialect, Protocol):
    """A backend."""

    @property
    def description(self) -> str:
        """The kind and the place, never a password."""

    def opened(self) -> AbstractAsyncContextManager[None]:
        """The database is usable inside. Raises ConflictError when another process has it for itself."""

    def listening(self, hint: Callable[[int], None]) -> AbstractAsyncContextManager[None]:
        """Inside, `hint` hears of commits of other processes."""

    def connect(self, *, write: bool) -> AbstractAsyncContextManager[Run]:
        """A connection whose first statement begins a transaction; what is not committed inside is rolled back."""

    def announce(self, connection: sa.Connection, revision: int) -> None:
        """Tells other processes of this commit, if it succeeds."""

    def lock_schema(self, connection: sa.Connection) -> None:
        """Keeps other processes from migrating until the transaction ends."""


class SqlStore:
    """See `controlplane.state.store.Store` for the contract. Writers of one process queue here, not in the database."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], datetime] = _utc_now,
        new_instance_id: Callable[[], str] = _new_instance_id,
    ) -> None:
        self._database = database
        self._now = now
        self._new_instance_id = new_instance_id
        self._statements = Statements(database)
        self._hints: dict[object, Callable[[int], None]] = {}
        self._writing = asyncio.Lock()
        self._blocks = 0
        self._idle = asyncio.Event()
        self._open: AsyncExitStack | None = None

    @property
    def description(self) -> str:
        """The kind and the place."""
        return self._database.description

    async def open(self) -> None:
        """Connects, migrates under a lock, and makes the counter row where there is none."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._database.opened())
            async with self._database.connect(write=True) as run:
                await run(self._prepare)
            await stack.enter_async_context(self._database.listening(self._hint))
            self._open = stack.pop_all()

    async def close(self) -> None:
        """Waits for the blocks that are under way, and lets no other begin."""
        if self._open is None:
            return
        stack, self._open = self._open, None
        async with stack:
            while self._blocks:
                self._idle.clear()
                await self._idle.wait()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[SqlReader]:
        """A consistent view: of the moment of its first query."""
        with self._block():
            async with self._database.connect(write=False) as run:
                yield SqlReader(run, self._statements)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[SqlTransaction]:
        """A serialised transaction."""
        with self._block():
            async with self._writing, self._database.connect(write=True) as run:
                transaction = SqlTransaction(run, self._statements, await self._lock_plane(run), self._now)
                yield transaction
                revision = await transaction.finish(self._database.announce)
        if revision is not None:
            self._hint(revision)

    def on_commit(self, hint: Callable[[int], None]) -> Callable[[], None]:
        """Calls `hint(fleet_revision)` after commits; returns how to stop."""
        handle = object()
        self._hints[handle] = hint

        def stop() -> None:
            self._hints.pop(handle, None)

        return stop

    async def trim(self, row: type[L], *, older_than: datetime) -> int:
        """Deletes old rows of a log in small transactions; the number deleted."""
        total = 0
        while True:
            async with self.write() as transaction:
                deleted = await transaction.trim(row, older_than=older_than, limit=TRIM_BATCH)
            total += deleted
            if not deleted:
                return total

    async def dump(self) -> AsyncGenerator[bytes, None]:
        """Everything, as of one moment."""
        async with self.read() as reader, aclosing(dump.pieces(reader, at=self._now())) as pieces:
            async for piece in pieces:
                yield piece

    async def load(self, pieces: Iterable[bytes]) -> PlaneRow:
        """Replaces everything by a dump, in one transaction, and starts a new epoch."""
        contents = dump.Contents(pieces)
        async with self.write() as transaction:
            await dump.restore(transaction, contents)
            return await transaction.plane()

    def _prepare(self, connection: sa.Connection) -> None:
        self._database.lock_schema(connection)
        migrate(connection)
        if connection.execute(self._statements.get(PlaneRow), {"id": 1}).first() is None:
            first = PlaneRow(instance_id=self._new_instance_id(), epoch=1, fleet_revision=0, generation=0)
            connection.execute(self._statements.upsert(PlaneRow), [table_of(PlaneRow).dump(first)[1]])
        connection.commit()

    async def _lock_plane(self, run: Run) -> PlaneRow:
        """The counters, which are this transaction's alone from here to its end."""
        values = await run(lambda connection: connection.execute(self._statements.lock_plane).first())
        if values is None:
            raise UnavailableError(f"{self.description} has no counter row: another program emptied it")
        return cast("PlaneRow", table_of(PlaneRow).load(values))

    def _hint(self, revision: int) -> None:
        for hint in tuple(self._hints.values()):
            try:
                hint(revision)
            except Exception:
                # The commit is done; a reader that polls will find it.
                _log.exception("commit hint failed", revision=revision)

    @contextmanager
    def _block(self) -> Iterator[None]:
        if self._open is None:
            raise UnavailableError(f"{self.description} is not open")
        self._blocks += 1
        try:
            yield
        finally:
            self._blocks -= 1
            self._idle.set()
