"""Input `cpu`: how busy the processors are, all together and each, or one process; in percent, as log records.

A share is of the time that went by since the look before, as the kernel counts it (`/proc`, hundredths of a second).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent.engine.config import INTEGER, included, option
from agent.engine.pace import IntervalOptions, every
from agent.engine.plugin import Context, Inlet, PluginError
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs

Ticks: TypeAlias = dict[str, tuple[int, int]]
"""By `cpu`, `cpu0`, …: ticks in user mode, nice or not, and in the kernel, since the start."""

_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuConfig:
    """What the cpu input takes."""

    pid: int = option(INTEGER, -1, help="process to look at instead of all; its share is of all processors together")
    pace: IntervalOptions = included(IntervalOptions)


@inputs.register("cpu", CpuConfig)
class Cpu:
    """Measures how busy the processors are."""

    def __init__(self, config: CpuConfig, context: Context) -> None:
        self._pid = config.pid
        self._interval = config.pace.seconds
        self._context = context
        self._before: Ticks = {}
        self._at = 0.0

    async def open(self) -> None:
        try:
            self._before, self._at = self._look(), time.monotonic()
        except OSError as error:
            raise PluginError(f"process {self._pid} cannot be looked at: {error.strerror or error}") from error

    async def run(self, inlet: Inlet) -> None:
        async for _ in every(self._interval):
            try:
                now, at = self._look(), time.monotonic()
            except OSError as error:
                self._context.log.error("process %d cannot be looked at: %s", self._pid, error.strerror or error)
                continue
            record = usage(self._before, now, at - self._at)
            self._before, self._at = now, at
            await inlet.push(Batch(self._context.tag, [self._context.clock()], [record], None, 16 * len(record)))

    async def close(self) -> None:
        pass

    def _look(self) -> Ticks:
        if self._pid >= 0:
            return read_process(Path(f"/proc/{self._pid}/stat").read_text())
        return read_all(Path("/proc/stat").read_text())


def read_all(text: str) -> Ticks:
    """What `/proc/stat` says."""
    lines = (line.split() for line in text.splitlines() if line.startswith("cpu"))
    return {name: (int(user) + int(nice), int(system)) for name, user, nice, system, *_ in lines}


def read_process(text: str) -> Ticks:
    """What `/proc/PID/stat` says, as if it were all."""
    fields = text.rpartition(")")[2].split()
    return {"cpu": (int(fields[11]), int(fields[12]))}


def usage(before: Ticks, now: Ticks, seconds: float) -> Record:
    """The record: `cpu_p` and its parts are averages over all processors, `cpuN.p_cpu` is of one."""
    per_processor = seconds * _PER_SECOND / 100
    record: Record = {}
    for name, (user_now, system_now) in now.items():
        user_then, system_then = before.get(name, (user_now, system_now))
        of = per_processor * (os.cpu_count() or 1) if name == "cpu" else per_processor
        user, system = max(0, user_now - user_then) / of, max(0, system_now - system_then) / of
        keys = ("cpu_p", "user_p", "system_p")
        if name != "cpu":
            keys = (f"{name}.p_cpu", f"{name}.p_user", f"{name}.p_system")
        record |= zip(keys, (user + system, user, system), strict=True)
    return record
