"""Input `mem`: how much memory and swap are used, and what one process has of it, in KiB, as log records."""

import os
from dataclasses import dataclass
from pathlib import Path

from agent.engine.config import INTEGER, included, option
from agent.engine.pace import IntervalOptions, every
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs

_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNITS = ("b", "K", "M", "G", "T", "P")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemConfig:
    """What the mem input takes."""

    pid: int = option(INTEGER, 0, help="process to look at besides")
    pace: IntervalOptions = included(IntervalOptions)


@inputs.register("mem", MemConfig)
class Mem:
    """Measures memory in use."""

    def __init__(self, config: MemConfig, context: Context) -> None:
        self._pid = config.pid
        self._interval = config.pace.seconds
        self._context = context

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        async for _ in every(self._interval):
            record = usage(Path("/proc/meminfo").read_text())
            if self._pid > 0:
                try:
                    record |= process_usage(Path(f"/proc/{self._pid}/statm").read_text())
                except OSError as error:
                    why = error.strerror or error
                    self._context.log.warning("process %d cannot be looked at: %s", self._pid, why)
            await inlet.push(Batch(self._context.tag, [self._context.clock()], [record], None, 16 * len(record)))

    async def close(self) -> None:
        pass


def usage(text: str) -> Record:
    """The record of what `/proc/meminfo` says; what the kernel uses for caches counts as used, as in Fluent Bit."""
    fields = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in text.splitlines())}
    record: Record = {}
    for kind in ("Mem", "Swap"):
        total, free = fields[f"{kind}Total"], fields[f"{kind}Free"]
        record |= {f"{kind}.total": total, f"{kind}.used": total - free, f"{kind}.free": free}
    return record


def process_usage(text: str) -> Record:
    """What `/proc/PID/statm` says: bytes in memory, also for people."""
    size = int(text.split()[1]) * _PAGE
    return {"proc_bytes": size, "proc_hr": human(size)}


def human(size: float) -> str:
    """`13.13M`."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.2f}{_UNITS[unit]}" if unit else f"{int(size)}b"
