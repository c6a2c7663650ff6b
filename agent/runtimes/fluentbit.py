"""The driver of both engines: the real Fluent Bit, and the embedded one, which has the same flags and monitoring API.

What a reload of the real one cannot be trusted with is found out before it: by the dry run, and by a trial start of the
whole configuration in children of their own, in which no record can flow. `agent.runtimes.instance` is the process.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from agent.errors import ConfigurationFault, EnvironmentFault
from agent.model import Child
from agent.restart import Exit
from agent.runtimes import child_log
from agent.runtimes.base import Deadlines, Launch
from agent.runtimes.instance import FluentBitInstance
from agent.runtimes.log_lines import faults_in, last_line
from agent.runtimes.process import LockHeldError, Process, end_holders, run
from agent.runtimes.trial import Half, trial_of
from headrace.config import Document, render
from headrace.content import sha256_of
from headrace.types import Engine, EngineInfo, Fault

EMBEDDED_COMMAND = (sys.executable, "-P", "-m", "agent.engine")

_VERSION = re.compile(r'\s*\{\s*"fluent-bit"\s*:\s*\{\s*"version"\s*:\s*"([^"]+)"')
"""At the start of the schema; the rest is half a megabyte that the agent need not take apart."""


class FluentBit:
    """One engine on this host, by the command that runs it."""

    def __init__(
        self,
        engine: Engine,
        command: Sequence[str],
        *,
        info: EngineInfo,
        schema: bytes,
        memory: int,
        deadlines: Deadlines,
    ) -> None:
        self.engine = engine
        self.info = info
        self._command = tuple(command)
        self._schema = schema
        self._memory = memory
        self._deadlines = deadlines

    @classmethod
    async def find(
        cls,
        engine: Engine,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        memory: int = 0,
        deadlines: Deadlines | None = None,
    ) -> FluentBit:
        """Ask the program who it is and what it knows. Raises EnvironmentFault when it is not such an engine."""
        deadlines = deadlines or Deadlines()
        program, folder = command[0], Path("/")
        try:
            _, schema = await run([*command, "-J"], folder=folder, environment=environment, timeout=deadlines.validate)
            version = _VERSION.match(schema)
        except TimeoutError as error:
            raise EnvironmentFault(Fault(message=f"{program} -J did not end in {deadlines.validate:g} s")) from error
        except OSError as error:
            raise EnvironmentFault(Fault(message=f"{program} cannot be run: {error.strerror}")) from error
        if version is None:
            raise EnvironmentFault(Fault(message=f"{program} -J does not answer as Fluent Bit does"))
        data = schema.encode()
        info = EngineInfo(engine=engine, version=version[1], catalogue_sha256=sha256_of(data))
        return cls(engine, command, info=info, schema=data, memory=memory, deadlines=deadlines)

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
        if (ending := Exit(0, status)).was_sent:  # Of want of memory, say; that tells nothing of the configuration.
            raise EnvironmentFault(Fault(message=f"{ending} during the dry run"))
        return faults_in(output) or (
            Fault(message=f"the engine's dry run ended with status {status}: {last_line(output)}"),
        )

    async def try_out(
        self, launch: Launch, document: Document, expanded: Document, *, scratch: Path
    ) -> tuple[str, ...]:
        if self.engine is Engine.EMBEDDED:
            return ()  # Whatever it cannot start, its reload goes back to what ran.
        await end_trial(scratch)
        scratch.mkdir(mode=0o700)
        try:
            trial = trial_of(document, expanded, folder=launch.folder, files=launch.config.parent, scratch=scratch)
            await asyncio.to_thread(_copy_databases, trial.copies)
            async with asyncio.TaskGroup() as group:
                work = [(half.name, self._try_half(half, launch, scratch)) for half in trial.halves]
                tries = [group.create_task(each, name=f"trial of the {name}") for name, each in work]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        failures = [failure for task in tries if (failure := task.result())]
        faults = dict.fromkeys(fault for failure in failures for fault in failure.faults)
        for kind in (ConfigurationFault, EnvironmentFault):
            if any(isinstance(failure, kind) for failure in failures):
                raise kind(*faults)
        return trial.left_out

    async def _try_half(
        self, half: Half, launch: Launch, scratch: Path
    ) -> ConfigurationFault | EnvironmentFault | None:
        """Until everything is initialised, and not a moment longer."""
        config = scratch / f"{half.name}-{launch.config.name}"
        config.write_text(render(half.document))
        log, lock = scratch / f"{half.name}.log", scratch / f"{half.name}.lock"
        beside = replace(launch, folder=launch.config.parent, config=config, port=half.port, log=log, lock=lock)
        try:
            instance = await self.start(beside)
        except (ConfigurationFault, EnvironmentFault) as fault:
            return fault
        await instance.kill()
        return None

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
                memory=self._memory,
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


async def end_trial(scratch: Path) -> None:
    """End what a trial left behind whose agent was killed."""
    for lock in scratch.glob("*.lock"):
        await end_holders(lock, 0)
    shutil.rmtree(scratch, ignore_errors=True)


def _copy_databases(copies: Iterable[tuple[Path, Path]]) -> None:
    """As they are at one moment, while an engine writes them; without one that it keeps locked."""
    import sqlite3  # Few agents need it, and it takes its memory for good.

    for source, copy in copies:
        if source.is_file():
            try:
                with (
                    closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True, timeout=1)) as here,
                    closing(sqlite3.connect(copy)) as there,
                ):
                    here.backup(there)
            except sqlite3.OperationalError:
                copy.unlink(missing_ok=True)
            except sqlite3.DatabaseError:
                shutil.copyfile(source, copy)  # It is none, which the engine will say.
