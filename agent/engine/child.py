"""The end of a child process that has a process group of its own."""

import asyncio
import os
import signal
from asyncio.subprocess import Process

PATIENCE = 2.0
"""Seconds that a child gets to end when it is told to."""


async def end(process: Process) -> None:
    """End a child that still runs, with its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            break
        try:
            os.killpg(process.pid, number)
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        except (ProcessLookupError, TimeoutError):
            continue
