"""What inputs share that take records by HTTP: their options, and each request answered as its records are taken.

The answer says that all of a request is taken: in memory, or on disk where `storage.type` is filesystem. While the
input is paused, requests are refused with 503; of a request that is refused, nothing is taken.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, SIZE, TIME, InvalidProperty, option
from agent.engine.http_requests import BadRequest, Request, read_request, response
from agent.engine.inflate import inflate
from agent.engine.listening import STREAM_REFUSED, Connection, Listener, StreamOptions
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch
from agent.engine.sockets import Address

_MOST_INFLATED = 8
"""How many times `buffer_max_size` a compressed body may hold."""

HTTP_REFUSED = (
    *STREAM_REFUSED,
    "http_server.buffer_chunk_size",
    "http_server.http2",
    "http_server.workers",
    "http_server.ingress_queue_event_limit",
    "http_server.ingress_queue_byte_limit",
)
"""Properties of Fluent Bit's inputs by HTTP that are not implemented."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions(StreamOptions):
    """What every such input takes."""

    successful_response_code: int = option(INTEGER, 201, help="status of an answer that all is taken: 200, 201 or 204")
    buffer_max_size: int = option(SIZE, 4_000_000, help="longest body of a request")
    buffer_chunk_size: int = option(SIZE, 512_000, help="taken for compatibility; has no effect here")
    server_buffer_max_size: int | None = option(SIZE, name="http_server.buffer_max_size", help="as buffer_max_size")
    max_connections: int = option(INTEGER, 0, help="connections at once; 0 means any number")
    server_max_connections: int = option(INTEGER, 0, name="http_server.max_connections", help="as max_connections")
    idle_timeout: float = option(TIME, 10, name="http_server.idle_timeout", help="longest wait for a client; 0 is any")
    http2: bool = option(BOOLEAN, False, help="taken where it is off; HTTP/2 is not implemented")


class Refusal(ValueError):
    """A request that is refused with a status of its own."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class HttpReceiver:
    """One input's address; `take` makes batches of a request, or raises ValueError: a Refusal, or 400."""

    def __init__(
        self,
        config: HttpOptions,
        port: int,
        context: Context,
        take: Callable[[Request], list[Batch]],
        *,
        headers: tuple[tuple[str, str], ...] = (),
        has_health: bool = False,
    ) -> None:
        if config.successful_response_code not in (200, 201, 204):
            raise InvalidProperty("successful_response_code", "expected 200, 201 or 204")
        if config.http2:
            raise InvalidProperty("http2", "is not implemented by the embedded engine; only off is")
        self._config = config
        self._context = context
        self._take = take
        self._headers = headers
        self._has_health = has_health
        self._limit = config.server_buffer_max_size or config.buffer_max_size
        self._most = config.server_max_connections or config.max_connections
        self._connected = 0
        self.listener = Listener(Address(kind="stream", host=config.listen, port=port), config, context)

    async def run(self, inlet: Inlet) -> None:
        """Serve until cancelled."""
        await self.listener.serve(lambda connection: self._serve(connection, inlet))

    def plain(self, request: Request) -> bytes:
        """The body, uncompressed. Raises ValueError."""
        encoding = request.headers.get("content-encoding", "").lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            return inflate(request.body, self._limit * _MOST_INFLATED, gzip=encoding != "deflate")
        if encoding in ("zstd", "snappy", "br", "zlib"):
            raise Refusal(415, f"Content-Encoding {encoding} is not implemented by the embedded engine")
        return request.body

    async def _serve(self, connection: Connection, inlet: Inlet) -> None:
        self._connected += 1
        writer, idle = connection.writer, self._config.idle_timeout or None
        try:
            if self._most and self._connected > self._most:
                raise BadRequest(503, "error: too many connections")
            while request := await read_request(connection.reader, writer, limit=self._limit, idle=idle):
                await self._answer(request, writer, inlet)
                if not request.keep:
                    break
        except BadRequest as error:
            self._context.log.warning("%s: %s", connection.peer, error)
            writer.write(response(error.status, f"{error}\n".encode(), keep=False))
            await writer.drain()
        finally:
            self._connected -= 1

    async def _answer(self, request: Request, writer: asyncio.StreamWriter, inlet: Inlet) -> None:
        """Answer as soon as the records are taken, though the engine may then be full."""
        config = self._config
        try:
            if self._has_health and request.method == "GET" and request.path == "/health":
                writer.write(response(200, b'{"status": "ok"}\n', keep=request.keep))
                return
            if inlet.is_paused:
                writer.write(response(503, b"error: the input is paused\n", [("Retry-After", "1")], keep=request.keep))
                return
            batches = self._take(request)
        except ValueError as error:
            self._context.log.warning("a request is refused: %s", error)
            status = error.status if isinstance(error, Refusal) else 400
            writer.write(response(status, f"error: {error}\n".encode(), keep=request.keep))
            return
        taking = asyncio.gather(*(inlet.push(batch) for batch in batches))
        try:
            await asyncio.sleep(0)
            if not taking.done() or taking.exception() is None:
                success = config.successful_response_code
                writer.write(response(success, headers=self._headers, keep=request.keep))
                await writer.drain()
        finally:
            await taking
