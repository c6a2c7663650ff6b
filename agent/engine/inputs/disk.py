"""Input `disk`: how many bytes were read from disks and written to them since the look before, as log records.

The kernel counts sectors of 512 bytes (`/proc/diskstats`); partitions have lines of their own and count beside their
disk, as in Fluent Bit. The first look gives no record: there is nothing to compare with.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent.engine.config import STRING, included, option
from agent.engine.pace import IntervalOptions, every
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs

Sectors: TypeAlias = dict[str, tuple[int, int]]
"""By device: sectors read and written since it is there."""

_SECTOR = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskConfig:
    """What the disk input takes."""

    dev_name: str = option(STRING, "", help="count devices only whose name has this in it, such as sda")
    pace: IntervalOptions = included(IntervalOptions)


@inputs.register("disk", DiskConfig)
class Disk:
    """Measures what disks read and write."""

    def __init__(self, config: DiskConfig, context: Context) -> None:
        self._config = config
        self._context = context

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        before: Sectors | None = None
        async for _ in every(self._config.pace.seconds):
            now = read_devices(Path("/proc/diskstats").read_text(), self._config.dev_name)
            if before is not None:
                record = usage(before, now)
                await inlet.push(Batch(self._context.tag, [self._context.clock()], [record], None, 16 * len(record)))
            before = now

    async def close(self) -> None:
        pass


def read_devices(text: str, part_of_name: str = "") -> Sectors:
    """What `/proc/diskstats` says of the devices with this in their name."""
    lines = (line.split() for line in text.splitlines())
    return {
        fields[2]: (int(fields[5]), int(fields[9])) for fields in lines if len(fields) > 9 and part_of_name in fields[2]
    }


def usage(before: Sectors, now: Sectors) -> Record:
    """The record, of all devices together; one that has come between counts from its beginning."""
    read = written = 0
    for name, (read_now, written_now) in now.items():
        read_then, written_then = before.get(name, (0, 0))
        read += max(0, read_now - read_then)
        written += max(0, written_now - written_then)
    return {"read_size": read * _SECTOR, "write_size": written * _SECTOR}
