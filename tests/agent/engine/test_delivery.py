"""An output's queue: order, retries, giving up, draining, handing over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from agent.engine import delivery as module
from agent.engine.buffer import Chunk, InputBuffer, Ticket
from agent.engine.delivery import Delivery
from agent.engine.logs import PluginLog
from agent.engine.metrics import Accounts, OutputMetrics
from agent.engine.plugin import Result
from agent.engine.record import Batch
from agent.engine.retry import UNLIMITED, RetrySchedule
from agent.engine.storage import ChunkStore
from tests.processes import eventually


class Scripted:
    """An output that answers as it is told, and remembers what it was given."""

    def __init__(self, *answers: Result | Exception) -> None:
        self.answers = list(answers)
        self.written: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def write(self, batch: Batch) -> Result:
        await self.gate.wait()
        self.written.append(batch.records[0]["n"])
        answer = self.answers.pop(0) if self.answers else Result.OK
        if isinstance(answer, Exception):
            raise answer
        return answer


class Now(RetrySchedule):
    """Retries without delay."""

    def delay(self, retry: int, rng: Random) -> int:
        return 0


def make(output: Scripted, *, retry_limit: int = 1, total_limit: int = 0) -> Delivery:
    log = PluginLog("output", "scripted", "out")
    rng = Random(1)
    return Delivery(
        "out",
        output,
        log=log,
        metrics=OutputMetrics(),
        flows={},
        accounts=Accounts(),
        retry_limit=retry_limit,
        schedule=lambda: Now(),
        rng=rng,
        total_limit=total_limit,
    )


def offer(
    to: Delivery,
    *numbers: int,
    ack: Callable[[int], None] = lambda _number: None,
    store: ChunkStore | None = None,
) -> None:
    def send(chunk: Chunk) -> None:
        chunk.waiting = {to.name}
        to.offer(chunk)

    for number in numbers:
        buffer = InputBuffer("in", send=send, dirty=lambda: None, store=store, durable=store is not None)
        ticket = Ticket(lambda number=number: ack(number))
        buffer.append(Batch("t", [1], [{"n": number}], None, 10), ticket)
        ticket.release()
        buffer.flush()


@asynccontextmanager
async def running(to: Delivery) -> AsyncIterator[None]:
    task = asyncio.create_task(to.run(), name="delivery under test")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_chunks_are_written_in_order_and_acknowledged() -> None:
    output, acked = Scripted(), []
    to = make(output)
    async with running(to):
        offer(to, 1, 2, 3, ack=acked.append)
        await to.is_idle.wait()
    assert output.written == acked == [1, 2, 3]
    assert (to.metrics.proc_records, to.metrics.proc_bytes) == (3, 30)


async def test_a_failed_chunk_is_tried_again_behind_the_others() -> None:
    output, acked = Scripted(Result.RETRY), []
    to = make(output)
    async with running(to):
        offer(to, 1, 2, ack=acked.append)
        await to.is_idle.wait()
    assert output.written == [1, 2, 1]
    assert acked == [2, 1]
    assert (to.metrics.retries, to.metrics.retried_records, to.metrics.dropped_records) == (1, 1, 0)


@pytest.mark.parametrize(
    ("limit", "answers", "tries", "dropped"),
    [
        (1, [Result.RETRY] * 5, 2, 1),
        (0, [Result.RETRY] * 5, 1, 1),
        (UNLIMITED, [Result.RETRY] * 5, 6, 0),
        (3, [Result.ERROR], 1, 1),
        (1, [OSError("no route"), TimeoutError()], 2, 1),
        (1, [RuntimeError("bug")], 2, 0),
    ],
)
async def test_a_chunk_is_tried_as_often_as_its_limit_says_and_then_dropped_and_acknowledged(
    limit: int, answers: list[Result | Exception], tries: int, dropped: int
) -> None:
    output, acked = Scripted(*answers), []
    to = make(output, retry_limit=limit)
    async with running(to):
        offer(to, 1, ack=acked.append)
        await to.is_idle.wait()
    assert len(output.written) == tries
    assert to.metrics.dropped_records == dropped
    assert acked == [1]
    assert to.busy == 0


async def test_draining_tries_waiting_chunks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Scripted(Result.RETRY)
    to = make(output)
    monkeypatch.setattr(Now, "delay", lambda self, retry, rng: 3600)
    async with running(to):
        offer(to, 1)
        await eventually(lambda: to.metrics.retries)
        assert to.busy == 1
        to.drain()
        await to.is_idle.wait()
    assert output.written == [1, 1]


async def test_while_draining_failures_wait_a_moment_not_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_RETRY", 0)
    monkeypatch.setattr(Now, "delay", lambda self, retry, rng: 3600)
    output = Scripted(Result.RETRY, Result.RETRY)
    to = make(output, retry_limit=UNLIMITED)
    to.drain()
    async with running(to):
        offer(to, 1)
        await to.is_idle.wait()
    assert output.written == [1, 1, 1]


async def test_a_successor_gets_everything_and_what_fails_here_later() -> None:
    old, new = Scripted(Result.RETRY), Scripted()
    old.gate.clear()
    before, after = make(old), make(new)
    acked: list[int] = []
    async with running(before), running(after):
        offer(before, 1, 2, 3, ack=acked.append)
        await asyncio.sleep(0)
        before.hand_over(after)
        await after.is_idle.wait()
        assert new.written == [2, 3]
        old.gate.set()
        await before.is_idle.wait()
        await after.is_idle.wait()
    assert new.written == [2, 3, 1]
    assert acked == [2, 3, 1]


async def test_a_cancelled_write_counts_as_not_done() -> None:
    output = Scripted()
    output.gate.clear()
    to = make(output)
    async with running(to):
        offer(to, 1)
        await asyncio.sleep(0)
    assert to.busy == 1
    assert to.abandon() == 1
    assert to.metrics.dropped_records == 1
    assert to.busy == 0


async def test_two_workers_write_at_the_same_time() -> None:
    output = Scripted()
    output.gate.clear()
    to = make(output)
    async with running(to), running(to):
        offer(to, 1, 2, 3)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(to._writing) == 2
        output.gate.set()
        await to.is_idle.wait()
    assert sorted(output.written) == [1, 2, 3]


async def test_the_oldest_chunks_on_disk_go_when_more_wait_than_the_limit_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, output = ChunkStore(tmp_path), Scripted()
    store.file("probe", 0).create(Batch("t", [1], [{"n": 1}], None, 10))
    (probe,) = store.backlog()
    to = make(output, total_limit=3 * probe.size())
    probe.remove()
    output.gate.clear()
    async with running(to):
        offer(to, 1, store=store)
        await eventually(lambda: to.busy == 1 and not to._queue, what="the first chunk is being written")
        offer(to, 2, 3, 4, 5, store=store)
        assert [file.load()[0].records[0]["n"] for file in store.backlog()] == [1, 4, 5]
        offer(to, 6)
        output.gate.set()
        await to.is_idle.wait()
    assert output.written == [1, 4, 5, 6], "what is in memory is not counted"
    assert (to.metrics.dropped_records, to.metrics.proc_records) == (2, 4)
    assert "1 records of in are dropped" in caplog.text
    assert list(store.backlog()) == []


async def test_a_chunk_that_waits_for_its_retry_can_be_dropped_and_one_alone_above_the_limit_is(tmp_path: Path) -> None:
    store, output = ChunkStore(tmp_path), Scripted(Result.RETRY)
    to = make(output, retry_limit=UNLIMITED, total_limit=1)
    to._schedule = lambda: RetrySchedule(base=1000, cap=2000)
    async with running(to):
        offer(to, 1, store=store)
        await to.is_idle.wait()
        assert (output.written, to.metrics.dropped_records) == ([], 1)
        to._total_limit = 100
        offer(to, 2, store=store)
        await eventually(lambda: to.metrics.retries == 1, what="the chunk waits for its retry")
        offer(to, 3, store=store)
        await to.is_idle.wait()
    assert output.written == [2, 3]
    assert to.metrics.dropped_records == 2
