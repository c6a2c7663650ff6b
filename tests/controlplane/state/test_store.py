"""The contract of a store, kept by every backend: what a transaction and a view do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import pytest

from controlplane.model import (
    ChangeRow,
    EventRow,
    PlaneRow,
    Topic,
    TransitionRow,
    VariableRow,
)
from controlplane.state import Store
from headrace.errors import UnavailableError
from headrace.types import Phase, Severity
from tests.conftest import Clock
from tests.controlplane.state.rows import AT, ONE_OF_EACH, key_of
from tests.controlplane.state.use import abandoned, all_of, variable


async def test_a_new_store_counts_from_zero(store: Store):
    async with store.read() as reader:
        plane = await reader.plane()
    assert plane.instance_id
    assert plane == PlaneRow(instance_id=plane.instance_id, epoch=1, fleet_revision=0, generation=0)


async def test_put_replaces_by_key_and_delete_says_whether_there_was_one(store: Store):
    async with store.write() as transaction:
        await transaction.put(variable("A"), variable("B"), variable("A", "2"))
        await transaction.put(variable("B", "3"))
    assert await all_of(store, VariableRow) == [variable("A", "2"), variable("B", "3")]
    async with store.write() as transaction:
        assert await transaction.delete(VariableRow, "A", "*")
        assert not await transaction.delete(VariableRow, "A", "*")
        assert not await transaction.delete(VariableRow, "B", "role=edge")
    assert await all_of(store, VariableRow) == [variable("B", "3")]


async def test_a_transaction_reads_its_own_writes(store: Store):
    async with store.write() as transaction:
        await transaction.put(variable("A"))
        assert await transaction.get(VariableRow, "A", "*") == variable("A")
        assert await transaction.delete(VariableRow, "A", "*")
        assert await transaction.find(VariableRow) == []
        revision = transaction.log(Topic.VARIABLE, "A")
        assert [entry.key for entry in await transaction.scan(ChangeRow)] == ["A"]
        assert transaction.next_generation() == (await transaction.plane()).generation
        assert (await transaction.plane()).fleet_revision == revision


async def test_find_compares_with_a_value_with_several_and_with_none(store: Store):
    transitions = [
        TransitionRow(revision=n, at=AT, agent_id=f"a-{n}", pipeline="p", generation=1, before=before, after=Phase.GOOD)
        for n, before in enumerate((None, Phase.PENDING, Phase.FAILED), start=1)
    ]
    async with store.write() as transaction:
        await transaction.put(*transitions)
    first, second, third = transitions
    assert await all_of(store, TransitionRow) == transitions
    assert await all_of(store, TransitionRow, before=None) == [first]
    assert await all_of(store, TransitionRow, before=Phase.FAILED) == [third]
    assert await all_of(store, TransitionRow, before=(Phase.FAILED, Phase.PENDING), pipeline="p") == [second, third]
    assert await all_of(store, TransitionRow, agent_id={"a-1", "a-3", "a-9"}) == [first, third]
    assert await all_of(store, TransitionRow, revision=[1, 3]) == [first, third]
    assert await all_of(store, TransitionRow, agent_id=[]) == []
    assert await all_of(store, TransitionRow, agent_id="a-1", pipeline="q") == []
    assert await all_of(store, TransitionRow, agent_id=[f"a-{n}" for n in range(40_000)]) == transitions


async def test_find_orders_by_key_and_by_code_point(store: Store):
    names = ["Z", "a", "_", "ab", "é", "中", "\N{GRINNING FACE}", "\uffee", "10", "9"]
    async with store.write() as transaction:
        await transaction.put(*(variable(name) for name in names))
    assert [row.name for row in await all_of(store, VariableRow)] == sorted(names)


async def test_scan_pages_through_a_log_in_both_directions(store: Store):
    async with store.write() as transaction:
        assert transaction.log(Topic.AGENT, *(f"a-{n % 3}" for n in range(1, 11))) == 10
    async with store.read() as reader:

        async def revisions(**bounds) -> list[int]:
            return [row.revision for row in await reader.scan(ChangeRow, **bounds)]

        assert await revisions() == list(range(1, 11))
        assert await revisions(after=7) == [8, 9, 10]
        assert await revisions(after=2, before=6) == [3, 4, 5]
        assert await revisions(limit=2) == [1, 2]
        assert await revisions(limit=2, newest=True) == [10, 9]
        assert await revisions(before=9, limit=2, newest=True) == [8, 7]
        assert await revisions(after=3, key="a-0") == [6, 9]
        assert await revisions(after=10) == []


async def test_the_log_and_events_share_one_gapless_numbering(store: Store, clock: Clock):
    async with store.write() as transaction:
        assert transaction.log(Topic.PIPELINE, "edge", "core") == 2
        event = transaction.event("pipeline.applied", "two of them", actor="ann", pipeline="edge", generation=4)
        failure = transaction.event("workload.failed", "why", severity=Severity.ERROR, agent_id="a-1")
        assert transaction.log(Topic.AGENT) == 4
    assert (event.revision, failure.revision) == (3, 4)
    assert event == EventRow(
        revision=3,
        at=clock.now(),
        kind="pipeline.applied",
        actor="ann",
        pipeline="edge",
        generation=4,
        message="two of them",
    )
    assert await all_of(store, EventRow) == [event, failure]
    assert [(row.revision, row.topic, row.key) for row in await all_of(store, ChangeRow)] == [
        (1, Topic.PIPELINE, "edge"),
        (2, Topic.PIPELINE, "core"),
        (3, Topic.EVENT, "pipeline.applied"),
        (4, Topic.EVENT, "workload.failed"),
    ]


async def test_generations_and_epochs_only_grow(store: Store):
    async with store.write() as transaction:
        assert [transaction.next_generation(), transaction.next_generation()] == [1, 2]
        transaction.raise_generation(10)
        transaction.raise_generation(5)
        assert transaction.next_generation() == 11
        assert transaction.next_epoch() == 2
    async with store.write() as transaction:
        assert transaction.next_generation() == 12
    async with store.read() as reader:
        plane = await reader.plane()
    assert (plane.generation, plane.epoch, plane.fleet_revision) == (12, 2, 0)


async def test_a_transaction_that_fails_leaves_nothing(store: Store):
    hints: list[int] = []
    store.on_commit(hints.append)
    async with abandoned(store) as transaction:
        await transaction.put(variable("A"))
        assert await transaction.find(VariableRow)
        transaction.log(Topic.VARIABLE, "A")
        transaction.next_generation()
    assert await all_of(store, VariableRow) == []
    async with store.write() as transaction:
        assert transaction.next_generation() == 1
        assert transaction.log(Topic.VARIABLE, "B") == 1
    assert max(hints) == 1


async def test_a_swallowed_failure_of_a_statement_commits_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    hints: list[int] = []
    store.on_commit(hints.append)

    async def write() -> None:
        async with store.write() as transaction:
            await transaction.put(variable("A"))
            with monkeypatch.context() as patch:
                patch.setattr(type(transaction), "_flush", lambda *_: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    await transaction.find(VariableRow)
            transaction.log(Topic.VARIABLE, "A")

    with pytest.raises(UnavailableError, match="nothing of it is kept"):
        await write()
    assert await all_of(store, VariableRow) == []
    assert 1 not in hints


async def test_commits_are_hinted_at_with_their_revision(store: Store):
    hints: list[int] = []
    stop = store.on_commit(hints.append)
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-1", "a-2")
    async with store.write() as transaction:
        await transaction.put(variable("A"))  # changes no revision
    assert max(hints) == 2
    stop()
    stop()
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-1")
    assert 3 not in hints


async def test_a_hint_that_fails_spoils_neither_the_commit_nor_other_hints(store: Store):
    hints: list[int] = []
    store.on_commit(lambda _: 1 / 0)
    store.on_commit(hints.append)
    async with store.write() as transaction:
        transaction.log(Topic.AGENT, "a-1")
    assert 1 in hints
    assert len(await all_of(store, ChangeRow)) == 1


async def test_trim_deletes_only_what_is_older(store: Store, clock: Clock):
    for _ in range(3):
        async with store.write() as transaction:
            transaction.log(Topic.AGENT, *["a"] * 800)
        clock.advance(60)
    assert await store.trim(ChangeRow, older_than=clock.now() - timedelta(seconds=120)) == 800
    async with store.read() as reader:
        assert (await reader.scan(ChangeRow, limit=1))[0].revision == 801
    assert await store.trim(ChangeRow, older_than=clock.now() - timedelta(seconds=120)) == 0
    assert await store.trim(EventRow, older_than=clock.now()) == 0
    assert await store.trim(ChangeRow, older_than=clock.now()) == 1600
    async with store.write() as transaction:
        assert transaction.log(Topic.AGENT, "a") == 2401


async def test_a_misspelt_column_or_key_is_the_callers_defect(store: Store):
    async with store.read() as reader:
        with pytest.raises(TypeError, match="VariableRow has no field 'nmae'"):
            await reader.find(VariableRow, nmae="A")
        with pytest.raises(TypeError, match="key of VariableRow"):
            await reader.get(VariableRow, "A")


async def test_close_waits_for_blocks_and_lets_no_other_begin(store_url: str, make_store: Callable[[str], Store]):
    store = make_store(store_url)
    with pytest.raises(UnavailableError, match="not open"):
        async with store.read():
            pass
    await store.open()
    async with asyncio.TaskGroup() as group:
        async with store.write() as transaction:
            closing = group.create_task(store.close())
            await asyncio.sleep(0)
            with pytest.raises(UnavailableError, match="not open"):
                async with store.read():
                    pass
            assert not closing.done()
            await transaction.put(variable("A"))
    await store.close()
    await store.open()
    assert await all_of(store, VariableRow) == [variable("A")]
    await store.close()


async def test_what_was_committed_is_there_after_reopening(store_url: str, make_store: Callable[[str], Store]):
    store = make_store(store_url)
    await store.open()
    async with store.write() as transaction:
        await transaction.put(*ONE_OF_EACH)
        transaction.next_generation()
        transaction.log(Topic.AGENT, "a", "b", "c")
    async with store.read() as reader:
        before = await reader.plane()
    await store.close()

    store = make_store(store_url)
    await store.open()
    async with store.read() as reader:
        assert await reader.plane() == before
        for row in ONE_OF_EACH:
            if not isinstance(row, ChangeRow):
                assert await reader.get(type(row), *key_of(row)) == row
    await store.close()


async def test_a_close_that_is_cancelled_closes_at_once(store_url: str, make_store: Callable[[str], Store]):
    store = make_store(store_url)
    await store.open()
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(store.read())
        await reader.plane()
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        with suppress(UnavailableError, RuntimeError):  # what the block may still do is not promised
            await stack.aclose()
    await store.open()
    await store.close()
