"""Filters that wait: order, memory, acknowledgements, reload and stop, through a filter that waits for its cue."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.buffer import Chunk, InputBuffer, Ticket
from agent.engine.config import BOOLEAN, option
from agent.engine.line import Line
from agent.engine.plugin import Context, Emit, Wait
from agent.engine.record import Batch
from agent.engine.registry import Registry, filters
from tests.agent.engine.conftest import EngineKit, RunningEngine
from tests.processes import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class CuedConfig:
    other: bool = option(BOOLEAN, False, help="changes nothing")


class Cued:
    """Waits for its cue before a batch with `wait` in it, and says in each record whether it was given."""

    instances: ClassVar[list[Cued]] = []

    def __init__(self, config: Any, context: Context) -> None:
        self.cue = asyncio.Event()
        self.asked = 0
        self.is_closed = False
        self.after_close = 0
        self.instances.append(self)

    def prepare(self, batch: Batch) -> Wait | None:
        if not any("wait" in record["log"] for record in batch.records) or self.cue.is_set():
            return None
        self.asked += 1
        return self._wait()

    def process(self, batch: Batch, emit: Emit) -> Batch:
        self.after_close += self.is_closed
        for record in batch.records:
            record["log"] += " given" if self.cue.is_set() else " without"
        return batch

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True

    async def _wait(self) -> None:
        await self.cue.wait()


@pytest.fixture(autouse=True)
def _cued(monkeypatch: pytest.MonkeyPatch) -> None:
    spare: Registry[Any] = Registry("filter")
    spare.register("cued", CuedConfig)(Cued)
    monkeypatch.setattr(filters, "_plugins", {**filters._plugins, **spare._plugins})
    monkeypatch.setattr(Cued, "instances", [])


Plan: TypeAlias = "list[list[int]]"
"""For each batch: how many turns each of its waits takes, before a record each; 0 is a record without a wait."""


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6), st.integers(0, 12))
def test_whatever_is_waited_for_and_whenever_it_is_finished_all_go_in_order(plan: Plan, turns: int) -> None:
    asyncio.run(_go_in_order(plan, turns))


async def _go_in_order(plan: Plan, turns: int) -> None:
    sent: list[Chunk] = []
    buffer = InputBuffer("i", send=sent.append, dirty=lambda: None)
    async with asyncio.TaskGroup() as tasks:
        line = Line(buffer, lambda work: tasks.create_task(work, name="line"))
        acks: list[int] = []

        def way(number: int, steps: list[int]) -> Iterator[Batch | Wait]:
            for step, wait in enumerate(steps):
                if wait:
                    yield _turns(wait)
                yield Batch("t", [0], [{"at": [number, step]}], None, 1)

        for number, steps in enumerate(plan):
            ticket = Ticket(partial(acks.append, number))
            line.take(way(number, steps), ticket, size=10)
            ticket.release()
            for _ in range(number % 2):
                await asyncio.sleep(0)
        await _turns(turns)
        await line.finish()
    buffer.flush()
    records = [record["at"] for chunk in sent for record in chunk.load().records]
    assert records == [[number, step] for number, steps in enumerate(plan) for step in range(len(steps))]
    assert acks == [number for number, steps in enumerate(plan) if not steps]
    for chunk in sent:
        buffer.settle(chunk)
    assert sorted(acks) == list(range(len(plan)))
    assert (buffer.memory, buffer.is_idle.is_set(), line.task) == (0, True, None)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


TEXT = """
    service: {flush: 0.02, grace: 1}
    pipeline:
      inputs:
        - {name: tail, alias: log, path: in.log, tag: t, db: offsets.db, read_from_head: on}
      filters:
        - {name: modify, match: '*', add: first 1}
        - {name: cued, match: '*'}
      outputs:
        - {name: file, match: '*', file: out, format: template, template: '{log}'}
    """


@asynccontextmanager
async def waiting(kit: EngineKit, text: str = TEXT) -> AsyncIterator[tuple[RunningEngine, Cued]]:
    """An engine that has a line in wait and two more behind it."""
    kit.write("in.log", "wait 1\n")
    async with kit.run(text) as running:
        (cued,) = Cued.instances
        await eventually(lambda: cued.asked)
        kit.append("in.log", "2\n")
        await eventually(lambda: running.metrics("input", "log").records == 2)
        kit.append("in.log", "wait 3\n")
        await eventually(lambda: running.metrics("input", "log").records == 3)
        yield running, cued


def committed(kit: EngineKit) -> int:
    connection = sqlite3.connect(kit.folder / "offsets.db")
    try:
        return int(connection.execute("SELECT offset FROM in_tail_files").fetchone()[0])
    finally:
        connection.close()


async def test_what_waits_is_overtaken_by_nothing_and_passes_the_filters_before_once(kit: EngineKit) -> None:
    async with waiting(kit) as (running, cued):
        assert kit.lines("out") == []
        assert running.metrics("filter", "modify.0").records == 1
        assert committed(kit) == 0
        cued.cue.set()
        assert await kit.has_lines("out", 3) == ["wait 1 given", "2 given", "wait 3 given"]
        await eventually(lambda: committed(kit) == 16)
        assert running.metrics("filter", "modify.0").records == 3
    assert len(kit.lines("out")) == 3


async def test_what_stands_in_line_is_accounted_for(kit: EngineKit) -> None:
    async with waiting(kit) as (running, cued):
        accounts = running.engine.counters.accounts
        assert running.engine.pipeline is not None
        assert (accounts.standing, running.engine.pipeline.unaccounted) == (3, 0)
        cued.cue.set()
        await kit.has_lines("out", 3)
        await eventually(lambda: not accounts.standing)
        assert running.engine.pipeline.unaccounted == 0
    assert running.engine.counters.unaccounted(0) == 0


async def test_other_inputs_do_not_wait(kit: EngineKit) -> None:
    other = 'inputs:\n        - {name: dummy, tag: d, samples: 1, dummy: \'{"log": "quick"}\', interval_nsec: 10000000}'
    async with waiting(kit, TEXT.replace("inputs:", other)) as (_, cued):
        assert await kit.has_lines("out", 1) == ["quick without"]
        cued.cue.set()
        await kit.has_lines("out", 4)


async def test_what_waits_counts_as_memory_and_pauses_its_input(kit: EngineKit) -> None:
    kit.write("in.log", "wait " + "x" * 3000 + "\n")
    async with kit.run(TEXT.replace("tag: t", "tag: t, mem_buf_limit: 2k")) as running:
        (cued,) = Cued.instances
        await eventually(lambda: cued.asked)
        assert running.engine.pipeline is not None
        (buffer,) = running.engine.pipeline.buffers
        assert buffer.paused
        kit.append("in.log", "2\n")
        cued.cue.set()
        assert len(await kit.has_lines("out", 2)) == 2
        await eventually(lambda: buffer.memory == 0)
        assert not buffer.paused


async def test_a_reload_that_changes_everything_lets_what_waits_go_its_old_way(kit: EngineKit) -> None:
    async with waiting(kit) as (running, cued):
        assert await running.reload(TEXT.replace("cued, ", "cued, other: on, ").replace("tag: t", "tag: u"))
        assert not cued.is_closed
        kit.append("in.log", "4\n")
        assert await kit.has_lines("out", 1) == ["4 without"]
        cued.cue.set()
        assert await kit.has_lines("out", 4) == ["4 without", "wait 1 given", "2 given", "wait 3 given"]
        await eventually(lambda: cued.is_closed)
        assert cued.after_close == 0
        await eventually(lambda: committed(kit) == 18)


async def test_a_stop_waits_no_longer_than_its_grace_and_loses_nothing(kit: EngineKit) -> None:
    async with waiting(kit) as (running, cued):
        remainder = await running.stop()
    assert not remainder
    assert kit.lines("out") == ["wait 1 without", "2 without", "wait 3 without"]
    assert (cued.is_closed, cued.after_close) == (True, 0)
    assert committed(kit) == 16


async def test_a_filter_that_fails_while_records_wait_fails_the_engine_and_acknowledges_nothing(
    kit: EngineKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Cued, batch: Batch, emit: Emit) -> Batch:
        raise ZeroDivisionError("by a filter")

    async def run() -> None:
        async with waiting(kit) as (running, cued):
            monkeypatch.setattr(Cued, "process", broken)
            cued.cue.set()
            await running.ended()

    with pytest.raises(RuntimeError, match="line of input log failed: by a filter"):
        await run()
    assert committed(kit) == 0
