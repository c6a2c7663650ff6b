"""The known faults of the real Fluent Bit, shown by a stand-in: the driver believes none of what it says."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.runtimes import EngineLostError
from agent.runtimes.process import holders
from tests.agent.conftest import config, stand_in
from tests.agent.runtimes.conftest import Place


async def test_done_is_not_believed_when_the_configuration_was_refused(place: Place) -> None:
    instance = await (await stand_in()).start(place(config()))
    try:
        with pytest.raises(ConfigurationFault, match="doesn't exist") as refused:
            await instance.reload(place(config("b", "plugin"), "b" * 64))
        assert refused.value.faults[0].plugin == "nosuch"
        assert instance.alive
    finally:
        await instance.stop()


async def test_a_dry_run_that_somebody_kills_tells_nothing_of_the_configuration(place: Place) -> None:
    with pytest.raises(EnvironmentFault, match="SIGKILL during the dry run"):
        await (await stand_in()).validate(place(config("b", "killed")))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("start", "exit status 255 during the reload"),
        ("late", "exit status 255 during the reload"),
        ("bind", "exit status 255 during the reload"),
        ("swallow", "was not done within"),
        ("wedge", "was not done within"),
    ],
)
async def test_a_reload_that_does_not_happen_makes_the_process_of_no_more_use(
    place: Place,
    fault: str,
    reason: str,
) -> None:
    instance = await (await stand_in()).start(place(config()))
    try:
        with pytest.raises(EngineLostError, match=reason):
            await instance.reload(place(config("b", fault), "b" * 64))
    finally:
        await instance.stop()


async def test_a_reload_that_is_not_taken_after_a_refused_one_is_asked_for_again(place: Place) -> None:
    instance = await (await stand_in()).start(place(config()))
    try:
        for mark in "bcd":
            with pytest.raises(ConfigurationFault, match="doesn't exist") as refused:
                await instance.reload(place(config(mark, "halted"), mark * 64))
            assert len(refused.value.faults) == 1
        await instance.reload(place(config("e"), "e" * 64))
    finally:
        await instance.stop()


async def test_a_wedged_engine_that_ignores_term_is_killed(place: Place) -> None:
    launch = place(config())
    instance = await (await stand_in()).start(launch)
    with pytest.raises(EngineLostError):
        await instance.reload(place(config("b", "wedge"), "b" * 64))
    assert instance.alive
    assert not await instance.stop()
    assert not instance.alive
    assert holders(launch.lock) == ()


async def test_a_reload_that_is_not_enabled_is_no_reload(place: Place) -> None:
    instance = await (await stand_in()).start(place(config("a", "disabled")))
    try:
        with pytest.raises(EngineLostError, match="not enabled"):
            await instance.reload(place(config("b"), "b" * 64))
    finally:
        await instance.stop()


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("plugin", ConfigurationFault, "doesn't exist"),
        ("start", ConfigurationFault, "no input 'path' was given"),
        ("bind", EnvironmentFault, "could not bind address"),
        ("mute", EnvironmentFault, "did not answer on port"),
    ],
)
async def test_a_start_that_fails_tells_whose_doing_it_is(
    place: Place,
    fault: str,
    error: type[Exception],
    text: str,
) -> None:
    launch = place(config("a", fault))
    with pytest.raises(error, match=text):
        await (await stand_in()).start(launch)
    assert holders(launch.lock) == ()


async def test_what_follows_from_an_error_is_not_told_beside_it(place: Place) -> None:
    with pytest.raises(ConfigurationFault) as failed:
        await (await stand_in()).start(place(config("a", "start")))
    assert [(fault.plugin, fault.message) for fault in failed.value.faults] == [
        ("tail", "[input:tail:tail.0] no input 'path' was given")
    ]


async def test_an_engine_that_is_sick_or_gives_records_up_is_reported_so(place: Place) -> None:
    instance = await (await stand_in()).start(place(config("a", "lossy")))
    try:
        first, second = await instance.report(), await instance.report()
        assert second.given_up == first.given_up + 1
        assert second.message == "output out.0 gave up records"
        await instance.reload(place(config("b", "sick"), "b" * 64))
        assert not (await instance.report()).is_well
    finally:
        await instance.stop()


async def test_a_frozen_engine_does_not_hold_anybody_up(place: Place, tmp_path: Path) -> None:
    instance = await (await stand_in()).start(place(config()))
    os.kill(instance.child.pid, signal.SIGSTOP)
    try:
        with pytest.raises(EngineLostError, match="does not answer"):
            await instance.report()
        with pytest.raises(EngineLostError, match="does not take a reload"):
            await instance.reload(place(config("b"), "b" * 64))
    finally:
        assert not await instance.stop()
