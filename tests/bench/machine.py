"""What is measured from outside: a process's CPU time and memory by /proc, and the machine's own state."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of all the threads that a process has or had, in seconds; a hundredth at best."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def fine_cpu_s(pid: int) -> float:
    """The same to the nanosecond, of the threads that it has now; for a process that does next to nothing."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def memory_kib(pid: int) -> int:
    """Resident memory, libraries included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError(f"process {pid} has no memory")


def load() -> float:
    """Load average of the last minute: what else went on, and what the measurement itself has done."""
    return round(os.getloadavg()[0], 2)


def raise_open_files() -> int:
    """As many as this user may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def description() -> dict[str, Any]:
    """What a reader needs to compare two runs."""
    return {
        "cpus": os.cpu_count(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "headrace": version("headrace"),
        "load_average": load(),
    }
