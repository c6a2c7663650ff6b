"""The contract of a store among many tasks: turns, snapshots, cancellation, and a log that misses nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from controlplane.model import (
    ChangeRow,
    Topic,
    VariableRow,
)
from controlplane.state import Store
from tests.controlplane.state.use import all_of, follow_the_log, variable


async def test_a_cancelled_transaction_leaves_nothing_and_lets_others_go_on(store: Store):
    written = asyncio.Event()

    async def write_and_wait() -> None:
        async with store.write() as transaction:
            await transaction.put(variable("A"))
            await transaction.find(VariableRow)
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write_and_wait())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with store.write() as transaction:
        assert await transaction.find(VariableRow) == []
        await transaction.put(variable("B"))
    assert await all_of(store, VariableRow) == [variable("B")]


async def test_transactions_cancelled_at_any_point_leave_all_or_nothing(store: Store):
    """Each adds a pair; a commit that is under way when the cancellation comes may still happen, as a whole."""

    async def add(number: int) -> None:
        async with store.write() as transaction:
            await transaction.put(variable(f"L{number}"))
            await transaction.find(VariableRow, name="L")
            await transaction.put(variable(f"R{number}"))
            transaction.log(Topic.VARIABLE, f"{number}")

    finished = set()
    for number in range(40):
        task = asyncio.create_task(add(number))
        for _ in range(number // 2):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            continue
        finished.add(number)
    names = {row.name for row in await all_of(store, VariableRow)}
    left, right = ({int(name[1:]) for name in names if name[0] == side} for side in "LR")
    assert left == right >= finished
    changes = await all_of(store, ChangeRow)
    assert {int(row.key) for row in changes} == left
    assert [row.revision for row in changes] == list(range(1, len(changes) + 1))


async def test_a_read_block_sees_one_moment_and_holds_no_writer_up(store: Store):
    async with store.write() as transaction:
        await transaction.put(variable("A"))
        transaction.log(Topic.VARIABLE, "A")
    async with store.read() as before:
        assert (await before.plane()).fleet_revision == 1
        async with store.write() as transaction:
            await transaction.put(variable("A", "2"), variable("B"))
            transaction.log(Topic.VARIABLE, "A", "B")
        assert await before.find(VariableRow) == [variable("A")]
        assert (await before.plane()).fleet_revision == 1
        assert len(await before.scan(ChangeRow)) == 1
        async with store.read() as after:
            assert (await after.plane()).fleet_revision == 3
            assert await after.find(VariableRow) == [variable("A", "2"), variable("B")]


async def test_many_readers_at_once_do_not_wait_for_each_other(store: Store):
    arrived = asyncio.Barrier(6)

    async def read() -> int:
        async with store.read() as reader:
            await reader.plane()
            await arrived.wait()
            return (await reader.plane()).fleet_revision

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(read()) for _ in range(6)]
    assert [task.result() for task in tasks] == [0] * 6


async def test_compare_and_set_by_reading_comparing_and_writing_loses_no_update(store: Store):
    async with store.write() as transaction:
        await transaction.put(variable("COUNT", "0"))

    async def count() -> None:
        async with store.write() as transaction:
            row = await transaction.get(VariableRow, "COUNT", "*")
            assert row is not None
            await transaction.put(replace(row, value=str(int(row.value) + 1)))

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(count())
    assert await all_of(store, VariableRow) == [variable("COUNT", "30")]


async def test_a_reader_of_the_change_log_misses_nothing_while_others_write(store: Store):
    await follow_the_log([store])
