"""A program that runs under `up`: started, listened to, and ended with it, whatever happens.

It writes to a log file of bounded size, not to a pipe, which would die with `up` and take the program's orderly end
with it; `up` reads along. It has a session of its own, so that Ctrl-C reaches `up` alone, which then ends its children
in order; should `up` be killed, the kernel ends them (see `leash`). Used by one task.
"""

from __future__ import annotations

import asyncio
import os
import shutil
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
_LONGEST_LINE = 1 << 16
_LOOK_EVERY_S = 0.2
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
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._following = asyncio.create_task(self._follow(), name=f"log of the {self.name}")
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
        """Its exit code, once it has ended and all that it said was heard."""
        code = await self._process.wait()
        await asyncio.shield(self._following)
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

    async def _follow(self) -> None:
        """Hears what is new in the log until the program has ended; a file has no event to wait for, so by looking."""
        ended = asyncio.create_task(self._process.wait(), name=f"end of the {self.name}")
        rest = b""
        while True:
            # Looked at before the log is read, so that what was said last is heard.
            is_last = ended.done()
            *lines, rest = (rest + self._news()).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in [*lines, rest] if is_last else lines:
                self._hear(line)
            if is_last:
                return
            await asyncio.wait({ended}, timeout=_LOOK_EVERY_S)

    def _news(self) -> bytes:
        source = self._turned_over() if self.log.stat().st_size > MAX_LOG_BYTES else self.log
        with source.open("rb") as log:
            log.seek(self._read_from)
            news = log.read()
        self._read_from = self._read_from + len(news) if source is self.log else 0
        return news

    def _turned_over(self) -> Path:
        """Moves what is in the log to a file beside it; the program writes on to the same one, emptied under it."""
        copy, old = (self.log.with_name(self.log.name + end) for end in (".new", ".1"))
        shutil.copyfile(self.log, copy)
        os.truncate(self.log, 0)
        return copy.replace(old)

    def _hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text:
            self._last.append(text)
            self._tell(text)
