"""An engine's process: started in a session of its own, found again after the agent was killed, ended for certain.

A child holds a lock on a file by a descriptor that it inherits, and the agent keeps none; so the lock says whether any
process of that workload lives, whatever the agent remembers. The end of a process is an event (a pidfd), whether it is
our child or one that an earlier agent left. Linux only; event loop only.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.runtimes import child_log


class LockHeldError(Exception):
    """A process of this workload lives that we do not know."""


class Process:
    """A running process, ours by birth or by adoption."""

    def __init__(self, pid: int, pidfd: int, popen: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.start_time = start_time(pid) or 0
        self.status: int | None = None
        """What it returned, or the negative of the signal that ended it; None while it runs, and for adopted ones."""
        self._popen = popen
        self._pidfd = pidfd
        self._ended = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        asyncio.get_running_loop().add_reader(pidfd, self._on_end)

    @classmethod
    def spawn(
        cls,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        lock: Path,
        memory: int = 0,
    ) -> Process:
        """Start a command with nothing but this environment. Raises OSError, and LockHeldError.

        `memory` bounds what it may allocate, in bytes. Not its address space, of which LuaJIT and threads take far more
        than they use.
        """
        output = child_log.open_for(log)
        try:
            held = _hold(lock)
            try:
                popen = subprocess.Popen(
                    command,
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(held,),
                    start_new_session=True,
                )
            finally:
                os.close(held)
        finally:
            os.close(output)
        process = cls(popen.pid, os.pidfd_open(popen.pid), popen)
        if memory:
            try:
                resource.prlimit(popen.pid, resource.RLIMIT_DATA, (memory, memory))
            except ProcessLookupError:
                pass  # It has ended already, as whoever waits for it will learn.
        return process

    @classmethod
    def adopt(cls, pid: int, started: int, lock: Path) -> Process | None:
        """The process that an earlier agent started, if it still runs and is the same."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        # The pidfd names one process for ever, so what is checked now stays true of it.
        if start_time(pid) == started and pid in holders(lock):
            return cls(pid, pidfd, None)
        os.close(pidfd)
        return None

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Called once when it has ended, soon if it has already."""
        if self.alive:
            self._callbacks.append(callback)
        else:
            asyncio.get_running_loop().call_soon(callback)

    async def wait(self) -> int | None:
        """Until it has ended; its status."""
        await self._ended.wait()
        return self.status

    async def stop(self, patience: float) -> bool:
        """TERM, then KILL to its whole group; whether it went by itself in time. Also when cancelled it is gone."""
        if not self.alive:
            return True
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await self.wait()
            return True
        except TimeoutError:
            return False
        finally:
            if self.alive:
                self.kill()
                await asyncio.shield(self.wait())

    def kill(self) -> None:
        """End the whole group now."""
        self._signal_group(signal.SIGKILL)
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send a signal to the process; nothing when it has ended."""
        if self.alive:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._popen is not None:
            # Not reaped yet, so its group's number cannot be anybody else's: what it left behind ends here.
            self._signal_group(signal.SIGKILL)
            self.status = self._popen.wait()
        os.close(self._pidfd)
        self._ended.set()
        for callback in self._callbacks:
            callback()

    def _signal_group(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


async def end_holders(lock: Path, patience: float) -> None:
    """End every process that holds this lock: children of an agent that was killed before it could write their pid."""
    for pid in holders(lock):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if pid == os.getpid() or pid not in holders(lock):
            os.close(pidfd)
        else:
            await Process(pid, pidfd, None).stop(patience)


def holders(lock: Path) -> tuple[int, ...]:
    """Processes that have this file open, as far as we may see them."""
    try:
        wanted = os.stat(lock)
    except OSError:
        return ()
    return tuple(pid for pid in _pids() if _has_open(pid, wanted))


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name of the program is in brackets and may hold anything; what follows the last one is plain.
    return int(stat.rpartition(")")[2].split()[19])


async def run(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float, bound: int = 4 << 20
) -> tuple[int, str]:
    """Run a short-lived command to its end; its status and output. Raises TimeoutError and OSError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        limit=bound,
    )
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
            return await process.wait(), output[:bound].decode(errors="replace")
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(process.wait())


def _hold(lock: Path) -> int:
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise LockHeldError(f"{lock} is held by a process of an earlier agent") from error
    return descriptor


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _has_open(pid: int, wanted: os.stat_result) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for name in os.listdir(folder):
            try:
                found = os.stat(f"{folder}/{name}")
            except OSError:
                continue
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    except OSError:
        pass
    return False
