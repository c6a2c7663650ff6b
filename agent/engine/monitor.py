"""Fluent Bit's monitoring API, on asyncio streams: health, metrics, storage, plugins, hot reload, traces.

Same paths, fields and metric names as Fluent Bit's; `/api/v2/reload` adds what its API cannot say: whether the new
configuration runs (`result`), why not (`error`), and which one does (`sha256` of the configuration file).
Serves one request per turn of a connection; bounded in header size, time and connections.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import orjson

from agent.engine import exposition, registry, trace_api
from agent.engine.version import FOLLOWS

if TYPE_CHECKING:
    from agent.engine.engine import Engine

MAX_CONNECTIONS = 100
IDLE_SECONDS = 30.0
MAX_BODY = 65536
MAX_HEADERS = 100

Reply: TypeAlias = tuple[int, str, bytes]
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
_JSON = "application/json"
_TEXT = "text/plain; version=0.0.4"


class Monitor:
    """The HTTP server of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._routes: dict[str, Callable[[], Reply]] = {
            "/": self._about,
            "/api/v1/uptime": self._uptime,
            "/api/v1/health": self._health,
            "/api/v2/health": self._health_detail,
            "/api/v1/metrics": lambda: _json(exposition.as_json(engine)),
            "/api/v1/metrics/prometheus": lambda: (200, _TEXT, exposition.as_prometheus_v1(engine).encode()),
            "/api/v2/metrics": lambda: (200, _TEXT, exposition.as_prometheus(engine).encode()),
            "/api/v2/metrics/prometheus": lambda: (200, _TEXT, exposition.as_prometheus(engine).encode()),
            "/api/v1/storage": self._storage,
            "/api/v1/plugins": self._plugins,
        }

    async def listen(self, host: str, port: int) -> None:
        """Bind and serve. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=16384)

    @property
    def port(self) -> int:
        """The bound port."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, end every connection but one that is being answered by the caller itself."""
        if self._server is not None:
            self._server.close()
        others = [task for task in self._connections if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

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
            refused = (403, _JSON, b"") if "origin" in headers else None
            status, kind, body = refused or await self._answer(method, path.partition("?")[0], content)
        else:
            status, kind, body = 413, _JSON, b""
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        writer.write(
            (head + ("\r\n" if keep else "Connection: close\r\n\r\n")).encode() + (b"" if method == "HEAD" else body)
        )
        async with asyncio.timeout(IDLE_SECONDS):
            await writer.drain()
        return keep

    async def _answer(self, method: str, path: str, content: bytes) -> Reply:
        if path == "/api/v2/reload":
            return await self._reload(method)
        engine = self._engine
        if path.startswith((trace_api.ONE, trace_api.MANY)) and engine.service.enable_chunk_trace:
            assert engine.pipeline is not None
            status, body = await trace_api.answer(
                engine.pipeline, engine.pipeline.tracer, method, unquote(path), content
            )
            return _json(body, status)
        route = self._routes.get(path)
        if route is None:
            return 404, _JSON, b""
        return route() if method in ("GET", "HEAD") else (405, _JSON, b"")

    async def _reload(self, method: str) -> Reply:
        engine = self._engine
        reloads = engine.reloads
        if method in ("GET", "HEAD"):
            return _json(
                {
                    "hot_reload_count": reloads.count,
                    "result": reloads.result,
                    "error": reloads.error,
                    "sha256": engine.sha256,
                }
            )
        if method not in ("POST", "PUT"):
            return 405, _JSON, b""
        if not engine.service.hot_reload:
            return _json({"reload": "not enabled", "status": -1})
        if engine.is_reloading:
            return _json({"reload": "in progress", "status": -2}, 400)
        await engine.reload()
        return _json(
            {
                "reload": "done",
                "status": 0,
                "result": reloads.result,
                "error": reloads.error,
                "sha256": engine.sha256,
                "hot_reload_count": reloads.count,
            }
        )

    def _about(self) -> Reply:
        return _json({"fluent-bit": {"version": FOLLOWS, "edition": "Headrace embedded engine", "flags": []}})

    def _uptime(self) -> Reply:
        seconds = int(time.monotonic() - self._engine.started)
        minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
        text = f"Fluent Bit has been running:  {days} day, {hours} hours, {minutes} minutes and {seconds % 60} seconds"
        return _json({"uptime_sec": seconds, "uptime_hr": text})

    def _look(self) -> tuple[bool, int, int]:
        parts = self._engine.pipeline.parts.outputs if self._engine.pipeline else []
        errors = sum(part.metrics.errors for part in parts)
        failed = sum(part.metrics.retries_failed for part in parts)
        return self._engine.health.look(time.monotonic(), errors, failed)

    def _health(self) -> Reply:
        healthy = self._look()[0] or not self._engine.service.health_check
        return (200, "text/plain", b"ok\n") if healthy else (500, "text/plain", b"error\n")

    def _health_detail(self) -> Reply:
        healthy, errors, failed = self._look()
        limits = self._engine.health
        body = {
            "status": "ok" if healthy else "error",
            "errors": errors,
            "retries_failed": failed,
            "error_limit": limits.error_limit,
            "retry_failure_limit": limits.retry_failure_limit,
            "period_limit": limits.period,
        }
        return _json(body, 200 if healthy else 500)

    def _storage(self) -> Reply:
        if not self._engine.service.storage_metrics:
            return 404, _JSON, b""
        return _json(exposition.storage(self._engine))

    def _plugins(self) -> Reply:
        plugins = {
            "inputs": [plugin.name for plugin in registry.inputs],
            "filters": [plugin.name for plugin in registry.filters],
            "outputs": [plugin.name for plugin in registry.outputs],
        }
        return _json({"plugins": plugins})


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(MAX_HEADERS):
        line = (await reader.readline()).decode("latin-1").strip()
        if not line:
            return headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError("too many headers")


def _json(body: Any, status: int = 200) -> Reply:
    return status, _JSON, orjson.dumps(body)
