"""Output `vivo_exporter`: keeps the newest chunks for whoever comes and reads them over HTTP.

`/api/v1/logs`, `/api/v1/metrics` and `/api/v1/traces` give the JSON of each chunk of that signal, and in headers which
ids these are and which comes next. `from` and `to` (ids, both included) and `limit` choose among them; Fluent Bit 5.1.1
does not look at these. The oldest go when there is no room. A chunk is delivered when it is kept, read or not. What is
kept belongs to the address: it stays over a reload.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from agent.engine.config import BOOLEAN, INTEGER, SIZE, STRING, InvalidProperty, option
from agent.engine.encode import json_text
from agent.engine.http_server import JSON, PAGE_REFUSED, HttpServer, Reply
from agent.engine.plugin import Context, PluginError, Result
from agent.engine.points_document import points_documents
from agent.engine.record import Batch, Record, Signal
from agent.engine.registry import outputs
from agent.engine.spans import as_document
from agent.engine.upstream import REFUSED, check_headers

_REFUSED = (*REFUSED, *PAGE_REFUSED, "net.connect_timeout", "net.keepalive")
_SIGNALS: tuple[Signal, ...] = ("logs", "metrics", "traces")


@dataclass(frozen=True, slots=True, kw_only=True)
class VivoExporterConfig:
    """What the vivo_exporter output takes."""

    host: str = option(STRING, "0.0.0.0", help="address to listen on")
    port: int = option(INTEGER, 2025, help="port to listen on")
    stream_queue_size: int = option(SIZE, 20_000_000, help="bytes of chunks that are kept")
    empty_stream_on_read: bool = option(BOOLEAN, False, help="forget what was read")
    http_cors_allow_origin: str | None = option(STRING, help="whose pages may read from a browser; * for all")


class Queue:
    """The newest entries, numbered from 0 on; pure."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.next_id = 0
        self._entries: deque[tuple[int, bytes]] = deque()
        self._size = 0

    def append(self, data: bytes) -> None:
        """Keep one more; the oldest make room for it. One that is larger than the limit is kept alone."""
        while self._entries and self._size + len(data) > self.limit:
            self._size -= len(self._entries.popleft()[1])
        self._entries.append((self.next_id, data))
        self._size += len(data)
        self.next_id += 1

    def read(self, *, first: int = 0, last: int | None = None, limit: int = 0) -> list[tuple[int, bytes]]:
        """Entries from id `first` to `last`, both included, at most `limit` where it is above 0."""
        found = [entry for entry in self._entries if first <= entry[0] and (last is None or entry[0] <= last)]
        return found[:limit] if limit > 0 else found

    def forget(self, last: int) -> None:
        """Drop what is up to that id."""
        while self._entries and self._entries[0][0] <= last:
            self._size -= len(self._entries.popleft()[1])


class _Page:
    """What one address shows."""

    def __init__(self) -> None:
        self.queues = {f"/api/v1/{signal}": Queue(0) for signal in _SIGNALS}
        self.forgets = False
        self.holders = 0
        self.server = HttpServer(self._answer)

    def close(self) -> None:
        self.server.close()

    async def _answer(self, method: str, target: str, _content: bytes) -> Reply:
        path, _, query = target.partition("?")
        if path == "/":
            return 200, "text/plain", b"Fluent Bit Vivo Exporter\n"
        if path not in self.queues:
            return 404, JSON, b""
        if method == "OPTIONS":
            return 200, JSON, b"", self._headers()
        if method not in ("GET", "HEAD"):
            return 405, JSON, b""
        try:
            asked = {name: _id(name, text) for name, text in parse_qsl(query, keep_blank_values=True)}
        except ValueError as error:
            return 400, JSON, json_text({"error": str(error)}), self._headers()
        return self._entries(self.queues[path], asked, forget=self.forgets and method == "GET")

    def _entries(self, queue: Queue, asked: dict[str, int], *, forget: bool) -> Reply:
        found = queue.read(first=asked.get("from", 0), last=asked.get("to"), limit=asked.get("limit", 0))
        headers = {**self._headers(), "vivo-stream-next-id": str(queue.next_id)}
        if found:
            headers |= {"vivo-stream-start-id": str(found[0][0]), "vivo-stream-end-id": str(found[-1][0])}
            if forget:
                queue.forget(found[-1][0])
        return 200, JSON, b"".join([data for _, data in found]), headers

    def _headers(self) -> dict[str, str]:
        origin = self.server.allow_origin
        if origin is None:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "Origin, X-Requested-With, Content-Type, Accept",
            "Access-Control-Expose-Headers": "vivo-stream-start-id, vivo-stream-end-id, vivo-stream-next-id",
        }


@outputs.register("vivo_exporter", VivoExporterConfig, refused=_REFUSED, signals=_SIGNALS)
class VivoExporter:
    """Keeps the newest records for a live view."""

    def __init__(self, config: VivoExporterConfig, context: Context) -> None:
        if not 0 <= config.port < 65536:
            raise InvalidProperty("port", "expected a port from 0 to 65535")
        if config.stream_queue_size < 0:
            raise InvalidProperty("stream_queue_size", "expected a size")
        if config.http_cors_allow_origin is not None:
            check_headers([("Access-Control-Allow-Origin", config.http_cors_allow_origin)])
        self._config = config
        self._context = context
        self._key = ("vivo_exporter", config.host, config.port)
        self._page: _Page | None = None

    async def open(self) -> None:
        config = self._config
        page = self._context.resources.acquire(self._key, _Page)
        try:
            if not page.server.is_listening:
                await page.server.listen(config.host, config.port)
        except OSError as error:
            self._context.resources.release(self._key)
            raise PluginError(f"cannot listen on {config.host}:{config.port}: {error.strerror or error}") from error
        page.holders += 1
        for queue in page.queues.values():
            queue.limit = config.stream_queue_size
        page.forgets = config.empty_stream_on_read
        page.server.allow_origin = config.http_cors_allow_origin
        self._page = page
        self._context.log.info("listening on %s:%d", config.host, page.server.port)

    async def write(self, batch: Batch) -> Result:
        assert self._page is not None
        escape = self._context.escape_unicode
        entry = b"".join(
            json_text(document, escape_unicode=escape) + b"\n" for document in _DOCUMENTS[batch.signal](batch)
        )
        self._page.queues[f"/api/v1/{batch.signal}"].append(entry)
        return Result.OK

    async def close(self) -> None:
        if self._page is not None:
            page, self._page = self._page, None
            page.holders -= 1
            self._context.resources.release(self._key)
            if not page.holders:
                await page.server.closed()

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._page is not None
        return self._page.server.port


def _records_document(batch: Batch) -> Iterable[Record]:
    metadata = batch.metadata or [{} for _ in batch.records]
    records = [
        [[when, about], record] for when, about, record in zip(batch.times, metadata, batch.records, strict=True)
    ]
    plugin, name = batch.origin
    return [{"source_type": plugin, "source_name": name, "tag": batch.tag, "records": records}]


_DOCUMENTS: dict[Signal, Callable[[Batch], Iterable[Record]]] = {
    "logs": _records_document,
    "metrics": points_documents,
    "traces": lambda batch: [as_document(batch)],
}
"""What a chunk of each signal is on a page."""


def _id(name: str, text: str) -> int:
    if name not in ("from", "to", "limit"):
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ValueError(f"{name}={text} is not a number from 0 on")
    return int(text)
