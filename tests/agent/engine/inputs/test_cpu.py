"""How busy the processors are: the arithmetic by table, and this machine's own numbers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from agent.engine.inputs.cpu import read_all, read_process, usage
from agent.engine.plugin import PluginError
from agent.engine.registry import inputs
from tests.agent.engine.conftest import NOW, PluginKit, Sink, running_input
from tests.processes import Program, eventually

BEFORE = "cpu  1000 100 500 9000 7 8\ncpu0 600 100 300 4000 1 1\ncpu1 400 0 200 5000 6 7\nintr 1 2\n"
NOW_TEXT = "cpu  1150 150 600 9100 7 8\ncpu0 750 150 300 4000 1 1\ncpu1 400 0 300 5100 6 7\nintr 1 2\n"


def test_shares_are_of_the_time_between_two_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert usage(read_all(BEFORE), read_all(NOW_TEXT), 2.0) == {
        "cpu_p": 75.0,
        "user_p": 50.0,
        "system_p": 25.0,
        "cpu0.p_cpu": 100.0,
        "cpu0.p_user": 100.0,
        "cpu0.p_system": 0.0,
        "cpu1.p_cpu": 50.0,
        "cpu1.p_user": 0.0,
        "cpu1.p_system": 50.0,
    }


def test_a_counter_that_went_back_and_a_processor_that_is_new_count_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    before, now = {"cpu": (10, 10)}, {"cpu": (5, 20), "cpu1": (7, 7)}
    assert [*usage(before, now, 1.0).values()] == [10.0, 0.0, 10.0, 0.0, 0.0, 0.0]


def test_a_process_is_read_whatever_it_is_called() -> None:
    fields = " ".join(map(str, range(3, 20)))
    assert read_process(f"7 (a) b (c) {fields}") == {"cpu": (14, 15)}


async def test_this_machine_has_a_share_for_each_processor(plugins: PluginKit, sink: Sink) -> None:
    async with running_input(plugins.make(inputs, "cpu", interval_sec=0, interval_nsec=20_000_000), sink):
        first, second = (await sink.take(2))[:2]
    assert (sink.batches[0].tag, sink.batches[0].times, sink.batches[0].signal) == ("tag", [NOW], "logs")
    count = sum(name.startswith("cpu") and name != "cpu" for name in read_all(Path("/proc/stat").read_text()))
    assert list(first) == list(second)
    assert len(first) == 3 + 3 * count
    assert all(value >= 0 for value in [*first.values(), *second.values()])


async def test_a_busy_process_is_seen_to_be_busy(plugins: PluginKit, sink: Sink, tmp_path: Path) -> None:
    with Program([sys.executable, "-c", "while True: pass"], folder=tmp_path) as busy:
        async with running_input(plugins.make(inputs, "cpu", pid=busy.pid, interval_nsec=200_000_000), sink):
            records = await sink.take(2)
    assert list(records[0]) == ["cpu_p", "user_p", "system_p"]
    assert sum(record["user_p"] for record in records) > 0


async def test_a_process_that_is_not_there_keeps_the_engine_from_starting(plugins: PluginKit) -> None:
    with pytest.raises(PluginError, match="process 4194305 cannot be looked at: No such file"):
        await plugins.make(inputs, "cpu", pid=4_194_305).open()


async def test_a_process_that_ends_is_told_and_the_input_goes_on(
    plugins: PluginKit, sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Program(["sleep", "600"], folder=tmp_path) as other:
        async with running_input(plugins.make(inputs, "cpu", pid=other.pid, interval_nsec=20_000_000), sink) as task:
            other.kill()
            await eventually(lambda: "cannot be looked at" in caplog.text)
            assert not task.done()
