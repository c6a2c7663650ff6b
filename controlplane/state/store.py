"""The contract of a state store: every backend keeps it, and one suite checks it on each.

Writers are serialised: a write transaction holds the plane's counter row from its first statement to its commit, so
what it reads cannot change under it (compare-and-set is read, compare, write), fleet revisions are given out in commit
order, and a reader that has seen revision R has seen every change up to R. Readers never wait for writers and see one
consistent moment for as long as their block lasts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from controlplane.attribution import Attribution
from controlplane.model import EventRow, LogRow, PlaneRow, Row, Topic
from headrace.types import Severity

R = TypeVar("R", bound=Row)
L = TypeVar("L", bound=LogRow)


class Reader(Protocol):
    """One consistent view of the state."""

    async def plane(self) -> PlaneRow:
        """The counters; inside a write transaction with its own changes."""

    async def get(self, row: type[R], *key: str | int) -> R | None:
        """The row with this primary key."""

    async def find(self, row: type[R], **where: Any) -> list[R]:
        """Rows whose named columns equal the values (a list, tuple or set means "one of"), in order of the key.

        Text is ordered by code point, as Python does.
        """

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


class Transaction(Reader, Protocol):
    """A serialised write; leaving the block without an exception commits, all or nothing."""

    async def put(self, *rows: Row) -> None:
        """Inserts or replaces by primary key.

        Raises InvalidError, and puts none of the rows, for a value that not every backend can hold: text with the
        character NUL, a number of more than 64 bits, a time without a zone. Text inside of documents (facts, observed,
        labels) may hold anything.
        """

    async def delete(self, row: type[R], *key: str | int) -> bool:
        """Whether there was such a row."""

    def next_generation(self) -> int:
        """A generation greater than every one given out before."""

    def raise_generation(self, past: int) -> None:
        """Makes the next generation greater than `past`."""

    def next_epoch(self) -> int:
        """Starts a new epoch: history was cut."""

    def log(self, topic: Topic, *keys: str) -> int:
        """Appends to the change log, one entry per key, and returns the newest fleet revision. Raises InvalidError."""

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
        """Appends an event and, at the same revision, a change-log entry whose key is the kind of event.

        An actor's attribution is that of the call under way, unless another is given. Without a severity it is
        information. Raises InvalidError.
        """


class Store(Protocol):
    """A place that keeps the state; safe to use from many tasks of one loop."""

    @property
    def description(self) -> str:
        """What people may see of the address: the kind and the place, never a password."""

    async def open(self) -> None:
        """Connects, migrates under a lock, and makes the counter row where there is none.

        Raises UnavailableError when the store cannot be reached, ConflictError when a file store is in use.
        """

    async def close(self) -> None:
        """Waits for what is under way, then lets go."""

    def read(self) -> AbstractAsyncContextManager[Reader]:
        """A consistent view. Raises UnavailableError."""

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """A serialised transaction; never begin one inside of another, it would wait for itself.

        Raises UnavailableError; nothing of the transaction is kept then.

        One doubt stays, as with any database on a network: when the connection ends during the commit itself, the
        transaction is kept as a whole or not at all, and the change log tells which.
        """

    def on_commit(self, hint: Callable[[int], None]) -> Callable[[], None]:
        """Calls `hint(fleet_revision)` after commits, of this process and (Postgres) of others; returns how to stop.

        Only a hint: it may be lost, late or doubled. The change log is the truth.
        """

    async def trim(self, row: type[L], *, older_than: datetime) -> int:
        """Deletes old rows of a log in small transactions; the number deleted."""

    def dump(self) -> AsyncGenerator[bytes, None]:
        """Everything, as of one moment, in a form that every backend loads. It holds a view open: use `aclosing`."""

    async def load(self, pieces: Iterable[bytes]) -> PlaneRow:
        """Replaces everything by a dump, in one transaction, and starts a new epoch.

        Raises InvalidError for what is no dump, or is of a newer version; the state is then as it was.
        """
