"""Fluent Bit's monitoring API: health, metrics, storage, plugins, hot reload, traces.

Same paths, fields and metric names as Fluent Bit's; `/api/v2/reload` adds what its API cannot say: whether the new
configuration runs (`result`), why not (`error`), and which one does (`sha256` of the configuration file).
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from agent.engine import exposition, registry, trace_api
from agent.engine.http_server import JSON, TEXT, HttpServer, Reply
from agent.engine.version import FOLLOWS

if TYPE_CHECKING:
    from agent.engine.engine import Engine


class Monitor:
    """The HTTP server of one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._server = HttpServer(self._answer)
        self._routes: dict[str, Callable[[], Reply]] = {
            "/": self._about,
            "/api/v1/uptime": self._uptime,
            "/api/v1/health": self._health,
            "/api/v2/health": self._health_detail,
            "/api/v1/metrics": lambda: _json(exposition.as_json(engine)),
            "/api/v1/metrics/prometheus": lambda: (200, TEXT, exposition.as_prometheus_v1(engine).encode()),
            "/api/v2/metrics": lambda: (200, TEXT, exposition.as_prometheus(engine).encode()),
            "/api/v2/metrics/prometheus": lambda: (200, TEXT, exposition.as_prometheus(engine).encode()),
            "/api/v1/storage": self._storage,
            "/api/v1/plugins": self._plugins,
        }

    async def listen(self, host: str, port: int) -> None:
        """Bind and serve. Raises OSError."""
        await self._server.listen(host, port)

    @property
    def port(self) -> int:
        """The bound port."""
        return self._server.port

    async def close(self) -> None:
        """Stop listening, end every connection but one that is being answered by the caller itself."""
        self._server.close()
        await self._server.closed()

    async def _answer(self, method: str, target: str, content: bytes) -> Reply:
        path = target.partition("?")[0]
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
            return 404, JSON, b""
        return route() if method in ("GET", "HEAD") else (405, JSON, b"")

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
            return 405, JSON, b""
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
            return 404, JSON, b""
        return _json(exposition.storage(self._engine))

    def _plugins(self) -> Reply:
        plugins = {
            "inputs": [plugin.name for plugin in registry.inputs],
            "filters": [plugin.name for plugin in registry.filters],
            "outputs": [plugin.name for plugin in registry.outputs],
        }
        return _json({"plugins": plugins})


def _json(body: Any, status: int = 200) -> Reply:
    return status, JSON, orjson.dumps(body)
