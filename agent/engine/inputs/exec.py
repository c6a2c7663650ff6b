"""Input `exec`: runs a command in a shell, now and then or once; each line that it prints is a record.

The command gets a process group of its own, which is ended with the input.
"""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass

from agent.engine.child import end
from agent.engine.config import BOOLEAN, INTEGER, SIZE, STRING, InvalidProperty, option
from agent.engine.plugin import Context, Inlet
from agent.engine.record import NANOSECONDS, Batch, Record
from agent.engine.registry import inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecConfig:
    """What the exec input takes."""

    command: str = option(STRING, required=True, help="what the shell runs")
    parser: str | None = option(STRING, help="parser for each line; one that it does not take is left out")
    interval_sec: int = option(INTEGER, 1, help="seconds between two runs")
    interval_nsec: int = option(INTEGER, 0, help="nanoseconds between two runs")
    buf_size: int = option(SIZE, 4096, help="longest piece of a line that makes a record; longer lines make several")
    oneshot: bool = option(BOOLEAN, False, help="run the command once, at the start")
    exit_after_oneshot: bool = option(BOOLEAN, False, help="stop the engine when that run ends")
    propagate_exit_code: bool = option(BOOLEAN, False, help="the engine's exit status is then the command's")


@inputs.register("exec", ExecConfig)
class Exec:
    """Runs a command and reads its output."""

    def __init__(self, config: ExecConfig, context: Context) -> None:
        if config.propagate_exit_code and not config.exit_after_oneshot:
            raise InvalidProperty("propagate_exit_code", "makes no sense without exit_after_oneshot")
        if config.buf_size < 2:
            raise InvalidProperty("buf_size", "expected at least 2 bytes")
        self._config = config
        self._context = context
        self._parser = context.parser("parser", config.parser) if config.parser else None
        given = config.interval_sec * NANOSECONDS + config.interval_nsec
        is_illegal = config.interval_sec <= 0 and config.interval_nsec <= 0
        self._interval = 1.0 if is_illegal else given / NANOSECONDS

    async def open(self) -> None:
        pass

    async def run(self, inlet: Inlet) -> None:
        config = self._config
        if config.oneshot or config.exit_after_oneshot:
            code = await self._run_once(inlet)
            if config.exit_after_oneshot:
                self._context.stop("the command has ended", code if config.propagate_exit_code else 0)
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._interval
        while True:
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._run_once(inlet)
            due = max(due + self._interval, loop.time())  # a run that takes long is not caught up with

    async def close(self) -> None:
        pass

    async def _run_once(self, inlet: Inlet) -> int:
        """Run to the end; gives the exit status as a shell says it. A command that cannot be run gives 127."""
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                self._config.command,
                stdin=DEVNULL,
                stdout=PIPE,
                start_new_session=True,
                limit=max(65536, self._config.buf_size * 2),
            )
        except OSError as error:
            self._context.log.error("the command cannot be run: %s", error)
            return 127
        try:
            await self._read(process, inlet)
            code = await process.wait()
        finally:
            await end(process)
        return code if code >= 0 else 128 - code

    async def _read(self, process: Process, inlet: Inlet) -> None:
        assert process.stdout is not None
        rest = b""
        while data := await process.stdout.read(65536):
            *lines, rest = (rest + data).split(b"\n")
            while len(rest) >= self._config.buf_size:
                lines.append(rest[: self._config.buf_size - 1])
                rest = rest[self._config.buf_size - 1 :]
            await self._push(lines, inlet)
        await self._push([rest] if rest else [], inlet)

    async def _push(self, lines: list[bytes], inlet: Inlet) -> None:
        now, longest = self._context.clock(), self._config.buf_size - 1
        batch = Batch(self._context.tag)
        for line in lines:
            for start in range(0, max(len(line), 1), longest):
                when, record = self._record(line[start : start + longest])
                if record is not None:
                    batch.times.append(when or now)
                    batch.records.append(record)
            batch.size += len(line) + 1
        if batch.records:
            await inlet.push(batch)

    def _record(self, line: bytes) -> tuple[int, Record | None]:
        if self._parser is None:
            return 0, {"exec": line.decode("utf-8", "replace")}
        parsed = self._parser.parse(line)
        if parsed is None:
            self._context.log.error("the parser does not take a line of %d bytes", len(line))
            return 0, None
        return parsed
