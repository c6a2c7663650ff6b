"""Just enough of an HTTP/1.1 server for pages: the monitoring API, and outputs that are asked for what they have.

One request per turn of a connection; bounded in header size, body, time and connections. Not for inputs, which read no
faster than the engine takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

MAX_CONNECTIONS = 100
IDLE_SECONDS = 30.0
MAX_BODY = 65536
MAX_HEADERS = 100

Reply: TypeAlias = tuple[int, str, bytes] | tuple[int, str, bytes, dict[str, str]]
"""Status, content type, body, and more headers."""
Answer: TypeAlias = Callable[[str, str, bytes], Awaitable[Reply]]
"""From method, path with its query, and body."""

JSON = "application/json"
TEXT = "text/plain; version=0.0.4"

_REASONS = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    500: "Error",
}


class HttpServer:
    """Answers requests on one address."""

    def __init__(self, answer: Answer) -> None:
        self.allow_origin: str | None = None
        """Whose pages may ask from a browser; `*` stands for all."""
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> None:
        """Bind and serve. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=16384)

    @property
    def is_listening(self) -> bool:
        return self._server is not None

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening, end every connection but one that is being answered by the caller itself."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._others():
            task.cancel()

    async def closed(self) -> None:
        """Waits, after `close`, until every other connection has ended."""
        if others := self._others():
            await asyncio.wait(others)

    def _others(self) -> list[asyncio.Task[None]]:
        return [task for task in self._connections if task is not asyncio.current_task()]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while len(self._connections) <= MAX_CONNECTIONS and await self._serve_one(reader, writer):
                pass
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            pass  # the client is gone, too slow, or does not speak HTTP: nothing to answer
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(IDLE_SECONDS):
            request_line = await reader.readline()
            if not request_line.strip():
                return False
            headers = await _headers(reader)
            length = int(headers.get("content-length") or 0)
            method, path, version = request_line.decode("latin-1").split()
            content = await reader.readexactly(length) if 0 <= length <= MAX_BODY else b""
        keep = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close" and 0 <= length <= MAX_BODY
        if 0 <= length <= MAX_BODY:
            # No page in a browser has business here: there is nothing to log in to, so nothing else would keep it out.
            is_foreign = "origin" in headers and self.allow_origin not in ("*", headers["origin"])
            reply: Reply = (403, JSON, b"") if is_foreign else await self._answer(method, path, content)
        else:
            reply = 413, JSON, b""
        status, kind, body, *more = reply
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        head += "".join([f"{name}: {value}\r\n" for name, value in more[0].items()] if more else [])
        writer.write(
            (head + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode() + (b"" if method == "HEAD" else body)
        )
        async with asyncio.timeout(IDLE_SECONDS):
            await writer.drain()
        return keep


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = (await reader.readline()).decode("latin-1").strip()
        if not line:
            return headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError("too many headers")
