"""What agents report: checked, given the agent and its labels, and handed to the store; acknowledged when that has it.

A point that is refused is counted by its reason and acknowledged with the others, since it would be refused again. What
the store does not take is not acknowledged: the agent keeps it and is told when to come again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from controlplane.metrics.buffer import Buffer, NotStoredError
from controlplane.metrics.cleaning import check_time, check_value, series_of
from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.vocabulary import Point, Series
from controlplane.view import AgentView, View
from headrace import messages
from headrace.errors import InvalidError
from headrace.messages import ReportRequest, ReportResponse

MOST_SERIES = 5_000
"""Of one agent within an hour."""
_UNKNOWN_RETRY_S = 1.0
_PATIENCE_S = 30.0
"""How long a report may wait for a store that is slow."""

log = structlog.get_logger(__name__)


class _Source:
    """What is known of one agent's series since the hour began; another view of the agent begins anew."""

    __slots__ = ("agent", "cleaned", "hour", "series", "told")

    def __init__(self, agent: AgentView, hour: int) -> None:
        self.agent = agent
        self.hour = hour
        self.cleaned: dict[int, tuple[messages.Series, Series | None, str]] = {}
        """By the identity of a stream's own definition, which is kept, so that no other has it."""
        self.series: set[Series] = set()
        self.told: set[str] = set()


class MetricIntake:
    """One for each control plane; calls may be concurrent, from one event loop."""

    def __init__(
        self,
        buffer: Buffer,
        *,
        view: View,
        meters: MetricMeters,
        labels: Collection[str],
        clock: Callable[[], datetime],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._buffer = buffer
        self._view = view
        self._meters = meters
        self._labels = tuple(labels)
        self._clock = clock
        self._patience_s = patience_s
        self._sources: dict[str, _Source] = {}
        self._hour = 0

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        """Answers when everything is stored, or with when to come again."""
        if agent_id not in self._view.agents:  # enrolled a moment ago: its labels are on their way
            return self._answer(retry_after_s=_UNKNOWN_RETRY_S)
        points = self._points(agent_id, request)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._buffer.put(points)
        except NotStoredError as error:
            return self._answer(retry_after_s=error.retry_after_s)
        except TimeoutError:
            return self._answer(retry_after_s=self._patience_s)
        return self._answer(stored=request.sequence)

    def _answer(self, *, stored: int = 0, retry_after_s: float = 0.0) -> ReportResponse:
        return ReportResponse(stored=stored, retry_after_ms=round(retry_after_s * 1000), at=self._clock())

    def _points(self, agent_id: str, request: ReportRequest) -> list[Point]:
        source = self._source(agent_id)
        by_id = {series.id: series for series in request.series}
        now_ms = round(self._clock().timestamp() * 1000)
        refused: Counter[str] = Counter()
        points: list[Point] = []
        for samples in request.samples:
            at_ms = round(samples.at.timestamp() * 1000)
            try:
                check_time(at_ms, now_ms=now_ms)
            except InvalidError as error:
                refused[error.message] += len(samples.values)
                continue
            for id, value in zip(samples.series, samples.values, strict=True):
                series, why = self._clean(source, agent_id, by_id[id])
                if series is None:
                    refused[why] += 1
                    continue
                try:
                    check_value(value)
                except InvalidError as error:
                    refused[error.message] += 1
                    continue
                points.append(Point(series, at_ms, value))
        self._count(agent_id, source, refused)
        return points

    def _source(self, agent_id: str) -> _Source:
        hour = int(self._clock().timestamp()) // 3600
        if hour != self._hour:
            self._hour = hour
            self._sources = {id: source for id, source in self._sources.items() if source.hour >= hour - 1}
        agent = self._view.agents[agent_id]
        source = self._sources.get(agent_id)
        if source is None or source.agent is not agent or source.hour != hour:
            source = self._sources[agent_id] = _Source(agent, hour)
        return source

    def _clean(self, source: _Source, agent_id: str, defined: messages.Series) -> tuple[Series | None, str]:
        known = source.cleaned.get(id(defined))
        if known is None:
            if len(source.cleaned) > 4 * MOST_SERIES:  # a stream that defines without end
                source.cleaned.clear()
            known = source.cleaned[id(defined)] = (defined, *self._checked(source, agent_id, defined))
        return known[1], known[2]

    def _checked(self, source: _Source, agent_id: str, defined: messages.Series) -> tuple[Series | None, str]:
        try:
            series = series_of(
                defined.name, defined.tags, agent_id=agent_id, labels=source.agent.labels, allowed=self._labels
            )
        except InvalidError as error:
            return None, error.message
        if series not in source.series and len(source.series) >= MOST_SERIES:
            return None, "more series than an agent may have"
        source.series.add(series)
        return series, ""

    def _count(self, agent_id: str, source: _Source, refused: Counter[str]) -> None:
        for reason, count in refused.items():
            self._meters.refuse(reason, count)
            if reason not in source.told:  # once an hour is enough
                source.told.add(reason)
                log.warning("metrics of an agent refused", agent=agent_id, why=reason, points=count)
