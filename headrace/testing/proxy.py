"""A TCP proxy on loopback that can cut its connections and refuse new ones, or stall and go on."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from headrace.security import parse_address

_CHUNK_BYTES = 64 << 10


class SeverableProxy:
    """Stands before `target` (host:port); an async context manager; connect to `address`."""

    def __init__(self, target: str) -> None:
        self._target = parse_address(target)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._severed = False
        self.address = ""
        """host:port, once entered; stays the same whatever happens to the line."""
        self.accepted = 0
        """How many connections have come."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sever()
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()

    def retarget(self, target: str) -> None:
        """New connections go there from now on."""
        self._target = parse_address(target)

    def sever(self) -> None:
        """Resets every connection, and every new one until `mend`."""
        self._severed = True
        for connection in self._connections:
            connection.cancel()

    def stall(self) -> None:
        """Passes no byte on and closes nothing until `mend`: what a silently dropped route looks like."""
        self._flows.clear()

    def mend(self) -> None:
        """Passes bytes on again, and lets connections in."""
        self._severed = False
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # a stream's callback runs in a task of its own
        self._connections.add(task)
        self.accepted += 1
        try:
            if not self._severed:
                await self._join(reader, writer)
        except (OSError, asyncio.CancelledError):  # cut by one end, or by `sever`, which cancels this task alone
            pass
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target.host, self._target.port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(reader, far_writer), name="proxy, there")
                tasks.create_task(self._pass_on(far_reader, writer), name="proxy, back")
        except* OSError:
            pass
        finally:
            far_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        with contextlib.suppress(OSError):
            writer.write_eof()
