"""Output `prometheus_exporter`: a page with the newest metrics, for a Prometheus that comes and reads it.

What a source measured is shown until it measures again; what is not in its newest snapshot is shown no more. A page
belongs to its address: it stays up over a reload, and instances with the same address show theirs on one page.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.engine.config import BOOLEAN, INTEGER, PAIR, STRING, InvalidProperty, option
from agent.engine.http_server import JSON, PAGE_REFUSED, TEXT, HttpServer, Reply
from agent.engine.plugin import Context, PluginError, Result
from agent.engine.points import Series, newest, series
from agent.engine.prometheus import as_text
from agent.engine.record import Batch, Record
from agent.engine.registry import outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusExporterConfig:
    """What the prometheus_exporter output takes."""

    host: str = option(STRING, "0.0.0.0", help="address to listen on")
    port: int = option(INTEGER, 2021, help="port to listen on")
    add_timestamp: bool = option(BOOLEAN, False, help="show when each value was measured")
    add_label: tuple[tuple[str, str], ...] = option(PAIR, repeated=True, help="a label's name and value, for all")


class _Page:
    """What one address shows: the metrics of every open instance."""

    def __init__(self) -> None:
        self.shown: list[PrometheusExporter] = []
        self.server = HttpServer(self._answer)

    def close(self) -> None:
        self.server.close()

    async def _answer(self, method: str, target: str, _content: bytes) -> Reply:
        path = target.partition("?")[0]
        if path == "/":
            return 200, "text/plain", b"Fluent Bit Prometheus Exporter\n"
        if path != "/metrics":
            return 404, JSON, b""
        if method not in ("GET", "HEAD"):
            return 405, JSON, b""
        return 200, TEXT, self._text().encode()

    def _text(self) -> str:
        """The page; of one series that several sources measure, the newest value."""
        merged: dict[Series, tuple[int, Record]] = {}
        for when, one in (found for instance in self.shown for found in instance.points()):
            key = series(one)
            if key not in merged or merged[key][0] <= when:
                merged[key] = (when, one)
        return as_text(merged.values(), with_times=any(instance.shows_times for instance in self.shown))


@outputs.register("prometheus_exporter", PrometheusExporterConfig, refused=PAGE_REFUSED, signals=("metrics",))
class PrometheusExporter:
    """Shows metrics to a Prometheus that scrapes them."""

    def __init__(self, config: PrometheusExporterConfig, context: Context) -> None:
        if not 0 <= config.port < 65536:
            raise InvalidProperty("port", "expected a port from 0 to 65535")
        self._config = config
        self._context = context
        self._labels = dict(config.add_label)
        self._key = ("prometheus_exporter", config.host, config.port)
        self._page: _Page | None = None
        self._sources: dict[str, list[tuple[int, Record]]] = {}

    async def open(self) -> None:
        page = self._context.resources.acquire(self._key, _Page)
        try:
            if not page.server.is_listening:
                await page.server.listen(self._config.host, self._config.port)
        except OSError as error:
            self._context.resources.release(self._key)
            why = error.strerror or error
            raise PluginError(f"cannot listen on {self._config.host}:{self._config.port}: {why}") from error
        self._page = page
        page.shown.append(self)
        self._context.log.info("listening on %s:%d", self._config.host, page.server.port)

    async def write(self, batch: Batch) -> Result:
        for source, points in newest(batch).items():
            self._sources[source] = [(when, self._labelled(one)) for when, one in points.values()]
        return Result.OK

    async def close(self) -> None:
        if self._page is not None:
            page, self._page = self._page, None
            page.shown.remove(self)
            self._context.resources.release(self._key)
            if not page.shown:
                await page.server.closed()

    @property
    def shows_times(self) -> bool:
        return self._config.add_timestamp

    def points(self) -> Iterator[tuple[int, Record]]:
        """What each source has measured last, with its time."""
        for found in self._sources.values():
            yield from found

    def _labelled(self, one: Record) -> Record:
        return {**one, "labels": {**self._labels, **one["labels"]}} if self._labels else one
