"""What /proc says of the host and of this process, as numbers with names. Linux only.

`read_*` opens files; what their text means is pure and beside it. A file that is not there, or says something else,
gives no numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CPU_KINDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the host or the agent: its name, what it is for people, its tags, and whether it only grows."""

    name: str
    text: str
    value: float
    tags: Mapping[str, str]
    is_counter: bool = False


def read_host(folder: Path, proc: Path = PROC) -> Iterator[Figure]:
    """CPU, memory and load of the host, and the disk that a folder is on."""
    yield from cpu(_text(proc / "stat"))
    yield from memory(_text(proc / "meminfo"))
    yield from load(_text(proc / "loadavg"))
    try:
        disk = os.statvfs(folder)
    except OSError:
        return
    text = "of the disk that the agent's data is on."
    yield Figure("headrace_host_disk_size_bytes", f"Size {text}", disk.f_blocks * disk.f_frsize, {})
    yield Figure("headrace_host_disk_free_bytes", f"What may be written {text}", disk.f_bavail * disk.f_frsize, {})


def read_process(proc: Path = PROC) -> Iterator[Figure]:
    """Memory and CPU of this process."""
    pages = _text(proc / "self" / "statm").split()
    if len(pages) > 1 and pages[1].isdecimal():
        size = int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
        yield Figure("headrace_agent_memory_bytes", "Resident memory of the agent, without its engines.", size, {})
    times = os.times()
    seconds = times.user + times.system
    yield Figure("headrace_agent_cpu_seconds_total", "CPU time of the agent, without its engines.", seconds, {}, True)


def host_boot(proc: Path = PROC) -> str:
    """Names this boot of the host, with which its counters begin."""
    return _text(proc / "sys" / "kernel" / "random" / "boot_id").strip()


def cpu(stat: str) -> Iterator[Figure]:
    """From /proc/stat."""
    fields = stat.partition("\n")[0].split()
    if len(fields) <= len(_CPU_KINDS) or fields[0] != "cpu" or not all(field.isdecimal() for field in fields[1:]):
        return
    ticks = dict(zip(_CPU_KINDS, map(int, fields[1:]), strict=False))
    kinds = {
        "user": ticks["user"] + ticks["nice"],
        "system": ticks["system"] + ticks["irq"] + ticks["softirq"],
        "iowait": ticks["iowait"],
        "steal": ticks["steal"],
        "idle": ticks["idle"],
    }
    for kind, count in kinds.items():
        text = "CPU time of the host over all its CPUs."
        yield Figure("headrace_host_cpu_seconds_total", text, count * _TICK_S, {"kind": kind}, True)


def memory(meminfo: str) -> Iterator[Figure]:
    """From /proc/meminfo."""
    sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in meminfo.split("\n"))}
    for key, name, text in (
        ("MemTotal", "headrace_host_memory_total_bytes", "Memory of the host."),
        ("MemAvailable", "headrace_host_memory_available_bytes", "Memory that programs may still have."),
    ):
        size = sizes.get(key)
        if size and size[0].isdecimal():
            yield Figure(name, text, int(size[0]) << 10, {})


def load(loadavg: str) -> Iterator[Figure]:
    """From /proc/loadavg."""
    for minutes, field in zip((1, 5, 15), loadavg.split(), strict=False):
        try:
            value = float(field)
        except ValueError:
            return
        text = f"Load average of the host over {minutes} minutes."
        yield Figure(f"headrace_host_load{minutes}", text, value, {})


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
