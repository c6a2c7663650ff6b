"""What /proc says, on texts that it has had, and on this host."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.reporting.machine import cpu, host_boot, load, memory, read_host, read_process


def test_cpu_is_seconds_by_kind() -> None:
    tick = os.sysconf("SC_CLK_TCK")
    figures = {figure.tags["kind"]: figure.value for figure in cpu("cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2\n")}
    assert figures == {
        key: n / tick for key, n in {"user": 120, "system": 43, "iowait": 50, "steal": 8, "idle": 4000}.items()
    }


def test_memory_and_load_are_read() -> None:
    assert [(figure.name, figure.value) for figure in memory("MemTotal:  2 kB\nX: y\nMemAvailable: 1 kB\n")] == [
        ("headrace_host_memory_total_bytes", 2048),
        ("headrace_host_memory_available_bytes", 1024),
    ]
    assert [(figure.name, figure.value) for figure in load("0.5 1.25 3.00 1/200 99\n")] == [
        ("headrace_host_load1", 0.5),
        ("headrace_host_load5", 1.25),
        ("headrace_host_load15", 3.0),
    ]


@given(st.text(max_size=60))
def test_whatever_else_stands_there_is_no_number_and_no_error(text: str) -> None:
    for read in (cpu, memory, load):
        for prefix in ("", "cpu ", "MemTotal: "):
            list(read(prefix + text))


def test_this_host_and_this_process_have_all_of_them(tmp_path: Path) -> None:
    figures = {figure.name: figure for figure in [*read_host(tmp_path), *read_process()]}
    assert len(figures) == 10
    assert all(figure.value >= 0 for figure in figures.values())
    total = figures["headrace_host_memory_total_bytes"].value
    assert 1 << 20 < figures["headrace_agent_memory_bytes"].value < total
    assert figures["headrace_host_disk_free_bytes"].value <= figures["headrace_host_disk_size_bytes"].value
    assert len(host_boot()) == 36


def test_a_host_without_proc_has_no_numbers(tmp_path: Path) -> None:
    assert list(read_host(tmp_path / "gone", tmp_path)) == []
    assert host_boot(tmp_path) == ""
