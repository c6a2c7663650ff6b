"""Memory in use: the arithmetic by table, and this machine's own numbers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.engine.inputs.mem import human, process_usage, usage
from agent.engine.registry import inputs
from tests.agent.engine.conftest import PluginKit, Sink, running_input


def test_what_is_not_free_is_used() -> None:
    text = "MemTotal:  1000 kB\nMemFree: 300 kB\nBuffers: 5 kB\nHugePages_Free: 0\nSwapTotal: 50 kB\nSwapFree: 20 kB\n"
    assert usage(text) == {
        "Mem.total": 1000,
        "Mem.used": 700,
        "Mem.free": 300,
        "Swap.total": 50,
        "Swap.used": 30,
        "Swap.free": 20,
    }


def test_a_process_has_its_resident_pages() -> None:
    size = 3 * os.sysconf("SC_PAGE_SIZE")
    assert process_usage("100 3 2 1 0 9 0\n") == {"proc_bytes": size, "proc_hr": human(size)}


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0b"), (1023, "1023b"), (1024, "1.00K"), (13_766_656, "13.13M"), (5 << 30, "5.00G"), (1 << 70, "1048576.00P")],
)
def test_sizes_are_short_for_people(size: int, shown: str) -> None:
    assert human(size) == shown


async def test_this_machine_has_memory_and_so_has_this_process(plugins: PluginKit, sink: Sink) -> None:
    async with running_input(
        plugins.make(inputs, "mem", pid=os.getpid(), interval_sec=0, interval_nsec=20_000_000), sink
    ):
        (record, *_) = await sink.take(1)
    assert list(record) == [*usage(Path("/proc/meminfo").read_text()), "proc_bytes", "proc_hr"]
    assert record["Mem.total"] == record["Mem.used"] + record["Mem.free"] > 0
    assert 1 << 20 < record["proc_bytes"] < record["Mem.total"] << 10


async def test_a_process_that_is_not_there_is_told_and_the_rest_is_measured(
    plugins: PluginKit, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_input(plugins.make(inputs, "mem", pid=4_194_305, interval_nsec=20_000_000), sink):
        (record, *_) = await sink.take(1)
    assert "proc_bytes" not in record
    assert "process 4194305 cannot be looked at" in caplog.text
