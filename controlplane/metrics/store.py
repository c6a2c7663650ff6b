"""What every metric store can do. Stores know points and series; what they mean is known elsewhere.

Calls may run concurrently, from one event loop. What cannot be done now raises StoreUnavailableError, and nothing of
it is lost by trying again: points are idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from controlplane.metrics.vocabulary import Block, Health, Line, Query, Recent, Selection, Series, Written


class MetricStore(Protocol):
    """Open it, run it in a task of its own, close it."""

    @property
    def description(self) -> str:
        """The kind and the place, without secrets."""

    async def open(self) -> None:
        """Acquires what is here; a server that is not there yet is no error. Raises UnavailableError."""

    async def run(self) -> None:
        """Looks after the store until cancelled: prepares it, rolls up, deletes."""

    async def close(self) -> None:
        """Lets go; idempotent."""

    async def write(self, blocks: Sequence[Block]) -> Written:
        """Stores their points; when it returns they are stored, but for those that it counts as refused."""

    async def query(self, query: Query) -> tuple[Line, ...]:
        """The lines of a query, by tags."""

    async def latest(self, selection: Selection, *, since_ms: int) -> tuple[Recent, ...]:
        """The first and the last point since then of each series that has one, by name and tags."""

    async def series(self, selection: Selection) -> tuple[Series, ...]:
        """The series that are known, by name and tags."""

    async def health(self) -> Health:
        """How it is doing now."""
