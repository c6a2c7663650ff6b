"""An HTTP server for pages: the monitoring API, and outputs that are asked for what they have.

One request per turn of a connection; bounded in header size, body, time and connections. Not for inputs, which read no
faster than the engine takes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from agent.engine.http_requests import BadRequest, read_request, response

MAX_CONNECTIONS = 100
IDLE_SECONDS = 30.0
MAX_BODY = 65536

PAGE_REFUSED = (
    "http_server.http2",
    "http_server.idle_timeout",
    "http_server.buffer_max_size",
    "http_server.buffer_chunk_size",
    "http_server.max_connections",
    "http_server.workers",
    "http_server.ingress_queue_event_limit",
    "http_server.ingress_queue_byte_limit",
    "http2",
    "buffer_max_size",
    "buffer_chunk_size",
    "max_connections",
    "tls",
)
"""Properties of Fluent Bit's outputs with a page that are not implemented."""

Reply: TypeAlias = tuple[int, str, bytes] | tuple[int, str, bytes, dict[str, str]]
"""Status, content type, body, and more headers."""
Answer: TypeAlias = Callable[[str, str, bytes], Awaitable[Reply]]
"""From method, path with its query, and body."""

JSON = "application/json"
TEXT = "text/plain; version=0.0.4"


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
        except BadRequest as error:
            writer.write(response(error.status, f"{error}\n".encode(), keep=False))
        except (OSError, TimeoutError, EOFError):
            pass  # the client is gone, or too slow: nobody to answer
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await read_request(reader, writer, limit=MAX_BODY, idle=IDLE_SECONDS)
        if request is None:
            return False
        # No page in a browser has business here: there is nothing to log in to, so nothing else would keep it out.
        is_foreign = "origin" in request.headers and self.allow_origin not in ("*", request.headers["origin"])
        reply: Reply = (
            (403, JSON, b"") if is_foreign else await self._answer(request.method, request.path, request.body)
        )
        status, kind, body, *more = reply
        headers = [("Content-Type", kind), *(more[0].items() if more else ())]
        head_only = request.method == "HEAD"
        writer.write(response(status, body, headers, keep=request.keep, head_only=head_only))
        async with asyncio.timeout(IDLE_SECONDS):
            await writer.drain()
        return request.keep
