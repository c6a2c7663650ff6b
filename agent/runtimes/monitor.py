"""A client of Fluent Bit's monitoring API: one request per connection on loopback, over plain asyncio streams.

Every call has a deadline and a bound on what it reads, since an engine that hangs still accepts connections. Raises
MonitorError, whatever went wrong.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

MAX_BODY = 8 << 20


class MonitorError(Exception):
    """The engine does not answer, or not as Fluent Bit does."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """The monitoring API on a port of this host."""

    port: int
    timeout: float = 3.0

    async def get(self, path: str) -> Any:
        """The JSON document at a path."""
        return _json(path, *await self._call("GET", path))

    async def text(self, path: str) -> str:
        """The text at a path."""
        status, body = await self._call("GET", path)
        if status != 200:
            raise MonitorError(f"{path}: answered {status}")
        return body.decode(errors="replace")

    async def metrics(self) -> dict[str, Any]:
        """Counters by plugin; empty while Fluent Bit has not gathered any yet, which takes it a second or two."""
        status, body = await self._call("GET", "/api/v1/metrics")
        answer = {} if status == 404 else _json("/api/v1/metrics", status, body)
        return answer if isinstance(answer, dict) else {}

    async def is_well(self) -> bool:
        """Whether the engine answers and calls itself healthy."""
        status, _ = await self._call("GET", "/api/v1/health")
        return status == 200

    async def reload(self) -> dict[str, Any]:
        """Ask for a hot reload. Fluent Bit answers before it has read anything; the embedded engine when it is done."""
        answer = _json("/api/v2/reload", *await self._call("POST", "/api/v2/reload", b"{}"))
        return answer if isinstance(answer, dict) else {}

    async def reload_state(self) -> dict[str, Any]:
        """`hot_reload_count`, and where the engine tells, `sha256` of the configuration that runs."""
        answer = await self.get("/api/v2/reload")
        return answer if isinstance(answer, dict) else {}

    async def _call(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self.timeout):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)
                try:
                    # Without Content-Length Fluent Bit drops a POST and says nothing.
                    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n"
                    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                    await writer.drain()
                    return await _response(reader)
                finally:
                    writer.close()
        except TimeoutError as error:
            raise MonitorError(f"{method} {path}: no answer within {self.timeout:g} s") from error
        except (OSError, EOFError, ValueError) as error:
            raise MonitorError(f"{method} {path}: {str(error) or type(error).__name__}") from error


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    words = (await reader.readline()).split()
    if len(words) < 2:
        raise ValueError("the connection was closed without an answer")
    status = int(words[1])
    length: int | None = None
    chunked = False
    while (line := (await reader.readline()).strip()) != b"":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        elif name.lower() == b"transfer-encoding":
            chunked = value.strip().lower() == b"chunked"
    if chunked:
        return status, await _chunks(reader)
    if length is not None:
        if length > MAX_BODY:
            raise ValueError(f"an answer of {length} bytes is larger than {MAX_BODY}")
        return status, await reader.readexactly(length)
    return status, await reader.read(MAX_BODY)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).partition(b";")[0], 16):
        if len(body) + size > MAX_BODY:
            raise ValueError(f"an answer is larger than {MAX_BODY} bytes")
        body += await reader.readexactly(size)
        await reader.readline()
    return bytes(body)


def _json(path: str, status: int, body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise MonitorError(f"{path}: answered {status}, and not with JSON") from error
