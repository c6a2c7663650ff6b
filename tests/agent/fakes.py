"""A runtime without processes, for tests of what is decided rather than of how engines are driven.

What a configuration does stands in it, as `fault:NAME`:

    invalid  is refused by the dry run             lost    cannot be reloaded
    unfit    is refused by a trial start           lossy   gives up records
    start    cannot be started                     sick    calls itself unhealthy
    taken    cannot be started until `is_free`     mute    does not answer
    refused  is refused by a reload                untried has a part that a trial leaves out
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from pathlib import Path

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.model import Child
from agent.restart import Exit
from agent.runtimes import EngineLostError, Launch, Report
from headrace.config import Document
from headrace.types import Engine, EngineInfo, Fault


class FakeInstance:
    """One engine; a test ends it by `end`."""

    def __init__(self, pid: int, launch: Launch, gate: asyncio.Event) -> None:
        self.child = Child(pid=pid, start_time=pid, port=launch.port, config=launch.config.name)
        self.launch = launch
        self._gate = gate
        self.fault, self.mark = _read(launch)
        self.reloads = 0
        self.records = 0
        """What its metrics say that it has read; a reload begins anew."""
        self.pending = 0
        self.given_up = 0
        self.alive = True
        self.status: int | None = None
        self._callbacks: list[Callable[[], None]] = []

    def on_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def ending(self, now: float) -> Exit:
        return Exit(now, self.status)

    def end(self, status: int | None) -> None:
        self.alive, self.status = False, status
        for callback in self._callbacks:
            callback()

    async def reload(self, launch: Launch) -> None:
        fault, mark = _read(launch)
        await self._gate.wait()
        if fault == "refused":
            raise ConfigurationFault(Fault(message=f"{mark}: refused"))
        if fault in ("lost", "start", "taken"):
            self.end(255)
            raise EngineLostError("the engine ended during the reload")
        self.launch, self.fault, self.mark = launch, fault, mark
        self.reloads += 1
        self.records = 0

    async def report(self) -> Report:
        if not self.alive or self.fault == "mute":
            raise EngineLostError("the engine does not answer")
        self.given_up += self.fault == "lossy"
        return Report(is_well=self.fault != "sick", given_up=self.given_up, message="output x gave up records")

    async def scrape(self) -> str:
        if not self.alive or self.fault == "mute":
            raise EngineLostError("the engine does not tell its metrics")
        return (
            f'fluentbit_hot_reloaded_times{{hostname="x"}} {self.reloads}\n'
            f'fluentbit_input_records_total{{name="dummy.0"}} {self.records}\n'
            f"fluentbit_storage_chunks {self.pending}\n"
        )

    async def stop(self) -> bool:
        await asyncio.sleep(0)
        if self.alive:
            self.end(0)
        return True


class FakeRuntime:
    """Starts fake engines and keeps them over a new agent, as a machine keeps processes."""

    def __init__(self) -> None:
        self.info = EngineInfo(engine=Engine.EMBEDDED, version="1", catalogue_sha256="c" * 64)
        self.instances: list[FakeInstance] = []
        self.validated: list[str] = []
        self.is_free = True
        self.gate = asyncio.Event()
        """Clear it to hold every dry run."""
        self.start_gate = asyncio.Event()
        """Clear it to hold every start and reload."""
        self.gate.set()
        self.start_gate.set()
        self._pids = itertools.count(1)

    @property
    def alive(self) -> list[FakeInstance]:
        return [each for each in self.instances if each.alive]

    @property
    def only(self) -> FakeInstance:
        """The engine that runs; fails when it is not exactly one."""
        (instance,) = self.alive
        return instance

    async def catalogue(self) -> bytes:
        return b"{}"

    async def validate(self, launch: Launch) -> tuple[Fault, ...]:
        fault, mark = _read(launch)
        self.validated.append(mark)
        await self.gate.wait()
        return (Fault(message=f"{mark}: invalid", plugin="dummy"),) if fault == "invalid" else ()

    async def try_out(
        self, launch: Launch, document: Document, expanded: Document, *, scratch: Path
    ) -> tuple[str, ...]:
        fault, mark = _read(launch)
        if fault == "unfit":
            raise ConfigurationFault(Fault(message=f"{mark}: cannot start", plugin="dummy"))
        return (f"{mark} was not tried",) if fault == "untried" else ()

    async def start(self, launch: Launch) -> FakeInstance:
        await self.start_gate.wait()
        fault, mark = _read(launch)
        if fault == "start":
            raise ConfigurationFault(Fault(message=f"{mark}: cannot start"))
        if fault == "taken" and not self.is_free:
            raise EnvironmentFault(Fault(message=f"{mark}: port taken"))
        instance = FakeInstance(next(self._pids), launch, self.start_gate)
        self.instances.append(instance)
        return instance

    def adopt(self, child: Child, launch: Launch) -> FakeInstance | None:
        return next((each for each in self.alive if each.child.pid == child.pid), None)


def _read(launch: Launch) -> tuple[str, str]:
    found = re.search(r"tag: ['\"]?(\w+)(?:\.fault:(\w+))?", launch.config.read_text())
    assert found
    return found[2] or "", found[1]
