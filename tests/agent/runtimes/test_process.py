"""An engine's process: its end, its lock, its group."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from agent.runtimes.process import LockHeldError, Process, end_holders, holders, run, start_time
from tests.agent.conftest import ENVIRONMENT
from tests.processes import eventually


def spawn(folder: Path, script: str) -> Process:
    return Process.spawn(
        ["/bin/sh", "-c", script],
        folder=folder,
        environment=ENVIRONMENT,
        log=folder / "log",
        lock=folder / "lock",
    )


async def test_its_status_is_told_to_whoever_waits(tmp_path: Path) -> None:
    process = spawn(tmp_path, "echo out; echo err >&2; exit 3")
    heard: list[int | None] = []
    process.on_end(lambda: heard.append(process.status))
    assert await process.wait() == 3
    assert heard == [3]
    assert (tmp_path / "log").read_text() == "out\nerr\n"
    assert not process.alive
    process.on_end(lambda: heard.append(-1))
    await eventually(lambda: heard == [3, -1])


async def test_the_lock_is_held_by_the_child_alone(tmp_path: Path) -> None:
    process = spawn(tmp_path, "exec sleep 60")
    try:
        assert holders(tmp_path / "lock") == (process.pid,)
        with pytest.raises(LockHeldError):
            spawn(tmp_path, "exit 0")
    finally:
        await process.stop(5)
    assert holders(tmp_path / "lock") == ()
    assert await spawn(tmp_path, "exit 0").wait() == 0


async def test_a_child_that_ignores_term_is_killed_with_its_group(tmp_path: Path) -> None:
    process = spawn(tmp_path, "trap '' TERM; sleep 61 & wait; wait; sleep 62")
    await eventually(lambda: len(holders(tmp_path / "lock")) == 2)
    assert not await process.stop(0.2)
    assert process.status == -signal.SIGKILL
    await eventually(lambda: holders(tmp_path / "lock") == ())


async def test_what_a_dead_child_left_behind_ends_too(tmp_path: Path) -> None:
    process = spawn(tmp_path, "sleep 61 & exit 4")
    assert await process.wait() == 4
    await eventually(lambda: holders(tmp_path / "lock") == ())


async def test_a_stop_that_is_cancelled_kills(tmp_path: Path) -> None:
    process = spawn(tmp_path, "trap '' TERM; sleep 61; sleep 62")
    await eventually(lambda: len(holders(tmp_path / "lock")) == 2)
    stopping = asyncio.create_task(process.stop(60), name="stop")
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait((stopping,))
    assert not process.alive


async def test_strays_are_ended_by_their_lock(tmp_path: Path) -> None:
    process = spawn(tmp_path, "exec sleep 60")
    await end_holders(tmp_path / "lock", 5)
    assert await process.wait() == -signal.SIGTERM
    await end_holders(tmp_path / "nothing", 5)


async def test_only_the_same_process_is_adopted(tmp_path: Path) -> None:
    process = spawn(tmp_path, "exec sleep 60")
    try:
        lock = tmp_path / "lock"
        adopted = Process.adopt(process.pid, process.start_time, lock)
        assert adopted is not None
        assert Process.adopt(process.pid, process.start_time + 1, lock) is None
        assert Process.adopt(process.pid, process.start_time, tmp_path / "other") is None
        assert await adopted.stop(5)
        assert adopted.status is None
    finally:
        await process.wait()
    assert Process.adopt(process.pid, process.start_time, lock) is None


async def test_what_it_may_allocate_is_bounded(tmp_path: Path) -> None:
    process = Process.spawn(
        [sys.executable, "-c", "[bytearray(10_000_000) for _ in range(100)]"],
        folder=tmp_path,
        environment=ENVIRONMENT,
        log=tmp_path / "log",
        lock=tmp_path / "lock",
        memory=100_000_000,
    )
    assert await process.wait() == 1
    assert "MemoryError" in (tmp_path / "log").read_text()


async def test_a_program_that_cannot_be_run_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Process.spawn(["/nonexistent"], folder=tmp_path, environment={}, log=tmp_path / "log", lock=tmp_path / "lock")
    assert await spawn(tmp_path, "exit 0").wait() == 0


def test_the_start_time_is_read_also_behind_an_odd_name() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid())
    assert start_time(2**22 + 1) is None


async def test_a_command_is_run_to_its_end_or_killed_at_its_deadline(tmp_path: Path) -> None:
    status, output = await run(
        [sys.executable, "-c", "print('x'); raise SystemExit(3)"], folder=tmp_path, environment={}, timeout=20
    )
    assert (status, output) == (3, "x\n")
    with pytest.raises(TimeoutError):
        await run(["/bin/sleep", "60"], folder=tmp_path, environment={}, timeout=0.1)
