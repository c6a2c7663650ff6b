"""The driver of both engines: the real Fluent Bit, and the embedded one, which has the same flags and monitoring API.

Fluent Bit's reload cannot be believed: it says `done` before it has read anything, swallows requests, hangs while an
output is down, and exits when the new configuration fails to start. So a reload counts when the process's own counter
has risen and, where the engine tells, the digest of what it runs is the one that was asked for; everything else ends in
a new process, within a deadline. Polls the monitoring API while a start or reload is under way, since nothing tells.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.model import Child
from agent.restart import Exit
from agent.runtimes import child_log
from agent.runtimes.base import EngineLostError, Launch, Report
from agent.runtimes.log_lines import HALTED, faults_in, is_environment
from agent.runtimes.monitor import Monitor, MonitorError
from agent.runtimes.process import LockHeldError, Process, end_holders, run
from headrace.content import sha256_of
from headrace.types import Engine, EngineInfo, Fault

EMBEDDED_COMMAND = (sys.executable, "-P", "-m", "agent.engine")

_FIRST_POLL_S, _LONGEST_POLL_S = 0.02, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds; `stop` comes on top of the grace that a pipeline asks for."""

    start: float = 20.0
    reload: float = 10.0
    stop: float = 5.0
    answer: float = 3.0
    validate: float = 30.0


class FluentBit:
    """One engine on this host, by the command that runs it."""

    def __init__(
        self, engine: Engine, command: Sequence[str], *, info: EngineInfo, schema: bytes, deadlines: Deadlines
    ) -> None:
        self.engine = engine
        self.info = info
        self._command = tuple(command)
        self._schema = schema
        self._deadlines = deadlines

    @classmethod
    async def find(
        cls,
        engine: Engine,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        deadlines: Deadlines | None = None,
    ) -> FluentBit:
        """Ask the program who it is and what it knows. Raises EnvironmentFault when it is not such an engine."""
        deadlines = deadlines or Deadlines()
        program, folder = command[0], Path("/")
        try:
            _, schema = await run([*command, "-J"], folder=folder, environment=environment, timeout=deadlines.validate)
            version = str(json.loads(schema)["fluent-bit"]["version"])
        except TimeoutError as error:
            raise EnvironmentFault(Fault(message=f"{program} -J did not end in {deadlines.validate:g} s")) from error
        except OSError as error:
            raise EnvironmentFault(Fault(message=f"{program} cannot be run: {error.strerror}")) from error
        except (ValueError, KeyError, TypeError) as error:
            raise EnvironmentFault(Fault(message=f"{program} -J does not answer as Fluent Bit does")) from error
        data = schema.encode()
        info = EngineInfo(engine=engine, version=version, catalogue_sha256=sha256_of(data))
        return cls(engine, command, info=info, schema=data, deadlines=deadlines)

    async def catalogue(self) -> bytes:
        return self._schema

    async def validate(self, launch: Launch) -> tuple[Fault, ...]:
        """By the engine's own `--dry-run`, in the folder of the configuration, with the variables that it will have."""
        command = [*self._command, "--dry-run", "-c", str(launch.config)]
        timeout = self._deadlines.validate
        try:
            status, output = await run(
                command, folder=launch.config.parent, environment=launch.environment, timeout=timeout
            )
        except TimeoutError as error:
            raise EnvironmentFault(Fault(message=f"the engine's dry run did not end within {timeout:g} s")) from error
        except OSError as error:
            raise EnvironmentFault(Fault(message=f"{command[0]} cannot be run: {error.strerror}")) from error
        if status == 0:
            return ()
        return faults_in(output) or (
            Fault(message=f"the engine's dry run ended with status {status}: {_last(output)}"),
        )

    async def start(self, launch: Launch) -> FluentBitInstance:
        offset = child_log.size(launch.log)
        process = await self._spawn(launch)
        instance = FluentBitInstance(process, launch, self._deadlines)
        try:
            await instance.until_ready(offset)
        except BaseException:
            process.kill()
            await asyncio.shield(process.wait())
            raise
        return instance

    def adopt(self, child: Child, launch: Launch) -> FluentBitInstance | None:
        process = Process.adopt(child.pid, child.start_time, launch.lock)
        return FluentBitInstance(process, launch, self._deadlines) if process else None

    async def _spawn(self, launch: Launch) -> Process:
        def spawn() -> Process:
            return Process.spawn(
                [*self._command, "-c", str(launch.config)],
                folder=launch.folder,
                environment=launch.environment,
                log=launch.log,
                lock=launch.lock,
            )

        try:
            try:
                return spawn()
            except LockHeldError:
                await end_holders(launch.lock, launch.grace + self._deadlines.stop)
                return spawn()
        except LockHeldError as error:
            raise EnvironmentFault(Fault(message=str(error))) from error
        except OSError as error:
            raise EnvironmentFault(Fault(message=f"{self._command[0]} cannot be started: {error.strerror}")) from error


