"""Input `http`: records posted as JSON or as a form. The answer says that they are taken: in memory, or on disk where
`storage.type` is filesystem. While the input is paused, requests are refused with 503, and nothing of them is taken.

The tag is the value of `tag_key` in a record, else the path of the request, else the instance's own.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from agent.engine.config import BOOLEAN, INTEGER, PAIR, SIZE, STRING, TIME, InvalidProperty, option
from agent.engine.http_requests import BadRequest, Request, read_request, response
from agent.engine.inflate import inflate
from agent.engine.listening import STREAM_REFUSED, Connection, Listener, StreamOptions
from agent.engine.payload import JsonSplitter
from agent.engine.plugin import Context, Inlet
from agent.engine.record import Batch, Record
from agent.engine.registry import inputs
from agent.engine.sockets import Address

_TYPES = ("application/json", "application/x-www-form-urlencoded")
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOST_INFLATED = 8
"""How many times `buffer_max_size` a compressed body may hold."""
REFUSED = (
    *STREAM_REFUSED,
    "http_server.buffer_chunk_size",
    "http_server.http2",
    "http_server.workers",
    "http_server.ingress_queue_event_limit",
    "http_server.ingress_queue_byte_limit",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpInputConfig(StreamOptions):
    """What the http input takes."""

    port: int = option(INTEGER, 9880, help="port to listen on")
    tag_key: str | None = option(STRING, help="key of a record that has its tag")
    successful_response_code: int = option(INTEGER, 201, help="status of an answer that all is taken: 200, 201 or 204")
    success_header: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a header of such an answer")
    buffer_max_size: int = option(SIZE, 4_000_000, help="longest body of a request")
    buffer_chunk_size: int = option(SIZE, 512_000, help="taken for compatibility; has no effect here")
    server_buffer_max_size: int | None = option(SIZE, name="http_server.buffer_max_size", help="as buffer_max_size")
    max_connections: int = option(INTEGER, 0, help="connections at once; 0 means any number")
    server_max_connections: int = option(INTEGER, 0, name="http_server.max_connections", help="as max_connections")
    idle_timeout: float = option(TIME, 10, name="http_server.idle_timeout", help="longest wait for a client; 0 is any")
    http2: bool = option(BOOLEAN, False, help="taken where it is off; HTTP/2 is not implemented")
    add_remote_addr: bool = option(BOOLEAN, False, help="add the client of header X-Forwarded-For to records")
    remote_addr_key: str = option(STRING, "REMOTE_ADDR", help="key for it")
    enable_health_endpoint: bool = option(BOOLEAN, False, help="answer GET /health")


@inputs.register("http", HttpInputConfig, refused=REFUSED)
class HttpInput:
    """Takes records by HTTP."""

    def __init__(self, config: HttpInputConfig, context: Context) -> None:
        if config.successful_response_code not in (200, 201, 204):
            raise InvalidProperty("successful_response_code", "expected 200, 201 or 204")
        if config.http2:
            raise InvalidProperty("http2", "is not implemented by the embedded engine; only off is")
        for name, value in config.success_header:
            if not name.isascii() or any(c in name for c in "\r\n: ") or any(c in value for c in "\r\n"):
                raise InvalidProperty("success_header", f"{name!r} is not a header")
        self._config = config
        self._context = context
        self._limit = config.server_buffer_max_size or config.buffer_max_size
        self._most = config.server_max_connections or config.max_connections
        self._connected = 0
        self.listener = Listener(Address(kind="stream", host=config.listen, port=config.port), config, context)

    @property
    def listens_on(self) -> str | None:
        return self.listener.address.claim

    async def open(self) -> None:
        await self.listener.open()

    async def run(self, inlet: Inlet) -> None:
        await self.listener.serve(lambda connection: self._serve(connection, inlet))

    async def close(self) -> None:
        await self.listener.close()

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
            if config.enable_health_endpoint and request.method == "GET" and request.path == "/health":
                writer.write(response(200, b'{"status": "ok"}\n', keep=request.keep))
                return
            if inlet.is_paused:
                writer.write(response(503, b"error: the input is paused\n", [("Retry-After", "1")], keep=request.keep))
                return
            batches = self._batches(request)
        except ValueError as error:
            self._context.log.warning("a request is refused: %s", error)
            status = error.status if isinstance(error, _Refusal) else 400
            writer.write(response(status, f"error: {error}\n".encode(), keep=request.keep))
            return
        taking = asyncio.gather(*(inlet.push(batch) for batch in batches))
        try:
            await asyncio.sleep(0)
            if not taking.done() or taking.exception() is None:
                success = config.successful_response_code
                writer.write(response(success, headers=config.success_header, keep=request.keep))
                await writer.drain()
        finally:
            await taking

    def _batches(self, request: Request) -> list[Batch]:
        """The records of a request by tag. Raises ValueError, and then none of them is taken."""
        if request.method != "POST":
            raise ValueError("invalid HTTP method")
        kind = request.headers.get("content-type", "").lower()
        if not kind:
            raise ValueError("header 'Content-Type' is not set")
        if not kind.startswith(_TYPES):
            raise ValueError("invalid 'Content-Type'")
        body = self._plain(request)
        if not body:
            raise ValueError("no payload found")
        records = _of_json(body) if kind.startswith(_TYPES[0]) else [_of_form(body)]
        client = request.headers.get("x-forwarded-for", "").partition(",")[0].strip()
        path = request.path.partition("?")[0].removeprefix("/")
        usual = _NOT_IN_TAG.sub("_", path) or self._context.tag
        now, batches = self._context.clock(), dict[str, Batch]()
        for record in records:
            if self._config.add_remote_addr and client:
                record.setdefault(self._config.remote_addr_key, client)
            own = record.get(self._config.tag_key) if self._config.tag_key else None
            tag = _NOT_IN_TAG.sub("_", own) if isinstance(own, str) and own else usual
            batch = batches.setdefault(tag, Batch(tag))
            batch.times.append(now)
            batch.records.append(record)
        for batch in batches.values():
            batch.size = len(body) * len(batch) // len(records)
        return list(batches.values())

    def _plain(self, request: Request) -> bytes:
        encoding = request.headers.get("content-encoding", "").lower()
        if encoding in ("gzip", "x-gzip", "deflate"):
            return inflate(request.body, self._limit * _MOST_INFLATED, gzip=encoding != "deflate")
        if encoding in ("zstd", "snappy", "br", "zlib"):
            raise _Refusal(415, f"Content-Encoding {encoding} is not implemented by the embedded engine")
        return request.body


class _Refusal(ValueError):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def _of_json(body: bytes) -> list[Record]:
    splitter = JsonSplitter()
    values, fault = splitter.feed(body)
    if fault or splitter.pending:
        raise ValueError("unable to process records")
    found = [record for value in values for record in (value if isinstance(value, list) else [value])]
    return [record for record in found if isinstance(record, dict)]


def _of_form(body: bytes) -> Record:
    record: Record = {}
    for item in body.decode("utf-8", "replace").split("&"):
        key, equals, value = item.removeprefix("\n").partition("=")
        if key and equals:
            record[key.strip()] = _decoded(value.strip())
    if not record:
        raise ValueError("unable to process records")
    return record


def _decoded(text: str) -> str:
    """A value of a form; one with a broken escape stays as it is."""
    if _BAD_ESCAPE.search(text):
        return text
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")
