"""Group commit: one transaction for many, an answer for each, and no company in failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from controlplane.groups import GroupCommit
from headrace.errors import InvalidError, UnavailableError


class Recorder:
    """Commits numbers by doubling them; the first commit waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.came = asyncio.Event()
        self.may_go = asyncio.Event()

    async def commit(self, items: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(items))
        self.came.set()
        await self.may_go.wait()
        if -1 in items:
            raise InvalidError("-1 cannot be stored")
        if -2 in items:
            raise UnavailableError("the store is away")
        if -3 in items:
            raise ZeroDivisionError
        return [2 * item for item in items]


@asynccontextmanager
async def running(group: GroupCommit[int, int]) -> AsyncIterator[None]:
    task = asyncio.create_task(group.run())
    yield
    task.cancel()
    await asyncio.wait([task])


async def test_what_arrives_during_a_commit_goes_together_into_the_next_ones() -> None:
    recorder = Recorder()
    group = GroupCommit(recorder.commit, size=3)
    async with running(group):
        first = asyncio.create_task(group.submit(1))
        await recorder.came.wait()
        rest = [asyncio.create_task(group.submit(number)) for number in range(2, 7)]
        await asyncio.sleep(0)
        recorder.may_go.set()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10, 12]
    assert recorder.groups == [[1], [2, 3, 4], [5, 6]]


async def test_one_bad_item_fails_alone() -> None:
    recorder = Recorder()
    recorder.may_go.set()
    group = GroupCommit(recorder.commit)
    async with running(group):
        answers = await asyncio.gather(*(group.submit(n) for n in (1, -1, 2, -3)), return_exceptions=True)
    assert answers[0] == 2
    assert isinstance(answers[1], InvalidError)
    assert answers[2] == 4
    assert isinstance(answers[3], ZeroDivisionError)


async def test_an_outage_fails_all_of_a_group_and_the_next_one_is_tried() -> None:
    recorder = Recorder()
    recorder.may_go.set()
    group = GroupCommit(recorder.commit)
    async with running(group):
        answers = await asyncio.gather(*(group.submit(n) for n in (1, -2)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [UnavailableError, UnavailableError]
        assert await group.submit(3) == 6


async def test_who_gives_up_takes_his_item_along_and_a_posted_one_stays() -> None:
    recorder = Recorder()
    group = GroupCommit(recorder.commit)
    async with running(group):
        first = asyncio.create_task(group.submit(1))
        await recorder.came.wait()
        second = asyncio.create_task(group.submit(2))
        await asyncio.sleep(0)
        group.post(3)
        second.cancel()
        await asyncio.wait([second])
        recorder.may_go.set()
        await first
        await group.rest()
    assert recorder.groups == [[1], [3]]


async def test_nobody_is_left_waiting_at_the_end() -> None:
    recorder = Recorder()
    group = GroupCommit(recorder.commit)
    async with running(group):
        waiting = [asyncio.create_task(group.submit(number)) for number in range(2)]
        await recorder.came.wait()
        waiting.append(asyncio.create_task(group.submit(9)))
        await asyncio.sleep(0)
    for task in waiting:
        with pytest.raises(asyncio.CancelledError):
            await task
