"""The store against a dict: whatever is written, abandoned, reopened, trimmed or restored, both say the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from controlplane.model import (
    AgentRow,
    ChangeRow,
    EventRow,
    ObservedRow,
    PlaneRow,
    Row,
    SessionRow,
    Topic,
    VariableRow,
)
from controlplane.state import Store, Transaction, open_store
from tests.conftest import Clock
from tests.controlplane.state.conftest import BACKENDS
from tests.controlplane.state.rows import key_of, values
from tests.controlplane.state.use import abandoned

T = TypeVar("T")

KINDS = (AgentRow, ObservedRow, SessionRow, VariableRow)
_few = st.sampled_from(["a", "b", "c"])
_rows = st.one_of(
    _few.flatmap(lambda key: values(AgentRow, id=key)),
    st.tuples(_few, _few).flatmap(lambda key: values(ObservedRow, agent_id=key[0], pipeline=key[1])),
    _few.flatmap(lambda key: values(SessionRow, agent_id=key)),
    st.tuples(_few, _few).flatmap(lambda key: values(VariableRow, name=key[0], selector=key[1])),
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(_rows, max_size=3)),
        st.tuples(st.just("delete"), _rows),
        st.tuples(st.just("log"), st.lists(_few, max_size=3)),
        st.tuples(st.just("event"), _few),
        st.tuples(st.just("generation"), st.integers(0, 20)),
        st.tuples(st.just("read"), st.sampled_from(KINDS)),
    ),
    max_size=8,
)

Model = dict[tuple[Any, ...], Row]


class StoreMachine(RuleBasedStateMachine):
    """One store and one dict, which a transaction changes both or neither."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.clock = Clock()
        self.model: Model = {}
        self.backup: tuple[list[bytes], Model] | None = None

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.loop.run(run())

    @initialize()
    def open(self) -> None:
        self.store: Store = open_store(self.url, now=self.clock.now)
        self.do(self.store.open())
        self.do(self.empty())
        self.model[PlaneRow, 1] = self.do(self.read(PlaneRow))[0]

    async def empty(self) -> None:
        async with self.store.write() as transaction:
            await transaction.clear()

    @rule(steps=_steps, kept=st.booleans())
    def write(self, steps: list[tuple[str, Any]], kept: bool) -> None:
        changed = dict(self.model)
        self.do(self.transact(steps, changed, kept))
        if kept:
            self.model = changed

    async def transact(self, steps: list[tuple[str, Any]], changed: Model, kept: bool) -> None:
        async with self.store.write() if kept else abandoned(self.store) as transaction:
            for name, argument in steps:
                await getattr(self, f"step_{name}")(transaction, changed, argument)

    async def step_put(self, transaction: Transaction, changed: Model, rows: list[Row]) -> None:
        await transaction.put(*rows)
        changed |= {(type(row), *key_of(row)): row for row in rows}

    async def step_delete(self, transaction: Transaction, changed: Model, row: Row) -> None:
        there = await transaction.delete(type(row), *key_of(row))
        assert there == (changed.pop((type(row), *key_of(row)), None) is not None)

    async def step_log(self, transaction: Transaction, changed: Model, keys: list[str]) -> None:
        newest = transaction.log(Topic.AGENT, *keys)
        for key in keys:
            self.model_entry(changed, Topic.AGENT, key)
        assert newest == changed[PlaneRow, 1].fleet_revision

    async def step_event(self, transaction: Transaction, changed: Model, kind: str) -> None:
        event = transaction.event(kind, "message")
        self.model_entry(changed, Topic.EVENT, kind)
        changed[EventRow, event.revision] = event
        assert event.revision == changed[PlaneRow, 1].fleet_revision

    async def step_generation(self, transaction: Transaction, changed: Model, past: int) -> None:
        transaction.raise_generation(past)
        given = transaction.next_generation()
        plane = changed[PlaneRow, 1]
        assert given == max(plane.generation, past) + 1
        changed[PlaneRow, 1] = replace(plane, generation=given)

    async def step_read(self, transaction: Transaction, changed: Model, kind: type) -> None:
        assert await transaction.find(kind) == of_kind(changed, kind)
        assert await transaction.plane() == changed[PlaneRow, 1]

    def model_entry(self, changed: Model, topic: Topic, key: str) -> None:
        revision = changed[PlaneRow, 1].fleet_revision + 1
        changed[PlaneRow, 1] = replace(changed[PlaneRow, 1], fleet_revision=revision)
        changed[ChangeRow, revision] = ChangeRow(revision=revision, topic=topic, key=key, at=self.clock.now())

    @rule()
    def reopen(self) -> None:
        self.do(self.store.close())
        self.store = open_store(self.url, now=self.clock.now)
        self.do(self.store.open())

    @rule(seconds=st.integers(0, 100))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(age=st.integers(0, 100))
    def trim(self, age: int) -> None:
        cutoff = self.clock.now() - timedelta(seconds=age)
        old = [key for key, row in self.model.items() if isinstance(row, ChangeRow) and row.at < cutoff]
        assert self.do(self.store.trim(ChangeRow, older_than=cutoff)) == len(old)
        for key in old:
            del self.model[key]

    @rule()
    def back_up(self) -> None:
        async def dump() -> list[bytes]:
            return [piece async for piece in self.store.dump()]

        self.backup = self.do(dump()), dict(self.model)

    @rule()
    def restore(self) -> None:
        if self.backup is None:
            return
        pieces, then = self.backup
        before, dumped = self.model[PlaneRow, 1], then[PlaneRow, 1]
        plane = self.do(self.store.load(pieces))
        assert plane == replace(
            before,
            epoch=max(before.epoch, dumped.epoch) + 1,
            fleet_revision=max(before.fleet_revision, dumped.fleet_revision) + 2,
            generation=max(before.generation, dumped.generation),
        )
        self.model = {**then, (PlaneRow, 1): plane}
        event = self.do(self.read(EventRow))[-1]
        assert event.kind == "plane.restored"
        self.model[EventRow, event.revision] = event
        for change in self.do(self.read(ChangeRow))[-2:]:
            self.model[ChangeRow, change.revision] = change

    @invariant()
    def both_say_the_same(self) -> None:
        for kind in (*KINDS, PlaneRow, ChangeRow, EventRow):
            assert self.do(self.read(kind)) == of_kind(self.model, kind)

    async def read(self, kind: type[Any]) -> list[Any]:
        async with self.store.read() as reader:
            return await reader.find(kind)

    def teardown(self) -> None:
        with suppress(AttributeError):  # an example may fail before it opened a store
            self.do(self.store.close())
        self.loop.close()


def of_kind(model: Model, kind: type) -> list[Row]:
    return sorted((row for row in model.values() if isinstance(row, kind)), key=key_of)


@pytest.fixture
def urls(request: pytest.FixtureRequest, backend: str) -> Iterator[Callable[[], str]]:
    with ExitStack() as stack:
        if backend == "sqlite":
            yield lambda: f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/state.db"
        else:
            url = request.getfixturevalue("postgres_url")
            yield lambda: url


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_store_says_what_a_dict_says(backend: str, urls: Callable[[], str]):
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__()
            self.url = urls()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=15 if backend == "sqlite" else 8,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
