"""Child programs of tests: output in a file, waits with a deadline, and an end whatever happens.

A child gets a session of its own and dies with the test run. What its children leave behind is found by folder: every
program that a test starts works in, or names on its command line, a folder of that test.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

LASTING: set[int] = set()
"""Pids of servers that outlive a test; the leak check leaves them alone."""

_PAUSE = 0.02


def wait_until(condition: Callable[[], T], *, timeout: float = 20.0, what: str = "") -> T:
    """The first true answer of the condition; fails the test at the deadline."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or inspect.getsource(condition).strip()}")
        time.sleep(_PAUSE)
    return answer


async def eventually(condition: Callable[[], T | Awaitable[T]], *, timeout: float = 20.0, what: str = "") -> T:
    """`wait_until` inside an event loop; the condition may be a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or inspect.getsource(condition).strip()}")
        await asyncio.sleep(_PAUSE)


def children() -> set[int]:
    """Pids of this process's children, zombies included."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the cheap and usual answer
        return set()
    return {pid for pid in _pids() if _parent(pid) == os.getpid()}


def processes_in(folder: Path) -> list[int]:
    """Pids of the programs that work in the folder, or name it on their command line; not this process."""
    return sorted(pid for pid in _pids() if pid != os.getpid() and _belongs(pid, str(folder)))


def kill_all_in(folder: Path) -> list[int]:
    """Kills what still runs in the folder; returns who that was."""
    found = processes_in(folder)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return found


class Program:
    """A child program, running from construction on; leaving its context ends it and what it left in its folder.

    `folder` is its working folder and holds its log; `user` starts it as somebody else, which takes root.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        name: str = "",
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name or Path(command[0]).name
        self.folder = folder
        self.log = folder / f"{self.name}.log"
        self._stop_signal = stop_signal
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(user, stop_signal), *map(str, command)],
                cwd=folder,
                env={**os.environ, **env} if env else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def memory(self) -> int:
        """The most that it has held in memory so far, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (peak,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(peak.split()[1]) << 10

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_for(self, condition: Callable[[], T], *, timeout: float = 30.0, what: str = "") -> T:
        """The first true answer; fails with the log's end at the deadline, or as soon as the program has ended."""

        def answer_or_end() -> T | None:
            answer = condition()
            if not answer and not self.is_running():
                raise AssertionError(f"ended with status {self._process.returncode}")
            return answer

        try:
            return wait_until(answer_or_end, timeout=timeout, what=what or "the condition")  # type: ignore[return-value]  # true, so not None
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}; its log ends with:\n{self.output[-3000:]}") from None

    def wait_for_json(self, path: Path, *, timeout: float = 30.0) -> dict[str, Any]:
        """What the program writes, in one piece, to say that it is ready."""

        def document() -> dict[str, Any] | None:
            try:
                return json.loads(path.read_text())  # type: ignore[no-any-return]  # the caller knows its shape
            except (FileNotFoundError, json.JSONDecodeError):
                return None

        return self.wait_for(document, timeout=timeout, what=f"{path} is written")  # type: ignore[return-value]

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit status; negative for a signal."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.name} still runs after {timeout:g} s; its log ends with:\n{self.output[-3000:]}"
            ) from None

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it at once, as `kill -9` does; its children stay."""
        self._process.kill()
        self._process.wait()

    def stop(self, grace: float = 15.0) -> int:
        """Asks it to end, kills it when it does not; returns its exit status."""
        self._process.send_signal(self._stop_signal)
        try:
            return self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            kill_all_in(self.folder)


def _dying_with_us(user: str | None, number: signal.Signals) -> list[str]:
    """A prefix by which a child gets the signal when the test run is killed, and runs as another user."""
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if user is not None:
            raise AssertionError("setpriv (Debian package util-linux) is needed to start a server as another user")
        return []
    identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    return [setpriv, f"--pdeathsig={number.name.removeprefix('SIG')}", *identity]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _belongs(pid: int, folder: str) -> bool:
    try:
        if (working := os.readlink(f"/proc/{pid}/cwd")) == folder or working.startswith(folder + "/"):
            return True
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        return f"{folder}/" in words or f"{folder}\0" in words
    except OSError:
        return False
