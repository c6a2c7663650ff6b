"""One workload's life, on engines that only pretend."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agent import folders
from agent.host import Host
from agent.model import Plane, Record, Removal, Target
from agent.policy import Policy
from agent.runtimes.ports import free_port
from agent.state import State
from agent.workload import Workload
from headrace.errors import UnavailableError
from headrace.types import AttemptState, Engine, Health, Observed, Step
from tests.agent.conftest import MakeHost, blob, content
from tests.agent.fakes import FakeRuntime

NEVER = 1e9


class Bench:
    """A workload that runs, what it reports, and the engines under it."""

    def __init__(self, host: Host, runtime: FakeRuntime, record: Record) -> None:
        self.host = host
        self.runtime = runtime
        self.reported: list[Observed] = []
        self._changed = asyncio.Event()
        self.workload = Workload(record, host, self._on_change)
        self.task = asyncio.create_task(self.workload.run(), name="workload")
        self._generation = record.desired.generation if record.desired else 0

    def want(self, mark: str = "a", fault: str = "", *, text: str = "") -> int:
        """A new generation; the same mark and fault are the same content."""
        self._generation += 1
        sha256, data = blob(content(mark, fault, text=text))
        self.host.state.save_blob(sha256, data)
        self.workload.want(Target(self._generation, sha256))
        return self._generation

    async def until(self, condition: Callable[[Observed], object]) -> Observed:
        """What is reported once it meets the condition, or once something else does that the condition looks at."""
        async with asyncio.timeout(10):
            while not condition(observed := self.workload.observed()):
                self._changed.clear()
                try:
                    async with asyncio.timeout(0.02):
                        await self._changed.wait()
                except TimeoutError:
                    pass
        return observed

    async def until_good(self, generation: int) -> Observed:
        return await self.until(lambda observed: observed.good == generation)

    async def until_failed(self, generation: int) -> Observed:
        return await self.until(
            lambda observed: (
                observed.attempt is not None
                and observed.attempt.generation == generation
                and observed.attempt.state is AttemptState.FAILED
            )
        )

    async def turns(self, count: int = 50) -> None:
        """Let everybody run who can."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait((self.task,))

    def _on_change(self, pipeline: str) -> None:
        self.reported.append(self.workload.observed())
        self._changed.set()


Benches = Callable[..., Bench]


@pytest.fixture
async def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
async def bench(make_host: MakeHost, runtime: FakeRuntime) -> AsyncIterator[Bench]:
    async with running(make_host({Engine.EMBEDDED: runtime}), runtime) as bench:
        yield bench


@asynccontextmanager
async def running(host: Host, runtime: FakeRuntime, record: Record | None = None) -> AsyncIterator[Bench]:
    bench = Bench(host, runtime, record or Record(pipeline="p"))
    try:
        yield bench
    finally:
        await bench.stop()


def config_that_listens(port: int) -> str:
    tcp = f"  - name: tcp\n      listen: 127.0.0.1\n      port: {port}\n  outputs:"
    return content("b").config.replace("outputs:", tcp)


# The good way.


async def test_a_first_content_is_validated_started_and_good(bench: Bench, runtime: FakeRuntime) -> None:
    generation = bench.want("a")
    observed = await bench.until_good(generation)
    assert observed.desired == observed.good == generation
    assert observed.running is not None
    assert (observed.running.generation, observed.running.engine) == (generation, Engine.EMBEDDED)
    assert (runtime.only.mark, runtime.validated) == ("a", ["a"])
    states = [each.attempt.state for each in bench.reported if each.attempt]
    steps = [each.attempt.step for each in bench.reported if each.attempt and each.attempt.step]
    assert list(dict.fromkeys(states)) == ["pending", "validating", "applying", "ok"]
    assert list(dict.fromkeys(steps)) == ["render", "validate", "trial", "apply", "settle"]


