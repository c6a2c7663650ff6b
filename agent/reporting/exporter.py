"""The agent's own metrics for Prometheus, where `--metrics` asks for them: GET /metrics, and nothing else.

A registry of its own over the same figures that go to the control plane's store; each request reads them anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.errors import AgentError
from agent.reporting.machine import Figure
from headrace.security import parse_address

_PATIENCE_S = 5.0
_LARGEST_HEAD = 8 << 10


class ExporterError(AgentError):
    """The agent's own metrics cannot be served."""

    code = "conflict"


class OwnFigures(Collector):
    """Figures as Prometheus has them: those of one name are one family."""

    def __init__(self, figures: Callable[[], Iterable[Figure]]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """As they are now."""
        families: dict[str, Metric] = {}
        for figure in self._figures():
            family = families.get(figure.name)
            if family is None:
                family = families[figure.name] = _family(figure)
            family.add_metric(list(figure.tags.values()), figure.value)  # type: ignore[attr-defined]  # of both kinds
        yield from families.values()


class Exporter:
    """An async context manager: bound after enter, gone after exit. Raises ExporterError and InvalidError."""

    def __init__(self, address: str, figures: Callable[[], Iterable[Figure]]) -> None:
        self._address = parse_address(address if ":" in address else f"127.0.0.1:{address}")
        self._registry = CollectorRegistry()
        self._registry.register(OwnFigures(figures))
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """host:port, as bound."""
        host, port = self._address.host, self._address.port
        return f"{host}:{self._server.sockets[0].getsockname()[1] if self._server else port}"

    async def __aenter__(self) -> Self:
        host, port = self._address.host, self._address.port
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_LARGEST_HEAD)
        except OSError as error:
            raise ExporterError(f"--metrics cannot listen on {self._address}: {error.strerror or error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] != b"GET":
            status, body = "405 Method Not Allowed", b"only GET\n"
        elif words[1].partition(b"?")[0] != b"/metrics":
            status, body = "404 Not Found", b"there is /metrics here\n"
        else:
            status, body = "200 OK", generate_latest(self._registry)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        lines = (f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close")
        return "\r\n".join((*lines, "", "")).encode() + body


def _family(figure: Figure) -> Metric:
    labels = list(figure.tags)
    if figure.is_counter:
        return CounterMetricFamily(figure.name, figure.text, labels=labels)
    return GaugeMetricFamily(figure.name, figure.text, labels=labels)
