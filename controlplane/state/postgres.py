"""Postgres: one database for several control planes, through asyncpg; no superuser is needed.

    postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full&sslrootcert=FILE&listen=URL&pooled=true

TLS and other libpq parameters mean what they mean to libpq. `pooled=true` is for a transaction-pooling proxy, where
nothing may outlive a transaction: neither prepared statements nor LISTEN. `listen` is then the (percent-encoded) URL of
the server itself, and implies `pooled`; without it changes of other control planes are found by polling alone.

A write holds the counter row from its first statement on, so that writers of all processes take turns. A connection
that died is noticed when it is next wanted: what failed with UnavailableError works again once the server is back.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import greenlet  # type: ignore[import-untyped]  # noqa: F401  # SQLAlchemy would miss it late, in a statement
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from controlplane.state.postgres_listener import CHANNEL, listening
from controlplane.state.sql import SqlStore
from controlplane.state.store import Store
from controlplane.state.transaction import Run
from headrace.errors import InvalidError, UnavailableError

T = TypeVar("T")

CONNECT_S = 10.0
STATEMENT_S = 60.0
"""The longest that a statement may take, waiting for another writer included."""
IDLE_WRITER_S = 30
"""A writer that stops halfway (a halted process, a cut network) is cut off by the server, and others go on."""
CONNECTIONS = 8
MIGRATION_LOCK = 0x68656164
"""The key of the advisory lock under which one process migrates."""

_UNREACHABLE = (OSError, TimeoutError, asyncpg.InterfaceError)
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError)
"""How asyncpg fails on a connection that ends under it; the second is what it says between the server's last words and
the end of the connection."""
_REASONS = {
    "08": "the connection was lost",
    "26000": "a prepared statement is gone; if this is a transaction-pooling proxy, add pooled=true to the URL",
    "28": "it refuses this user or password",
    "3D000": "there is no such database; create it",
    "25006": "it is a read-only standby; give the address of the primary",
    "25P03": "the transaction was idle for too long",
    "42501": "this user may not do that; let it own its database, or the schema that it uses",
    "42P05": "a prepared statement exists already; if this is a transaction-pooling proxy, add pooled=true to the URL",
    "53100": "its disk is full; free some space",
    "53200": "it is out of memory",
    "53300": "it has too many connections; raise max_connections, or put a pooling proxy before it",
    "57": "it is shutting down or starting up",
    "58": "it has trouble with its own files; look at its log",
}
"""By SQLSTATE, or its class."""


def store(url: str, **options: Any) -> Store:
    """The store at this URL."""
    return SqlStore(PostgresDatabase(url), **options)


class PostgresDatabase:
    """A database on a server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query))
        listen, pooled = parameters.pop("listen", ""), parameters.pop("pooled", "")
        if pooled not in ("", "true", "false"):
            raise InvalidError(f"the store's URL says pooled={pooled}; give true or false")
        for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
            if name in parameters and not Path(parameters[name]).is_file():
                raise InvalidError(f"the store's URL names a file that is not there: {name}={parameters[name]}")
        self._pooled = pooled == "true" or (bool(listen) and pooled != "false")
        self._dsn = urlunsplit(parts._replace(query=urlencode(parameters)))
        self._listen_dsn = listen or ("" if self._pooled else self._dsn)
        self._place = (parts.netloc.rpartition("@")[2] or parameters.get("host", "localhost")) + parts.path
        self._engine: AsyncEngine
        self._reading: AsyncEngine

    @property
    def description(self) -> str:
        """The kind and the place."""
        return f"postgresql {self._place}"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Makes the pool, whose connections come when they are wanted."""
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args={"async_creator_fn": self._connect, **(_UNNAMED if self._pooled else _NAMED)},
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=STATEMENT_S,
        )
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        sa.event.listen(self._engine.sync_engine, "checkout", _refuse_dead)
        try:
            yield
        finally:
            await self._engine.dispose()

    @asynccontextmanager
    async def listening(self, hint: Callable[[int], None]) -> AsyncIterator[None]:
        """Hears of commits of other processes, where the server can be reached for that."""
        if not self._listen_dsn:
            yield
            return
        async with listening(lambda: asyncpg.connect(self._listen_dsn, timeout=CONNECT_S), hint):
            yield

    @asynccontextmanager
    async def connect(self, *, write: bool) -> AsyncIterator[Run]:
        """A connection of the pool, in a transaction of its own."""
        with self._translating():
            connection = await (self._engine if write else self._reading).connect()

        async def run(work: Callable[[sa.Connection], T], /) -> T:
            with self._translating():
                return await connection.run_sync(work)

        try:
            if write:
                await run(_limit_idling)
            yield run
        finally:
            # A cancelled caller must not take the connection along.
            await asyncio.shield(connection.close())

    async def _connect(self) -> asyncpg.Connection:
        try:
            return await asyncpg.connect(
                self._dsn,
                timeout=CONNECT_S,
                command_timeout=STATEMENT_S,
                connection_class=_WithoutJson,
                statement_cache_size=0,
            )
        except OSError:  # a certificate that is refused is both
            raise
        except ValueError as error:
            raise InvalidError(f"{self.description}: the URL is not understood: {error}") from error

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.TimeoutError as error:
            raise UnavailableError(f"{self.description}: all {CONNECTIONS} connections are busy") from error
        except sa.exc.DBAPIError as error:
            cause = error.orig.__cause__ if error.orig else None
            if isinstance(cause, asyncpg.ProgramLimitExceededError):
                raise InvalidError(f"{self.description}: a value is too long for what it is: {error.orig}") from error
            reason = _reason(getattr(cause, "sqlstate", None))
            lost = isinstance(cause, _LOST) and not isinstance(cause, asyncpg.DataError)
            if reason is None and not lost and not error.connection_invalidated:
                raise  # a defect of ours, not a state of the server
            reason = reason or "the connection was lost"
            raise UnavailableError(f"{self.description}: {reason} ({error.orig})") from error
        except asyncpg.PostgresError as error:
            raise UnavailableError(f"{self.description}: {_reason(error.sqlstate) or error}") from error
        except _UNREACHABLE as error:
            raise UnavailableError(f"{self.description} cannot be reached: {error or type(error).__name__}") from error

    def announce(self, connection: sa.Connection, revision: int) -> None:
        """Tells every listener, when the transaction commits."""
        connection.execute(_NOTIFY, {"revision": str(revision)})

    def lock_schema(self, connection: sa.Connection) -> None:
        """Other processes wait here until the transaction ends."""
        connection.execute(_LOCK, {"key": MIGRATION_LOCK})

    def upsert(self, table: sa.Table, key: Sequence[str], values: Sequence[str]) -> sa.Insert:
        """Insert, or by primary key set the values."""
        new = insert(table)
        return new.on_conflict_do_update(index_elements=key, set_={name: new.excluded[name] for name in values})

    def among(self, column: sa.ColumnElement[Any], parameter: str) -> sa.ColumnElement[bool]:
        """One parameter, however many values."""
        return column == sa.any_(sa.bindparam(parameter, type_=ARRAY(column.type)))

    def values(self, values: Sequence[Any]) -> list[Any]:
        """An array."""
        return list(values)


_NAMED = {"prepared_statement_name_func": lambda: f"headrace_{secrets.token_hex(8)}"}
"""Names that are nobody else's: behind a proxy that the URL does not tell of, the driver's own would mean a statement
of some other process; these are unknown there, which is an error."""
_UNNAMED = {"prepared_statement_cache_size": 0, "prepared_statement_name_func": str}
"""Each statement is parsed and run within one transaction."""
_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("revision", type_=sa.Text)))
_LOCK = sa.select(sa.func.pg_advisory_xact_lock(sa.bindparam("key", type_=sa.BigInteger)))


class _WithoutJson(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """SQLAlchemy sets up JSON on each new connection, by queries that a pooling proxy may tear apart; we have none."""

    async def set_type_codec(self, *_: object, **__: object) -> None:
        pass


def _limit_idling(connection: sa.Connection) -> None:
    connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_WRITER_S}s'")


def _refuse_dead(connection: Any, record: sa.PoolProxiedConnection, _: object) -> None:
    """The driver knows at once that the server is gone; no statement is needed to find out."""
    driver: Any = record.driver_connection
    if driver.is_closed():
        raise sa.exc.DisconnectionError


def _reason(sqlstate: str | None) -> str | None:
    if sqlstate is None:
        return None
    return _REASONS.get(sqlstate) or _REASONS.get(sqlstate[:2])
