"""A program that runs under `up`: started, listened to, and ended with it, whatever happens.

Everything that it prints goes to a log file of bounded size; its warnings and errors are told to the caller too. It has
a session of its own, so that Ctrl-C reaches `up` alone, which then ends its children in order; should `up` be killed,
the kernel ends the child (Linux). Used by one task.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.cli.programs import Program, leashed

MAX_LOG_BYTES = 8 << 20
FORCED_GRACE_S = 5.0
_LAST_LINES = 15
_NOT_INHERITED = frozenset({"HEADRACE_SERVER", "HEADRACE_TOKEN", "HEADRACE_DATA_DIR"})
"""They speak of the management API and of `up` itself; an agent would take them for its own."""


class Child:
    """An async context manager: enter starts it, exit ends it by TERM and then KILL and returns when it is reaped."""

    def __init__(
        self,
        program: Program,
        arguments: Sequence[str],
        *,
        log: Path,
        tell: Callable[[str], None],
        force: asyncio.Event,
        grace: float,
    ) -> None:
        """`tell` gets each line; when `force` is set, or after `grace` seconds, an exit does not wait any longer."""
        self.name = program.name
        self.log = log
        self._command = leashed(program, arguments)
        self._tell = tell
        self._force = force
        self._grace = grace
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._listening = asyncio.create_task(self._listen(), name=f"log of the {self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            if not await self._ends_in_time():
                self._tell(f"the {self.name} did not end in time and was killed")
                self._process.kill()
        await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended and all that it printed is in the log."""
        code = await self._process.wait()
        await asyncio.shield(self._listening)
        return code

    @property
    def last_words(self) -> tuple[str, ...]:
        """The last lines that it printed."""
        return tuple(self._last)

    async def _ends_in_time(self) -> bool:
        ended = asyncio.create_task(self._process.wait(), name=f"end of the {self.name}")
        forced = asyncio.create_task(self._force.wait(), name="force")
        try:
            done, _ = await asyncio.wait({ended, forced}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
            if ended not in done:
                # A second TERM asks the program to force its own end, so that it leaves nothing behind.
                self._process.send_signal(signal.SIGTERM)
                done, _ = await asyncio.wait({ended}, timeout=FORCED_GRACE_S)
            return ended in done
        finally:
            ended.cancel()
            forced.cancel()

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        with _Log(self.log) as log:
            while data := await self._process.stdout.read(1 << 16):
                log.write(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._hear(line)
                rest = rest[-(1 << 16) :]
        self._hear(rest)

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._last.append(text)
            self._tell(text)


class _Log:
    """A file that is turned over once it is full: the one before is kept beside it as `.1`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        if self._file.tell() + len(data) > MAX_LOG_BYTES:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._path.open("ab", buffering=0)
        try:
            self._file.write(data)
        except OSError:
            pass  # A full disk must not stop the program; what matters is told on stderr as well.
