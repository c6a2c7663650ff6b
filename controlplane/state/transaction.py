"""One view and one write transaction over a database connection, the same for every backend.

Writes are collected and reach the database together, before the next read of the same transaction or at its end: a
transaction costs as few trips (to SQLite's thread, or to the Postgres server) as it has reads, and two more. Neither
class is for more than one task at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy as sa

from controlplane.attribution import NOBODY, Attribution, current
from controlplane.model import ChangeRow, EventRow, LogRow, PlaneRow, Row, Topic
from controlplane.state.statements import Statements
from controlplane.state.tables import TABLES, table_of
from headrace.errors import UnavailableError
from headrace.types import Severity

T = TypeVar("T")
R = TypeVar("R", bound=Row)
L = TypeVar("L", bound=LogRow)


Puts = dict[type[Row], dict[tuple[Any, ...], dict[str, Any]]]
"""By row class and key, the parameters; the last one wins."""


class Run(Protocol):
    """Runs plain SQLAlchemy code on a connection, off the event loop or without blocking it, one call at a time."""

    async def __call__(self, work: Callable[[sa.Connection], T], /) -> T:
        """What `work` returns. Raises UnavailableError when the database does not answer."""


class SqlReader:
    """The Reader of every SQL store."""

    def __init__(self, run: Run, statements: Statements) -> None:
        self._run = run
        self._statements = statements

    async def plane(self) -> PlaneRow:
        """The counters."""
        row = await self.get(PlaneRow, 1)
        if row is None:
            raise UnavailableError("the state has no counter row: it was not opened, or was emptied by another program")
        return row

    async def get(self, row: type[R], *key: str | int) -> R | None:
        """The row with this primary key."""
        table = table_of(row)
        if len(key) != len(table.key):
            raise TypeError(f"the key of {row.__name__} is {table.key}, not {key}")
        parameters = {name: table.parameter(name, part) for name, part in zip(table.key, key, strict=True)}
        found = await self._select(row, self._statements.get(row), parameters)
        return found[0] if found else None

    async def find(self, row: type[R], **where: Any) -> list[R]:
        """Rows whose named columns equal the values (a list, tuple or set means "one of"), in order of the key."""
        shape, parameters = self._statements.comparisons(row, where)
        return await self._select(row, self._statements.find(row, shape), parameters)

    async def scan(
        self,
        row: type[L],
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 1000,
        newest: bool = False,
        **where: Any,
    ) -> list[L]:
        """Rows of a log with `after < revision < before`, oldest first (or newest first), at most `limit`."""
        shape, parameters = self._statements.comparisons(row, where)
        statement = self._statements.scan(row, shape, bounded=before is not None, newest=newest)
        parameters |= {"after_": after, "limit_": limit}
        if before is not None:
            parameters["before_"] = before
        return await self._select(row, statement, parameters)

    async def page(self, row: type[R], *, limit: int, after: R | None = None) -> list[R]:
        """The next rows in order of the key, for reading a whole table in bounded memory."""
        table = table_of(row)
        parameters: dict[str, Any] = {"limit_": limit}
        if after is not None:
            parameters |= {name: table.parameter(name, getattr(after, name)) for name in table.key}
        return await self._select(row, self._statements.page(row, first=after is None), parameters)

    async def _select(self, row: type[R], statement: sa.Select[Any], parameters: Mapping[str, Any]) -> list[R]:
        table = table_of(row)
        return [cast("R", table.load(values)) for values in await self._fetch(statement, parameters)]

    async def _fetch(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        return await self._run(lambda connection: connection.execute(statement, parameters).all())


class SqlTransaction(SqlReader):
    """The Transaction of every SQL store; the store begins and ends it."""

    def __init__(self, run: Run, statements: Statements, plane: PlaneRow, now: Callable[[], datetime]) -> None:
        super().__init__(run, statements)
        self._before = self._plane = plane
        self._now = now
        self._puts: Puts = {}
        self._failure: BaseException | None = None

    async def plane(self) -> PlaneRow:
        """The counters with this transaction's own changes."""
        return self._plane

    async def put(self, *rows: Row) -> None:
        """Inserts or replaces by primary key. Raises InvalidError for a value that no column can hold."""
        self._collect(*rows)

    async def delete(self, row: type[R], *key: str | int) -> bool:
        """Whether there was such a row."""
        table = table_of(row)
        parameters = {name: table.parameter(name, part) for name, part in zip(table.key, key, strict=True)}
        statement, puts = self._statements.delete(row), self._taken()

        def work(connection: sa.Connection) -> bool:
            self._flush(connection, puts)
            return connection.execute(statement, parameters).rowcount > 0

        return await self._carry_out(work)

    def next_generation(self) -> int:
        """A generation greater than every one given out before."""
        self._plane = replace(self._plane, generation=self._plane.generation + 1)
        return self._plane.generation

    def raise_generation(self, past: int) -> None:
        """Makes the next generation greater than `past`."""
        self._plane = replace(self._plane, generation=max(self._plane.generation, past))

    def next_epoch(self) -> int:
        """Starts a new epoch: history was cut."""
        self._plane = replace(self._plane, epoch=self._plane.epoch + 1)
        return self._plane.epoch

    def log(self, topic: Topic, *keys: str) -> int:
        """Appends to the change log, one entry per key, and returns the newest fleet revision."""
        at, first = self._now(), self._plane.fleet_revision + 1
        self._append(*(ChangeRow(revision=first + n, topic=topic, key=key, at=at) for n, key in enumerate(keys)))
        return self._plane.fleet_revision

    def event(
        self,
        kind: str,
        message: str,
        *,
        severity: Severity | None = None,
        actor: str = "",
        pipeline: str = "",
        agent_id: str = "",
        generation: int = 0,
        attribution: Attribution | None = None,
    ) -> EventRow:
        """Appends an event and, at the same revision, a change-log entry whose key is the kind."""
        if attribution is None:
            attribution = current() if actor else NOBODY
        row = EventRow(
            revision=self._plane.fleet_revision + 1,
            at=self._now(),
            kind=kind,
            severity=severity,
            actor=actor,
            pipeline=pipeline,
            agent_id=agent_id,
            generation=generation,
            message=message,
            actor_known_by=attribution.known_by,
            source=attribution.source,
        )
        self._append(row, ChangeRow(revision=row.revision, topic=Topic.EVENT, key=kind, at=row.at))
        return row

    async def trim(self, row: type[L], *, older_than: datetime, limit: int) -> int:
        """Of the `limit` oldest rows of a log, deletes those from before the time; their number."""
        statement, puts = self._statements.trim(row), self._taken()
        parameters = {"cutoff_": table_of(row).parameter("at", older_than), "limit_": limit}

        def work(connection: sa.Connection) -> int:
            self._flush(connection, puts)
            return connection.execute(statement, parameters).rowcount

        return await self._carry_out(work)

    async def clear(self) -> None:
        """Deletes every row but the counters, whose row is what holds other writers off."""
        self._taken()
        emptied = [table.table for row, table in TABLES.items() if row is not PlaneRow]

        def work(connection: sa.Connection) -> None:
            for table in emptied:
                connection.execute(sa.delete(table))

        await self._carry_out(work)

    async def flush(self) -> None:
        """Sends what is collected, so that memory is free of it."""
        puts = self._taken()
        await self._carry_out(lambda connection: self._flush(connection, puts))

    def count_from(self, plane: PlaneRow) -> None:
        """Takes these counters, and goes on from there."""
        self._plane = plane

    async def finish(self, announce: Callable[[sa.Connection, int], None]) -> int | None:
        """Writes what is left and commits; the fleet revision, where it has grown."""
        if self._failure is not None:
            raise UnavailableError("a statement of this transaction failed; nothing of it is kept") from self._failure
        grown = self._plane.fleet_revision != self._before.fleet_revision
        if self._plane != self._before:
            self._collect(self._plane)
        puts = self._taken()

        def work(connection: sa.Connection) -> None:
            self._flush(connection, puts)
            if grown:
                announce(connection, self._plane.fleet_revision)
            connection.commit()

        await self._run(work)
        return self._plane.fleet_revision if grown else None

    def _append(self, *rows: LogRow) -> None:
        """Counts only what could be collected: the log has no gaps."""
        self._collect(*rows)
        if rows:
            self._plane = replace(self._plane, fleet_revision=rows[-1].revision)

    def _collect(self, *rows: Row) -> None:
        # Two loops, so that a refused row leaves none of its company behind.
        dumped = [(type(row), *table_of(type(row)).dump(row)) for row in rows]
        for kind, key, parameters in dumped:
            self._puts.setdefault(kind, {})[key] = parameters

    def _taken(self) -> Puts:
        taken, self._puts = self._puts, {}
        return taken

    def _flush(self, connection: sa.Connection, puts: Puts) -> None:
        for kind, rows in puts.items():
            connection.execute(self._statements.upsert(kind), list(rows.values()))

    async def _fetch(self, statement: sa.Select[Any], parameters: Mapping[str, Any]) -> Sequence[sa.Row[Any]]:
        puts = self._taken()

        def work(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
            self._flush(connection, puts)
            return connection.execute(statement, parameters).all()

        return await self._carry_out(work)

    async def _carry_out(self, work: Callable[[sa.Connection], T]) -> T:
        """Remembers a failure: Postgres takes the commit of a failed transaction for a rollback, and says nothing."""
        try:
            return await self._run(work)
        except BaseException as error:
            self._failure = error
            raise
