"""Input `netif`: what went through a network interface since the look before, as log records.

The numbers are the kernel's (`/proc/net/dev`). The first look gives no record: there is nothing to compare with. While
the interface is not there the numbers are 0.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent.engine.config import BOOLEAN, STRING, included, option
from agent.engine.pace import IntervalOptions, every
from agent.engine.plugin import Context, Inlet, PluginError
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs

Counts: TypeAlias = tuple[int, ...]
"""One number for each of NAMES, since the interface is there."""

NAMES = (
    "rx.bytes",
    "rx.packets",
    "rx.errors",
    "rx.drop",
    "rx.fifo",
    "rx.frame",
    "rx.compressed",
    "rx.multicast",
    "tx.bytes",
    "tx.packets",
    "tx.errors",
    "tx.drop",
    "tx.fifo",
    "tx.collisions",
    "tx.carrier",
    "tx.compressepd",  # Fluent Bit's own spelling
)
_BRIEF = frozenset({"rx.bytes", "rx.packets", "rx.errors", "tx.bytes", "tx.packets", "tx.errors"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NetifConfig:
    """What the netif input takes."""

    interface: str = option(STRING, required=True, help="interface to look at, such as eth0, or how its name begins")
    verbose: bool = option(BOOLEAN, False, help="give all of the kernel's numbers, not bytes, packets and errors alone")
    test_at_init: bool = option(BOOLEAN, False, help="do not start without the interface")
    pace: IntervalOptions = included(IntervalOptions)


@inputs.register("netif", NetifConfig)
class Netif:
    """Measures what goes through a network interface."""

    def __init__(self, config: NetifConfig, context: Context) -> None:
        self._config = config
        self._context = context

    async def open(self) -> None:
        config = self._config
        if config.test_at_init and self._look() is None:
            raise PluginError(f"there is no interface {config.interface!r}; leave test_at_init out to wait for it")

    async def run(self, inlet: Inlet) -> None:
        config, before = self._config, None
        async for _ in every(config.pace.seconds):
            now = self._look() or before or (0,) * len(NAMES)
            if before is not None:
                record = usage(config.interface, before, now, verbose=config.verbose)
                await inlet.push(Batch(self._context.tag, [self._context.clock()], [record], None, 16 * len(record)))
            before = now

    async def close(self) -> None:
        pass

    def _look(self) -> Counts | None:
        return read_interface(Path("/proc/net/dev").read_text(), self._config.interface)


def read_interface(text: str, wanted: str) -> Counts | None:
    """What `/proc/net/dev` says of an interface: of that name, or else the last one whose name begins so."""
    found: Counts | None = None
    for line in text.splitlines():
        name, colon, rest = line.strip().partition(":")
        numbers = rest.split()
        if not colon or len(numbers) != len(NAMES) or not name.startswith(wanted):
            continue
        found = tuple(map(int, numbers))
        if name == wanted:
            break
    return found


def usage(interface: str, before: Counts, now: Counts, *, verbose: bool) -> Record:
    """The record; a number that went back, because the interface is another one, counts nothing."""
    return {
        f"{interface}.{name}": max(0, new - old)
        for name, old, new in zip(NAMES, before, now, strict=True)
        if verbose or name in _BRIEF
    }
