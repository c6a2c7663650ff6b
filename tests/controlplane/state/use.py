"""How tests use a store: small rows, one-line reads, a transaction that fails, and readers beside writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from controlplane.model import (
    ChangeRow,
    Topic,
    VariableRow,
)
from controlplane.state import Store, Transaction


def variable(name: str, value: str = "1", selector: str = "*") -> VariableRow:
    return VariableRow(name=name, selector=selector, value=value)


async def all_of(store: Store, row: type, **where: object) -> list:
    async with store.read() as reader:
        return await reader.find(row, **where)


class AbandonError(Exception):
    """Ends a transaction on purpose."""


@asynccontextmanager
async def abandoned(store: Store) -> AsyncIterator[Transaction]:
    """A transaction that fails at its end."""
    with suppress(AbandonError):
        async with store.write() as transaction:
            yield transaction
            raise AbandonError


async def follow_the_log(stores: list[Store]) -> None:
    """Readers that only ever ask for what follows the last revision they saw, beside writers on every store."""
    each, writers = 25, 3
    total = each * writers * len(stores)

    async def write(store: Store, writer: str) -> None:
        for number in range(each):
            async with store.write() as transaction:
                if number % 3 == 0:
                    await asyncio.sleep(0)
                transaction.log(Topic.PIPELINE, f"{writer}:{number}")

    async def read(store: Store) -> list[str]:
        seen, last = [], 0
        while len(seen) < total:
            async with store.read() as reader:
                known = (await reader.plane()).fleet_revision
                rows = await reader.scan(ChangeRow, after=last, limit=1000)
            assert [row.revision for row in rows] == list(range(last + 1, known + 1))
            seen += [row.key for row in rows]
            last = known
        return seen

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        readers = [group.create_task(read(store)) for store in stores for _ in range(2)]
        for place, store in enumerate(stores):
            for writer in range(writers):
                group.create_task(write(store, f"{place}.{writer}"))
    logs = [reader.result() for reader in readers]
    assert all(log == logs[0] for log in logs)
    assert len(set(logs[0])) == total
    for place in range(len(stores)):
        for writer in range(writers):
            own = [key for key in logs[0] if key.startswith(f"{place}.{writer}:")]
            assert own == [f"{place}.{writer}:{number}" for number in range(each)]
