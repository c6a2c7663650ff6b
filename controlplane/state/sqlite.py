"""SQLite: one file, one process, one writer at a time, any number of readers beside it.

SQLAlchemy runs synchronously in threads of this module: writes in one, reads in a few. That is 2 to 3 times as fast as
an asynchronous driver, which crosses threads for every statement. A transaction uses one connection at a time from one
thread at a time; each waits for its work even when it is cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from controlplane.state.folder_lock import folder_lock
from controlplane.state.sql import SqlStore
from controlplane.state.store import Store
from controlplane.state.transaction import Run
from headrace.errors import InvalidError, UnavailableError

T = TypeVar("T")

PRAGMAS = ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON")
"""With WAL and NORMAL a commit survives the end of the process, and the file any power cut."""
BUSY_S = 10.0
"""How long to wait for a lock of another program, say a copy of the file being taken."""
READERS = 2

_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_BUSY: "another program holds it locked",
    sqlite3.SQLITE_LOCKED: "another program holds it locked",
    sqlite3.SQLITE_READONLY: "it is read-only; let this user write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; let this user read and write the file and its folder",
    sqlite3.SQLITE_IOERR: "reading or writing it failed; look at the disk",
    sqlite3.SQLITE_CORRUPT: "it is damaged; restore a backup into an empty folder",
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; move it away, or choose another folder",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_TOOBIG: "a value is too large for it",
}


def store(url: str, **options: Any) -> Store:
    """The store at `sqlite:///path`, absolute with a fourth slash."""
    path = url.removeprefix("sqlite:///")
    if path in (url, "", ":memory:") or path.endswith("/") or "?" in path:
        raise InvalidError(f"store {url!r} is not understood: give sqlite:/// and the path of a file, and nothing else")
    return SqlStore(SqliteDatabase(Path(path)), **options)


class SqliteDatabase:
    """A database file; its folder belongs to this process from open to close."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._writer, self._readers = _engine(self._path, write=True), _engine(self._path, write=False)
        self._writer_thread: ThreadPoolExecutor
        self._reader_threads: ThreadPoolExecutor

    @property
    def description(self) -> str:
        """The kind and the path."""
        return f"sqlite {self._path}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Takes the folder, for as long as the block lasts."""
        with folder_lock(self._path.parent):
            # Made here for its mode: SQLite gives that to the files beside it.
            try:
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            except OSError as error:
                raise UnavailableError(f"database {self._path} cannot be opened: {error.strerror}") from error
            with (
                ThreadPoolExecutor(1, thread_name_prefix="sqlite writer") as self._writer_thread,
                ThreadPoolExecutor(READERS, thread_name_prefix="sqlite reader") as self._reader_threads,
            ):
                try:
                    yield
                finally:
                    self._readers.dispose()
                    # The last connection folds the log into the file.
                    await _settled(
                        asyncio.get_running_loop().run_in_executor(self._writer_thread, self._writer.dispose)
                    )

    @asynccontextmanager
    async def listening(self, hint: Callable[[int], None]) -> AsyncIterator[None]:
        """Nobody else commits."""
        yield

    def connect(self, *, write: bool) -> AbstractAsyncContextManager[Run]:
        """A connection; its first statement begins a transaction, and leaving the block rolls back."""
        if write:
            return self._connected(self._writer, self._writer_thread)
        return self._connected(self._readers, self._reader_threads)

    @asynccontextmanager
    async def _connected(self, engine: sa.Engine, threads: ThreadPoolExecutor) -> AsyncIterator[Run]:
        loop = asyncio.get_running_loop()
        with self._translating():
            connection = engine.connect()

        async def run(work: Callable[[sa.Connection], T], /) -> T:
            with self._translating():
                return await _settled(loop.run_in_executor(threads, work, connection))

        try:
            yield run
        finally:
            try:
                if connection.in_transaction():
                    await run(sa.Connection.rollback)
            finally:
                connection.close()

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            if code not in _REASONS:
                raise  # a defect of ours, not a state of the file
            raise UnavailableError(f"database {self._path}: {_REASONS[code]} ({error.orig})") from error

    def announce(self, connection: sa.Connection, revision: int) -> None:
        """Nobody else listens."""

    def lock_schema(self, connection: sa.Connection) -> None:
        """The folder is ours already."""

    def upsert(self, table: sa.Table, key: Sequence[str], values: Sequence[str]) -> sa.Insert:
        """Insert, or by primary key set the values."""
        new = insert(table)
        return new.on_conflict_do_update(index_elements=key, set_={name: new.excluded[name] for name in values})

    def among(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """One parameter, however many values: SQLite takes only so many, and compiles anew for each number."""
        each = sa.func.json_each(sa.bindparam(parameter, type_=sa.Text)).table_valued("value")
        return column.in_(sa.select(each.c.value))

    def values(self, values: Sequence[Any]) -> str:
        """A JSON array."""
        return json.dumps(values)


def _engine(path: Path, *, write: bool) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"check_same_thread": False, "timeout": BUSY_S, "isolation_level": None},
        pool_size=1 if write else READERS,
        max_overflow=0 if write else -1,
    )

    def connected(connection: sqlite3.Connection, _: object) -> None:
        for pragma in (*PRAGMAS, *(() if write else ("query_only = ON",))):
            connection.execute(f"PRAGMA {pragma}").close()

    def begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    sa.event.listen(engine, "connect", connected)
    sa.event.listen(engine, "begin", begun)
    return engine


async def _settled(future: asyncio.Future[T]) -> T:
    """The result, for which it waits also when cancelled: until then the thread holds the connection."""
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            await asyncio.wait([future])
        raise