class FluentBitInstance:
    """One process of an engine."""

    def __init__(self, process: Process, launch: Launch, deadlines: Deadlines) -> None:
        self._process = process
        self._launch = launch
        self._deadlines = deadlines
        self._monitor = Monitor(launch.port, timeout=deadlines.answer)

    @property
    def child(self) -> Child:
        return Child(
            pid=self._process.pid,
            start_time=self._process.start_time,
            port=self._launch.port,
            config=self._launch.config.name,
            grace=self._launch.grace,
        )

    @property
    def alive(self) -> bool:
        return self._process.alive

    def on_end(self, callback: Callable[[], None]) -> None:
        self._process.on_end(callback)

    def ending(self, now: float) -> Exit:
        return Exit(now, self._process.status)

    async def until_ready(self, offset: int) -> None:
        """Until the monitoring API answers: Fluent Bit serves it once every plugin has been initialised."""

        async def answers() -> bool:
            try:
                await self._monitor.get("/api/v1/uptime")
            except MonitorError:
                return False
            return True

        if await self._poll(answers, self._deadlines.start):
            return
        if self.alive:
            raise EnvironmentFault(
                Fault(
                    message=f"the engine did not answer on port {self._launch.port} within {self._deadlines.start:g} s"
                )
            )
        raise self._why_it_ended(offset)

    async def reload(self, launch: Launch) -> None:
        offset = child_log.size(launch.log)
        try:
            before = await self._monitor.reload_state()
            answer = await Monitor(launch.port, timeout=self._deadlines.reload).reload()
        except MonitorError as error:
            raise EngineLostError(f"the engine does not take a reload: {error}") from error
        if answer.get("status") != 0:
            raise EngineLostError(f"the engine does not take a reload: {answer.get('reload')}")
        halted = False

        async def is_over() -> bool:
            nonlocal halted
            log = child_log.since(launch.log, offset)
            halted = bool(answer.get("error")) or any(phrase in log for phrase in HALTED)
            return halted or await self._runs(launch, before)

        over = await self._poll(is_over, self._deadlines.reload)
        if halted:
            faults = faults_in(child_log.since(launch.log, offset))
            raise ConfigurationFault(
                *(faults or (Fault(message=str(answer.get("error") or "the reload was refused")),))
            )
        if not self.alive:
            raise EngineLostError(f"{self.ending(0)} during the reload")
        if not over:
            raise EngineLostError(f"the reload was not done within {self._deadlines.reload:g} s")
        self._launch = launch

    async def report(self) -> Report:
        try:
            is_well = await self._monitor.is_well()
            metrics = await self._monitor.metrics()
        except MonitorError as error:
            raise EngineLostError(f"the engine does not answer: {error}") from error
        outputs = metrics.get("output", {})
        given_up = {name: sum(int(each.get(key, 0)) for key in _GIVEN_UP) for name, each in outputs.items()}
        total = sum(given_up.values())
        names = ", ".join(name for name, count in given_up.items() if count)
        return Report(is_well=is_well, given_up=total, message=f"output {names} gave up records" if total else "")

    async def stop(self) -> bool:
        return await self._process.stop(self._launch.grace + self._deadlines.stop)

    async def _runs(self, launch: Launch, before: Mapping[str, object]) -> bool:
        """Whether the reload has happened: the count rose, and what runs is what was asked for, where that is told."""
        try:
            state = await self._monitor.reload_state()
        except MonitorError:
            return False
        told = state.get("sha256")
        return _count(state) > _count(before) and (not told or told == launch.sha256)

    async def _poll(self, condition: Callable[[], Awaitable[bool]], deadline: float) -> bool:
        """Ask until it holds, the process ends (then False), or the deadline is over (then False)."""
        pause = _FIRST_POLL_S
        try:
            async with asyncio.timeout(deadline):
                while self.alive:
                    if await condition():
                        return True
                    try:
                        async with asyncio.timeout(pause):
                            await self._process.wait()
                    except TimeoutError:
                        pause = min(pause * 1.5, _LONGEST_POLL_S)
        except TimeoutError:
            pass
        return False

    def _why_it_ended(self, offset: int) -> ConfigurationFault | EnvironmentFault:
        log = child_log.since(self._launch.log, offset)
        ending = self.ending(0)
        faults = faults_in(log)
        if ending.was_sent or is_environment(faults):
            return EnvironmentFault(*(faults or (Fault(message=f"{ending} before it was ready"),)))
        return ConfigurationFault(*(faults or (Fault(message=f"{ending} before it was ready: {_last(log)}"),)))


_GIVEN_UP = ("errors", "retries_failed", "dropped_records")


def _count(state: Mapping[str, object]) -> int:
    count = state.get("hot_reload_count", 0)
    return count if isinstance(count, int) else 0


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:500] if lines else "it said nothing"
