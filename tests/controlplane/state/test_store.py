"""The contract of a store, kept by every backend."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.model import (
    BlobRow,
    ChangeRow,
    EventRow,
    ObservedRow,
    PipelineRow,
    PlaneRow,
    Topic,
    TransitionRow,
    VariableRow,
)
from controlplane.state import Store, Transaction
from headrace.errors import InvalidError, UnavailableError
from headrace.types import Observed, Phase, Severity
from tests.conftest import Clock
from tests.controlplane.state.rows import AT, ONE_OF_EACH, ROW_CLASSES, key_of, values


class AbandonError(Exception):
    """Ends a transaction on purpose."""


@asynccontextmanager
async def abandoned(store: Store) -> AsyncIterator[Transaction]:
    """A transaction that fails at its end."""
    with suppress(AbandonError):
        async with store.write() as transaction:
            yield transaction
            raise AbandonError


def variable(name: str, value: str = "1", selector: str = "*") -> VariableRow:
    return VariableRow(name=name, selector=selector, value=value)


async def all_of(store: Store, row: type, **where: object) -> list:
    async with store.read() as reader:
        return await reader.find(row, **where)


async def test_a_new_store_counts_from_zero(store: Store):
    async with store.read() as reader:
        plane = await reader.plane()
    assert plane.instance_id
    assert plane == PlaneRow(instance_id=plane.instance_id, epoch=1, fleet_revision=0, generation=0)


@pytest.mark.parametrize("row", ROW_CLASSES, ids=lambda row: row.__name__)
@given(data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
async def test_every_row_comes_back_as_it_was(store: Store, row: type, data: st.DataObject):
    rows = data.draw(st.lists(values(row), max_size=4, unique_by=key_of))
    async with abandoned(store) as transaction:
        await transaction.put(*rows)
        assert [await transaction.get(row, *key_of(one)) for one in rows] == rows
        for one in rows:
            assert await transaction.delete(row, *key_of(one))


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


HOSTILE = {
    "quotes": "'; DROP TABLE plane; --",
    "escapes": '"quoted" \\ and \\\\ \x1b[31m \r\n\t\x01',
    "placeholders": "%s %(name)s :name $1 ? {} {0}",
    "directions": "\u202eright to left\ufeff",
    "planes": "中文 \N{GRINNING FACE} e\u0301",
    "mebibyte": "x" * (1 << 20),
    "nothing": "",
    "space": " ",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_is_only_text(store: Store, text: str):
    # Keys of an index hold less than a mebibyte on Postgres; what does not fit is refused, not cut.
    row = variable(text[:2000], text, selector=text[:200])
    async with store.write() as transaction:
        await transaction.put(row)
        transaction.log(Topic.VARIABLE, text)
    assert await all_of(store, VariableRow, name=row.name, selector=[row.selector], value=text) == [row]
    assert [change.key for change in await all_of(store, ChangeRow)] == [text]


_PIPELINE = next(row for row in ONE_OF_EACH if isinstance(row, PipelineRow))
_UNSTORABLE = {
    "NUL": (variable("A\0B"), "variables.name", "NUL"),
    "surrogate": (variable("A", "\ud800"), "variables.value", "surrogates not allowed"),
    "number": (replace(_PIPELINE, generation=1 << 63), "pipelines.generation", "64 bits"),
    "naive time": (replace(_PIPELINE, created_at=datetime(2026, 1, 1)), "pipelines.created_at", "time zone"),
    "wrong type": (replace(_PIPELINE, labels=3), "pipelines.labels", "int"),
}


@pytest.mark.parametrize(("row", "place", "why"), _UNSTORABLE.values(), ids=_UNSTORABLE.keys())
async def test_what_no_column_can_hold_is_refused_by_place_and_spoils_nothing(store: Store, row, place: str, why: str):
    async with store.write() as transaction:
        with pytest.raises(InvalidError, match=re.escape(place)) as refusal:
            await transaction.put(variable("COMPANION"), row)
        assert why in str(refusal.value)
        await transaction.put(variable("OTHER"))
    assert await all_of(store, VariableRow) == [variable("OTHER")]


async def test_a_refused_log_entry_leaves_no_gap(store: Store):
    async with store.write() as transaction:
        with pytest.raises(InvalidError):
            transaction.event("kind", "mess\0age")
        assert transaction.log(Topic.AGENT, "a-1") == 1
    assert [row.revision for row in await all_of(store, ChangeRow)] == [1]


async def test_text_inside_of_documents_may_hold_anything(store: Store):
    """An agent's words about its engine must not keep its state from being written."""
    words = "\0 \ud800 \N{GRINNING FACE}"
    row = ObservedRow(
        agent_id="a-1", pipeline="p", observed=Observed(pipeline="p", notes=(words,)), phase=Phase.GOOD, changed_at=AT
    )
    async with store.write() as transaction:
        await transaction.put(row)
    assert await all_of(store, ObservedRow) == [row]


async def test_large_blobs_come_back_whole(store: Store):
    row = BlobRow(sha256="ab", data=bytes(range(256)) * (32 << 12), at=AT)
    async with store.write() as transaction:
        await transaction.put(row)
    async with store.read() as reader:
        assert await reader.get(BlobRow, "ab") == row


async def test_a_misspelt_column_or_key_is_the_callers_defect(store: Store):
    async with store.read() as reader:
        with pytest.raises(TypeError, match="VariableRow has no field 'nmae'"):
            await reader.find(VariableRow, nmae="A")
        with pytest.raises(TypeError, match="key of VariableRow"):
            await reader.get(VariableRow, "A")


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
