"""What every runtime does, on each engine: start, reload, refuse, adopt, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.folders import Folder
from agent.runtimes import EngineLostError, Runtime, child_log
from agent.runtimes.base import Deadlines
from agent.runtimes.fluentbit import FluentBit
from agent.runtimes.process import holders
from headrace.types import Engine
from tests.agent.conftest import ENVIRONMENT, config, embedded, stand_in
from tests.agent.runtimes.conftest import Place
from tests.fluent_bit import FLUENT_BIT
from tests.processes import eventually


async def real() -> FluentBit:
    assert FLUENT_BIT
    return await FluentBit.find(Engine.FLUENT_BIT, [FLUENT_BIT], environment=ENVIRONMENT, deadlines=Deadlines())


ENGINES = [pytest.param(embedded, id="embedded"), pytest.param(stand_in, id="stand-in")]
if FLUENT_BIT:
    ENGINES.append(pytest.param(real, id="fluent-bit"))


@pytest.fixture(params=ENGINES)
async def runtime(request: pytest.FixtureRequest) -> Runtime:
    found: Runtime = await request.param()
    return found


async def test_it_says_who_it_is_and_what_it_knows(runtime: Runtime) -> None:
    assert runtime.info.version
    assert len(runtime.info.catalogue_sha256) == 64
    assert (await runtime.catalogue()).startswith(b"{")


async def test_it_starts_answers_and_stops(runtime: Runtime, place: Place, folder: Folder) -> None:
    instance = await runtime.start(place(config()))
    try:
        assert instance.alive
        assert holders(folder.lock) == (instance.child.pid,)
        assert (await instance.report()).is_well
    finally:
        assert await instance.stop()
    assert not instance.alive
    assert holders(folder.lock) == ()


async def test_a_reload_changes_the_process_in_place(runtime: Runtime, place: Place) -> None:
    instance = await runtime.start(place(config("a")))
    try:
        pid = instance.child.pid
        for mark in "bcd":
            await instance.reload(place(config(mark), mark * 64))
        assert instance.alive
        assert instance.child.pid == pid
    finally:
        await instance.stop()


async def test_a_refused_reload_leaves_the_old_one_running(runtime: Runtime, place: Place) -> None:
    bad = config("a", "plugin").replace("name: dummy", "name: dumy")
    instance = await runtime.start(place(config()))
    try:
        with pytest.raises(ConfigurationFault):
            await instance.reload(place(bad, "b" * 64))
        assert instance.alive
        assert (await instance.report()).is_well
        await instance.reload(place(config("c"), "c" * 64))
    finally:
        await instance.stop()


async def test_a_dry_run_names_what_is_wrong_and_starts_nothing(runtime: Runtime, place: Place, folder: Folder) -> None:
    assert await runtime.validate(place(config())) == ()
    bad = config("a", "plugin").replace("name: dummy", "name: dumy")
    faults = await runtime.validate(place(bad))
    assert faults[0].plugin in ("dumy", "nosuch")
    assert not folder.log.exists()


async def test_a_start_that_fails_says_why_and_leaves_nothing(runtime: Runtime, place: Place, folder: Folder) -> None:
    bad = config("a", "start").replace("name: dummy", "name: tail")
    with pytest.raises(ConfigurationFault, match="path"):
        await runtime.start(place(bad))
    assert holders(folder.lock) == ()


async def test_a_start_that_is_cancelled_leaves_nothing(runtime: Runtime, place: Place, folder: Folder) -> None:
    starting = asyncio.create_task(runtime.start(place(config())), name="start")
    await eventually(lambda: holders(folder.lock))
    starting.cancel()
    await asyncio.wait((starting,))
    assert holders(folder.lock) == ()


async def test_an_engine_is_adopted_by_what_is_on_record(runtime: Runtime, place: Place) -> None:
    launch = place(config())
    instance = await runtime.start(launch)
    try:
        child = instance.child
        assert runtime.adopt(replace(child, start_time=child.start_time + 1), launch) is None
        assert runtime.adopt(replace(child, pid=os.getpid()), launch) is None
        adopted = runtime.adopt(child, launch)
        assert adopted is not None
        assert (await adopted.report()).is_well
        await adopted.reload(place(config("b"), "b" * 64))
        ended = asyncio.Event()
        adopted.on_end(ended.set)
        assert await adopted.stop()
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        await instance.stop()


async def test_a_stray_of_a_killed_agent_is_ended_before_a_new_one_starts(runtime: Runtime, place: Place) -> None:
    launch = place(config())
    stray = await runtime.start(launch)
    try:
        instance = await runtime.start(launch)
        try:
            assert not stray.alive
            assert holders(launch.lock) == (instance.child.pid,)
        finally:
            await instance.stop()
    finally:
        await stray.stop()


async def test_an_end_from_outside_is_told_with_its_signal(runtime: Runtime, place: Place) -> None:
    instance = await runtime.start(place(config()))
    ended = asyncio.Event()
    instance.on_end(ended.set)
    os.kill(instance.child.pid, signal.SIGKILL)
    await asyncio.wait_for(ended.wait(), 10)
    assert not instance.alive
    assert instance.ending(7.0).status == -signal.SIGKILL
    assert instance.ending(7.0).was_sent
    with pytest.raises(EngineLostError):
        await instance.report()


async def test_a_child_sees_only_the_environment_that_it_is_given(
    runtime: Runtime, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "x")
    instance = await runtime.start(replace(place(config()), environment=ENVIRONMENT | {"MINE": "y"}))
    try:
        seen = Path(f"/proc/{instance.child.pid}/environ").read_text().split("\0")
        assert "MINE=y" in seen
        assert not any(each.startswith("SECRET_OF_THE_AGENT") for each in seen)
    finally:
        await instance.stop()


async def test_its_log_goes_on_when_it_is_cut(runtime: Runtime, place: Place, folder: Folder) -> None:
    instance = await runtime.start(place(config("a")))
    try:
        await eventually(lambda: folder.log.stat().st_size)
        child_log.trim(folder.log, 1)
        assert folder.log.stat().st_size == 0
        await instance.reload(place(config("b"), "b" * 64))
        await eventually(lambda: child_log.tail(folder.log, 1))
    finally:
        await instance.stop()


async def test_a_shipped_module_is_not_imported(runtime: Runtime, place: Place, folder: Folder) -> None:
    launch = place(config())
    for name in ("agent", "json", "asyncio"):
        (folder.path / name).mkdir()
        (folder.path / name / "__init__.py").write_text("import os; os._exit(77)")
    assert await runtime.validate(launch) == ()
    instance = await runtime.start(launch)
    await instance.stop()


async def test_a_program_that_is_no_engine_is_named() -> None:
    for program in ("/bin/true", "/nonexistent"):
        with pytest.raises(EnvironmentFault, match=program):
            await FluentBit.find(Engine.FLUENT_BIT, [program], environment=ENVIRONMENT)