async def test_another_content_is_reloaded_in_place(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    first = runtime.only
    observed = await bench.until_good(bench.want("b"))
    assert runtime.only is first
    assert (first.mark, first.reloads) == ("b", 1)
    assert observed.running is not None
    assert observed.running.sha256 == blob(content("b"))[0]


async def test_the_running_content_under_a_new_number_touches_nothing(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_good(bench.want("a"))
    assert observed.running is not None
    assert observed.running.generation == 2
    assert (runtime.only.reloads, runtime.validated) == (0, ["a"])


async def test_an_older_or_repeated_generation_is_ignored(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    bench.workload.want(Target(1, blob(content("a"))[0]))
    bench.workload.want(Target(0, blob(content("b"))[0]))
    bench.workload.remove(Removal(generation=0))
    await bench.turns()
    assert (bench.workload.observed().desired, runtime.only.mark) == (1, "a")
    assert runtime.validated == ["a"]


async def test_another_content_of_the_same_number_is_taken(bench: Bench, runtime: FakeRuntime) -> None:
    """Another plane gave it; whether that is the one to listen to was decided by the session."""
    await bench.until_good(bench.want("a"))
    bench._generation = 0
    bench.want("b")
    await bench.until(lambda observed: runtime.only.mark == "b" and observed.good == 1)


async def test_a_burst_ends_on_the_last_generation(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    for number in range(50):
        last = bench.want(f"m{number}")
        await bench.turns(number % 7)
    observed = await bench.until_good(last)
    assert observed.attempt is not None
    assert observed.attempt.generation == last
    assert runtime.only.mark == "m49"
    assert len(runtime.instances) == 1


async def test_something_newer_cuts_a_validation_short(bench: Bench, runtime: FakeRuntime) -> None:
    runtime.gate.clear()
    bench.want("a")
    await bench.until(lambda _: runtime.validated == ["a"])
    last = bench.want("b")
    await bench.until(lambda _: runtime.validated == ["a", "b"])
    runtime.gate.set()
    await bench.until_good(last)
    assert [each.mark for each in runtime.instances] == ["b"]


async def test_something_newer_waits_for_an_engine_that_changes(bench: Bench, runtime: FakeRuntime) -> None:
    runtime.start_gate.clear()
    bench.want("a")
    await bench.until(lambda observed: observed.attempt and observed.attempt.step is Step.APPLY)
    last = bench.want("b")
    await bench.turns()
    assert runtime.validated == ["a"]
    runtime.start_gate.set()
    await bench.until_good(last)
    assert (runtime.only.mark, runtime.only.reloads) == ("b", 1)


async def test_settling_starts_over_with_something_newer(make_host: MakeHost, runtime: FakeRuntime) -> None:
    async with running(make_host({Engine.EMBEDDED: runtime}, settle_s=NEVER), runtime) as bench:
        first = bench.want("a")
        await bench.until(lambda observed: observed.running and observed.running.generation == first)
        last = bench.want("b")
        observed = await bench.until(lambda observed: observed.running and observed.running.generation == last)
        assert observed.good == 0


# What cannot work.


async def test_an_invalid_content_leaves_the_old_one_untouched(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_failed(bench.want("b", "invalid"))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.VALIDATE, True)
    assert [str(fault) for fault in observed.attempt.faults] == ["b: invalid"]
    assert observed.running is not None
    assert (observed.running.generation, observed.good, observed.desired) == (1, 1, 2)
    assert (runtime.only.mark, runtime.only.reloads) == ("a", 0)


async def test_a_configuration_fault_is_not_tried_in_a_loop(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_failed(bench.want("a", "invalid"))
    for _ in range(5):
        bench.workload.refresh()
        await bench.turns()
    assert runtime.validated == ["a"]


async def test_what_cannot_be_read_fails_at_render(bench: Bench, runtime: FakeRuntime) -> None:
    observed = await bench.until_failed(bench.want(text="pipelin:\n  inputs: []\n"))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.RENDER, True)
    assert observed.attempt.faults[0].line == 1
    assert runtime.validated == []


async def test_a_trial_start_that_fails_leaves_the_old_one_untouched(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_failed(bench.want("b", "unfit"))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.TRIAL, True)
    assert observed.attempt.faults[0].plugin == "dummy"
    assert (runtime.only.mark, runtime.only.reloads) == ("a", 0)


async def test_what_a_trial_left_out_is_said(bench: Bench) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_good(bench.want("b", "untried"))
    assert observed.notes == ("b was not tried",)


async def test_nothing_is_tried_where_nothing_runs(bench: Bench) -> None:
    assert (await bench.until_good(bench.want("a", "untried"))).notes == ()


async def test_a_refused_reload_leaves_the_old_one_running(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_failed(bench.want("b", "refused"))
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.APPLY, True)
    assert runtime.only.mark == "a"
    folder = bench.host.folder("p")
    assert folder.current_sha256() == blob(content("a"))[0]


async def test_a_content_that_fails_at_start_brings_the_last_good_one_back(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    await bench.until_failed(bench.want("b", "start"))
    observed = await bench.until(lambda observed: observed.running and observed.running.health is Health.HEALTHY)
    assert observed.attempt is not None
    assert [str(fault) for fault in observed.attempt.faults] == ["b: cannot start"]
    assert observed.attempt.quarantined
    assert observed.running is not None
    assert (observed.running.generation, observed.good, observed.desired) == (1, 1, 2)
    assert runtime.only.mark == "a"


async def test_an_engine_that_is_lost_in_a_reload_is_replaced(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    first = runtime.only
    await bench.until_good(bench.want("b", "lost"))
    assert not first.alive
    assert runtime.only.mark == "b"


async def test_a_retry_lifts_the_quarantine(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_failed(bench.want("a", "invalid"))
    bench.workload.retry()
    await bench.until(lambda observed: len(runtime.validated) == 2)
    await bench.until_failed(1)


async def test_without_a_last_good_one_a_failure_leaves_nothing_running(bench: Bench, runtime: FakeRuntime) -> None:
    observed = await bench.until_failed(bench.want("a", "start"))
    await bench.turns()
    assert observed.running is None
    assert runtime.instances == []


# What is in the way.


async def test_a_port_that_is_taken_heals_by_itself(bench: Bench, runtime: FakeRuntime) -> None:
    runtime.is_free = False
    observed = await bench.until_failed(bench.want("a", "taken"))
    assert observed.attempt is not None
    assert not observed.attempt.quarantined
    assert observed.attempt.retry_at is not None
    runtime.is_free = True
    await bench.until_good(1)


async def test_a_port_is_probed_before_the_engine_is_touched(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listening = config_that_listens(port)
    try:
        observed = await bench.until_failed(bench.want(text=listening))
        assert observed.attempt is not None
        assert (observed.attempt.step, observed.attempt.quarantined) == (Step.TRIAL, False)
        assert "Address already in use" in str(observed.attempt.faults[0])
        assert (runtime.only.mark, runtime.only.reloads) == ("a", 0)
    finally:
        server.close()
        await server.wait_closed()
    await bench.until_good(2)


async def test_a_port_that_its_own_engine_holds_is_free(bench: Bench, runtime: FakeRuntime) -> None:
    port = free_port()
    listening = config_that_listens(port)
    await bench.until_good(bench.want(text=listening))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    try:
        await bench.until_good(bench.want(text=listening.replace("rate: 50", "rate: 51")))
    finally:
        server.close()
        await server.wait_closed()


async def test_a_full_disk_heals_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(folders, "_write", full)
        observed = await bench.until_failed(bench.want("a"))
    assert observed.attempt is not None
    assert not observed.attempt.quarantined
    assert "No space left on device" in str(observed.attempt.faults[0])
    await bench.until_good(1)


async def test_a_state_that_is_not_on_disk_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("agent.state.replace_file", full)
    (note,) = (await bench.until_good(bench.want("a"))).notes
    assert "state is not on disk" in note


async def test_a_content_is_fetched_when_it_did_not_come_along(make_host: MakeHost, runtime: FakeRuntime) -> None:
    sha256, data = blob(content("a"))
    is_there = False

    async def fetch(wanted: str) -> bytes:
        if not is_there:
            raise UnavailableError("no connection")
        return data if wanted == sha256 else b""

    async with running(make_host({Engine.EMBEDDED: runtime}, fetch=fetch), runtime) as bench:
        bench.workload.want(Target(1, sha256))
        observed = await bench.until_failed(1)
        assert observed.attempt is not None
        assert (observed.attempt.step, observed.attempt.quarantined) == (Step.RENDER, False)
        assert "no connection" in str(observed.attempt.faults[0])
        is_there = True
        await bench.until_good(1)
        assert bench.host.state.blob(sha256) == data


# Engines that end.


async def test_an_engine_that_ends_comes_back(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    runtime.only.end(-signal.SIGKILL)
    observed = bench.workload.observed()
    assert observed.running is not None
    assert observed.running.health is Health.STOPPED
    assert observed.running.message == "the engine was ended by SIGKILL"
    observed = await bench.until(lambda observed: observed.running and observed.running.restarts == 1)
    assert runtime.only.mark == "a"
    assert observed.good == 1


async def test_an_engine_that_ends_too_often_is_crash_looping_and_tried_again(
    make_host: MakeHost, runtime: FakeRuntime
) -> None:
    now = 0.0
    async with running(make_host({Engine.EMBEDDED: runtime}, clock=lambda: now, settle_s=0.0), runtime) as bench:
        await bench.until_good(bench.want("a"))
        for _ in range(5):
            runtime.only.end(1)
            await bench.turns()
            assert runtime.alive == []
            now += 100.0
            observed = bench.workload.observed()
            bench.workload.refresh()
            await bench.until(lambda _: runtime.alive)
        assert observed.running is not None
        assert observed.running.health is Health.CRASH_LOOPING
        assert "5 times" in observed.running.message


async def test_an_engine_that_ends_while_it_settles_gives_way_to_the_last_good(
    make_host: MakeHost, runtime: FakeRuntime
) -> None:
    async with running(make_host({Engine.EMBEDDED: runtime}), runtime) as bench:
        await bench.until_good(bench.want("a"))
        bench.want("b")
        await bench.until(lambda _: runtime.only.mark == "b")
        await bench.until(lambda observed: observed.running and observed.running.generation == 2)
        runtime.only.end(3)
        observed = await bench.until(lambda observed: observed.running and observed.running.generation == 1)
        assert observed.attempt is not None
        assert (observed.attempt.step, observed.attempt.quarantined) == (Step.SETTLE, True)
        assert str(observed.attempt.faults[0]) == "the engine ended with exit status 3, while it settled"
        assert runtime.only.mark == "a"


async def test_an_engine_that_is_killed_while_it_settles_is_tried_again(bench: Bench, runtime: FakeRuntime) -> None:
    generation = bench.want("a")
    await bench.until(lambda observed: observed.running)
    runtime.only.end(-signal.SIGKILL)
    observed = await bench.until_failed(generation)
    assert observed.attempt is not None
    assert not observed.attempt.quarantined
    await bench.until_good(generation)


async def test_records_given_up_while_it_settles_bring_the_last_good_one_back(
    bench: Bench, runtime: FakeRuntime
) -> None:
    await bench.until_good(bench.want("a"))
    observed = await bench.until_failed(bench.want("b", "lossy"))
    assert observed.attempt is not None
    assert str(observed.attempt.faults[0]) == "output x gave up records, while it settled"
    await bench.until(lambda observed: observed.running and observed.running.generation == 1)
    assert runtime.only.mark == "a"


@pytest.mark.parametrize("fault", ["lossy", "sick"])
async def test_a_first_content_that_does_not_do_well_is_degraded_and_runs_on(
    bench: Bench, runtime: FakeRuntime, fault: str
) -> None:
    bench.want("a", fault)
    observed = await bench.until(lambda observed: observed.running and observed.running.health is Health.DEGRADED)
    assert observed.good == 0
    assert runtime.only.alive


async def test_an_engine_that_never_answers_is_ended_and_started_anew(bench: Bench, runtime: FakeRuntime) -> None:
    bench.want("a", "mute")
    await bench.until(lambda _: runtime.alive)
    first = runtime.only
    await bench.until(lambda _: runtime.alive and runtime.only is not first)
    assert not first.alive


async def test_a_last_good_one_that_cannot_come_back_is_reported_and_tried_again(
    bench: Bench, runtime: FakeRuntime
) -> None:
    await bench.until_good(bench.want("a", "taken"))
    runtime.is_free = False
    await bench.until_failed(bench.want("b", "start"))
    observed = await bench.until(lambda observed: observed.running and observed.running.message)
    assert observed.running is not None
    assert observed.running.health is Health.STOPPED
    assert "port taken" in observed.running.message
    runtime.is_free = True
    await bench.until(lambda observed: observed.running and observed.running.health is Health.HEALTHY)
    assert runtime.only.mark == "a"


# What surrounds it changes.


async def test_a_variable_that_is_used_starts_a_new_process(bench: Bench, runtime: FakeRuntime) -> None:
    bench.host.state.save_plane(Plane(values={"RATE": "1", "OTHER": "1"}))
    await bench.until_good(bench.want(text=content("a").config.replace("rate: 50", "rate: ${RATE}")))
    first = runtime.only
    assert first.launch.environment["RATE"] == "1"
    assert "OTHER" not in first.launch.environment
    bench.host.state.save_plane(Plane(values={"RATE": "1", "OTHER": "2"}))
    bench.workload.refresh()
    await bench.turns()
    assert runtime.only is first
    bench.host.state.save_plane(Plane(values={"RATE": "2", "OTHER": "2"}))
    bench.workload.refresh()
    await bench.until(lambda _: runtime.alive and runtime.only is not first)
    assert not first.alive
    assert runtime.only.launch.environment["RATE"] == "2"


async def test_a_missing_variable_is_a_fault_until_it_is_set(bench: Bench, runtime: FakeRuntime) -> None:
    generation = bench.want(text=content("a").config.replace("rate: 50", "rate: ${RATE}"))
    observed = await bench.until_failed(generation)
    assert observed.attempt is not None
    assert (observed.attempt.step, observed.attempt.quarantined) == (Step.VALIDATE, True)
    assert "variable 'RATE' is not set" in str(observed.attempt.faults[0])
    bench.host.state.save_plane(Plane(values={"RATE": "1"}))
    bench.workload.refresh()
    await bench.until_good(generation)


async def test_a_denied_plugin_is_a_fault_at_validate(make_host: MakeHost, runtime: FakeRuntime) -> None:
    host = make_host({Engine.EMBEDDED: runtime}, policy=Policy(deny_plugins=("dummy",)))
    async with running(host, runtime) as bench:
        observed = await bench.until_failed(bench.want("a"))
        assert observed.attempt is not None
        assert observed.attempt.step is Step.VALIDATE
        assert "denied by this agent's policy" in str(observed.attempt.faults[0])


async def test_an_engine_that_is_not_here_is_a_fault(make_host: MakeHost, runtime: FakeRuntime) -> None:
    async with running(make_host({}), runtime) as bench:
        observed = await bench.until_failed(bench.want("a"))
        assert observed.attempt is not None
        assert "engine 'auto' is not on this host" in str(observed.attempt.faults[0])


# Commands and removal.


async def test_a_restart_starts_the_same_content_in_a_new_process(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    first = runtime.only
    bench.workload.restart()
    observed = await bench.until(lambda _: runtime.alive and runtime.only is not first)
    assert (runtime.only.mark, first.alive) == ("a", False)
    assert observed.good == 1


async def test_a_removed_pipeline_stops_and_its_task_ends(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    (bench.host.folder("p").data / "offsets.db").write_bytes(b"x")
    bench.workload.remove(Removal(generation=2))
    await asyncio.wait_for(bench.task, 10)
    assert runtime.alive == []
    record = bench.host.state.records["p"]
    assert record.removal is not None
    assert record.removal.at is not None
    assert (record.run, record.desired) == (None, None)
    assert (bench.host.folder("p").data / "offsets.db").exists()
    assert bench.host.state.blob(blob(content("a"))[0]) is None


async def test_a_purge_takes_the_data_along(bench: Bench) -> None:
    await bench.until_good(bench.want("a"))
    bench.workload.remove(Removal(generation=2, purge=True))
    await asyncio.wait_for(bench.task, 10)
    assert not bench.host.folder("p").path.exists()


async def test_a_removal_cuts_an_attempt_short(bench: Bench, runtime: FakeRuntime) -> None:
    runtime.gate.clear()
    bench.want("a")
    await bench.until(lambda _: runtime.validated)
    bench.workload.remove(Removal(generation=2))
    await asyncio.wait_for(bench.task, 10)
    assert runtime.instances == []


async def test_a_pipeline_that_comes_back_before_it_is_gone_runs(bench: Bench, runtime: FakeRuntime) -> None:
    await bench.until_good(bench.want("a"))
    bench.workload.remove(Removal(generation=2))
    bench._generation = 2
    await bench.until_good(bench.want("b"))
    assert runtime.only.mark == "b"


# A new agent.


async def test_a_new_agent_takes_the_engine_over(make_host: MakeHost, runtime: FakeRuntime, state: State) -> None:
    host = make_host({Engine.EMBEDDED: runtime})
    async with running(host, runtime) as bench:
        await bench.until_good(bench.want("a"))
    first = runtime.only
    async with running(host, runtime, state.records["p"]) as bench:
        observed = await bench.until(lambda observed: observed.running and observed.running.health is Health.HEALTHY)
        assert observed.good == 1
        await bench.until_good(bench.want("b"))
    assert runtime.only is first
    assert (first.mark, first.reloads) == ("b", 1)


async def test_a_new_agent_starts_what_is_gone(make_host: MakeHost, runtime: FakeRuntime, state: State) -> None:
    host = make_host({Engine.EMBEDDED: runtime})
    async with running(host, runtime) as bench:
        await bench.until_good(bench.want("a"))
        await bench.stop()
        await bench.workload.shut_down()
    assert runtime.alive == []
    async with running(host, runtime, state.records["p"]) as bench:
        await bench.until(lambda observed: observed.running and observed.running.health is Health.HEALTHY)
    assert runtime.only.mark == "a"


async def test_a_new_agent_does_not_try_again_what_cannot_work(
    make_host: MakeHost, runtime: FakeRuntime, state: State
) -> None:
    host = make_host({Engine.EMBEDDED: runtime})
    async with running(host, runtime) as bench:
        await bench.until_failed(bench.want("a", "invalid"))
    async with running(host, runtime, state.records["p"]) as bench:
        await bench.turns()
        assert runtime.validated == ["a"]
    async with running(replace(host, version="0.2"), runtime, state.records["p"]) as bench:
        await bench.until(lambda _: runtime.validated == ["a", "a"])


async def test_a_policy_that_came_to_forbid_it_ends_what_was_taken_over(
    make_host: MakeHost, runtime: FakeRuntime, state: State
) -> None:
    async with running(make_host({Engine.EMBEDDED: runtime}), runtime) as bench:
        await bench.until_good(bench.want("a"))
    strict = make_host({Engine.EMBEDDED: runtime}, policy=Policy(deny_plugins=("dummy",)))
    async with running(strict, runtime, state.records["p"]) as bench:
        observed = await bench.until_failed(1)
        await bench.turns()
        assert runtime.alive == []
        assert observed.attempt is not None
        assert observed.attempt.step is Step.VALIDATE


async def test_an_attempt_that_an_end_of_the_agent_cut_off_is_made_again(
    make_host: MakeHost, runtime: FakeRuntime, state: State
) -> None:
    host = make_host({Engine.EMBEDDED: runtime})
    runtime.start_gate.clear()
    async with running(host, runtime) as bench:
        bench.want("a")
        await bench.until(lambda observed: observed.attempt and observed.attempt.step is Step.APPLY)
    runtime.start_gate.set()
    async with running(host, runtime, state.records["p"]) as bench:
        await bench.until_good(1)


async def test_an_agent_that_is_killed_in_a_reload_does_not_know_what_runs_and_starts_anew(
    make_host: MakeHost, runtime: FakeRuntime, state: State
) -> None:
    host = make_host({Engine.EMBEDDED: runtime})
    async with running(host, runtime) as bench:
        await bench.until_good(bench.want("a"))
        runtime.start_gate.clear()
        bench.want("b")
        await bench.until(lambda observed: observed.attempt and observed.attempt.step is Step.APPLY)
    first = runtime.only
    runtime.start_gate.set()
    async with running(host, runtime, state.records["p"]) as bench:
        await bench.until_good(bench.want("a"))
        assert not first.alive
        assert runtime.only.mark == "a"


async def test_no_more_than_so_many_change_at_once(make_host: MakeHost, runtime: FakeRuntime) -> None:
    host = make_host({Engine.EMBEDDED: runtime}, applies=asyncio.Semaphore(1))
    runtime.start_gate.clear()
    async with running(host, runtime, Record(pipeline="p")) as one, running(host, runtime, Record(pipeline="q")) as two:
        one.want("a")
        two.want("b")
        await one.turns()
        assert len(runtime.validated) == 1
        runtime.start_gate.set()
        await one.until_good(1)
        await two.until_good(1)
        assert {each.mark for each in runtime.alive} == {"a", "b"}
