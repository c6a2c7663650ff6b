"""The set of workloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from agent.host import Host
from agent.model import Record, Removal, Target
from agent.reconciler import Reconciler
from agent.state import State
from agent.workload import Workload
from headrace.types import AttemptState, Engine, Fault, Observed
from tests.agent.conftest import MakeHost, blob, content
from tests.agent.fakes import FakeRuntime
from tests.processes import eventually


class Bench:
    def __init__(self, reconciler: Reconciler, changed: list[str]) -> None:
        self.reconciler = reconciler
        self.changed = changed

    def want(self, pipeline: str, generation: int, mark: str = "a", fault: str = "") -> None:
        sha256, data = blob(content(mark, fault))
        self.reconciler.want(pipeline, Target(generation, sha256), data)

    async def until(self, condition: Callable[[Mapping[str, Observed]], object]) -> Mapping[str, Observed]:
        await eventually(lambda: condition(self.reconciler.observed()), timeout=10)
        return self.reconciler.observed()


@asynccontextmanager
async def running(host: Host, *, leave_engines: bool = False) -> AsyncIterator[Bench]:
    changed: list[str] = []
    async with asyncio.TaskGroup() as group:
        reconciler = Reconciler(host, changed.append)
        reconciler.start(group)
        try:
            yield Bench(reconciler, changed)
        finally:
            if leave_engines:
                for task in list(reconciler._tasks):
                    task.cancel()
            else:
                await reconciler.shut_down()


@pytest.fixture
async def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
async def host(make_host: MakeHost, runtime: FakeRuntime) -> Host:
    return make_host({Engine.EMBEDDED: runtime})


async def test_each_pipeline_has_its_own_engine_and_fails_on_its_own(host: Host, runtime: FakeRuntime) -> None:
    async with running(host) as bench:
        bench.want("p", 1, "a")
        bench.want("q", 2, "b")
        bench.want("r", 3, "c", "invalid")
        observed = await bench.until(
            lambda all: all["p"].good == 1 and all["q"].good == 2 and all["r"].attempt.state is AttemptState.FAILED  # type: ignore[union-attr]
        )
        assert set(observed) == {"p", "q", "r"}
        assert {each.mark for each in runtime.alive} == {"a", "b"}
    assert runtime.alive == []


async def test_what_is_on_disk_starts_without_a_control_plane(host: Host, runtime: FakeRuntime, state: State) -> None:
    async with running(host) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)
    again = State(state.folder)
    state.close()
    again.open()
    try:
        assert again.records["p"].good == Target(1, blob(content())[0])
        async with running(host):
            await eventually(lambda: runtime.alive)
    finally:
        again.close()


async def test_a_killed_agents_engines_are_not_doubled(host: Host, runtime: FakeRuntime) -> None:
    async with running(host, leave_engines=True) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)
    first = runtime.only
    async with running(host) as bench:
        await bench.until(lambda all: all["p"].running and all["p"].running.message == "")
        assert runtime.only is first


async def test_a_removed_pipeline_is_gone_from_what_is_observed(host: Host, runtime: FakeRuntime) -> None:
    async with running(host) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)
        bench.changed.clear()
        bench.reconciler.remove("p", Removal(generation=2))
        await bench.until(lambda all: "p" not in all)
        assert bench.changed[-1] == "p"
        assert runtime.alive == []
        bench.reconciler.remove("unknown", Removal(generation=3))
        assert bench.changed[-1] == "unknown"


async def test_a_removed_pipeline_that_comes_back_needs_a_newer_generation(host: Host, runtime: FakeRuntime) -> None:
    async with running(host) as bench:
        bench.want("p", 1)
        bench.reconciler.remove("p", Removal(generation=2))
        await bench.until(lambda all: "p" not in all)
        bench.want("p", 3, "b")
        await bench.until(lambda all: all["p"].good == 3)
        assert runtime.only.mark == "b"


async def test_data_is_kept_for_a_day_and_then_deleted(make_host: MakeHost, runtime: FakeRuntime, state: State) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    host = make_host({Engine.EMBEDDED: runtime}, now=lambda: now)
    for pipeline, age in (("old", timedelta(hours=25)), ("new", timedelta(hours=23))):
        state.save(Record(pipeline=pipeline, removal=Removal(generation=1, at=now - age)))
        host.folder(pipeline).data.mkdir(parents=True)
    async with running(host) as bench:
        await eventually(lambda: "old" not in state.records)
        assert not host.folder("old").path.exists()
        assert host.folder("new").data.exists()
        assert bench.reconciler.observed() == {}


async def test_data_of_a_pipeline_that_is_gone_can_still_be_purged(host: Host, state: State) -> None:
    async with running(host) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)
        bench.reconciler.remove("p", Removal(generation=2))
        await bench.until(lambda all: "p" not in all)
        assert host.folder("p").data.exists()
        bench.reconciler.remove("p", Removal(generation=3, purge=True))
        assert not host.folder("p").path.exists()
        assert "p" not in state.records


async def test_what_cannot_even_be_kept_is_reported_beside_what_runs(host: Host, runtime: FakeRuntime) -> None:
    async with running(host) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)
        bench.reconciler.refuse("p", 2, Fault(message="too large"))
        observed = bench.reconciler.observed()["p"]
        assert (observed.desired, observed.good) == (2, 1)
        assert observed.attempt is not None
        assert (observed.attempt.state, observed.attempt.quarantined) == (AttemptState.FAILED, True)
        assert observed.running is not None
        bench.want("p", 3, "b")
        await bench.until(lambda all: all["p"].good == 3)


async def test_a_defect_in_one_workload_is_survived(
    host: Host, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([RuntimeError("a defect")])
    run = Workload.run

    async def failing(self: Workload) -> None:
        for failure in failures:
            raise failure
        await run(self)

    monkeypatch.setattr(Workload, "run", failing)
    async with running(host) as bench:
        bench.want("p", 1)
        await bench.until(lambda all: all["p"].good == 1)


async def test_engines_stop_side_by_side_and_at_once_when_forced(host: Host, runtime: FakeRuntime) -> None:
    async with running(host) as bench:
        for index in range(5):
            bench.want(f"p{index}", index + 1)
        await bench.until(lambda all: all and all_good(all))
    assert runtime.alive == []


def all_good(observed: Mapping[str, Observed]) -> bool:
    return all(each.good for each in observed.values())
