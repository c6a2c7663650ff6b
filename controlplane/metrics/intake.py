"""What agents report: checked, given the agent and its labels, and handed to the store; acknowledged when that has it.

A point that is refused is counted by its reason and acknowledged with the others, since it would be refused again. What
the store does not take is not acknowledged: the agent keeps it and is told when to come again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from math import isfinite
from typing import NamedTuple
from zlib import crc32

import structlog

from controlplane.metrics.buffer import Buffer, NotStoredError
from controlplane.metrics.cleaning import check_time, check_value, series_of
from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.vocabulary import Block, Layout, Series
from controlplane.view import AgentView, View
from headrace import messages
from headrace.errors import InvalidError
from headrace.messages import ReportRequest, ReportResponse

MOST_SERIES = 5_000
"""Of one agent within an hour."""
_MOST_KNOWN = 256
"""Sets of series of one agent."""
_UNKNOWN_RETRY_S = 1.0
_PATIENCE_S = 30.0
"""How long a report may wait for a store that is slow."""

log = structlog.get_logger(__name__)


class _Known(NamedTuple):
    """What became of the series of some samples."""

    defined: tuple[messages.Series, ...]
    """Kept, so that its identity is nobody else's."""
    layout: Layout
    taken: tuple[int, ...] | None
    """Which of the values belong to the layout; None: all."""
    refused: Mapping[str, int]


class _Source:
    """What is known of one agent's series since the hour began; another view of the agent begins anew."""

    __slots__ = ("agent", "hour", "known", "series", "told")

    def __init__(self, agent: AgentView, hour: int) -> None:
        self.agent = agent
        self.hour = hour
        self.known: dict[tuple[int, tuple[int, ...]], _Known] = {}
        """By the identity of a stream's own definitions, and the ids of the samples."""
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
        blocks = self._blocks(agent_id, request)
        try:
            async with asyncio.timeout(self._patience_s):
                await self._buffer.put(blocks)
        except NotStoredError as error:
            return self._answer(retry_after_s=error.retry_after_s)
        except TimeoutError:
            return self._answer(retry_after_s=self._patience_s)
        return self._answer(stored=request.sequence)

    def _answer(self, *, stored: int = 0, retry_after_s: float = 0.0) -> ReportResponse:
        return ReportResponse(stored=stored, retry_after_ms=round(retry_after_s * 1000), at=self._clock())

    def _blocks(self, agent_id: str, request: ReportRequest) -> list[Block]:
        source = self._source(agent_id)
        now_ms = round(self._clock().timestamp() * 1000)
        refused: Counter[str] = Counter()
        blocks: list[Block] = []
        for samples in request.samples:
            at_ms = round(samples.at.timestamp() * 1000)
            try:
                check_time(at_ms, now_ms=now_ms)
            except InvalidError as error:
                refused[error.message] += len(samples.values)
                continue
            known = self._known(source, agent_id, request.series, samples.series)
            refused.update(known.refused)
            values = samples.values
            if known.taken is not None:
                values = tuple([values[index] for index in known.taken])
            if all(map(isfinite, values)):
                blocks.append(Block(known.layout, at_ms, values))
            else:
                blocks.append(_finite(Block(known.layout, at_ms, values), refused))
        self._count(agent_id, source, refused)
        return blocks

    def _source(self, agent_id: str) -> _Source:
        now = int(self._clock().timestamp())
        if now // 3600 != self._hour:
            self._hour = now // 3600
            self._sources = {id: source for id, source in self._sources.items() if source.hour >= self._hour - 1}
        # An hour of its own for each agent, since what is known of a whole fleet is not made anew in one moment.
        hour = (now + crc32(agent_id.encode()) % 3600) // 3600
        agent = self._view.agents[agent_id]
        source = self._sources.get(agent_id)
        if source is None or source.agent is not agent or source.hour != hour:
            source = self._sources[agent_id] = _Source(agent, hour)
        return source

    def _known(
        self, source: _Source, agent_id: str, defined: tuple[messages.Series, ...], ids: tuple[int, ...]
    ) -> _Known:
        key = (id(defined), ids)
        known = source.known.get(key)
        if known is None:
            if len(source.known) >= _MOST_KNOWN:  # a stream that defines without end
                source.known.clear()
            known = source.known[key] = self._laid_out(source, agent_id, defined, ids)
        return known

    def _laid_out(
        self, source: _Source, agent_id: str, defined: tuple[messages.Series, ...], ids: tuple[int, ...]
    ) -> _Known:
        by_id = {series.id: series for series in defined}
        checked = {id: self._checked(source, agent_id, by_id[id]) for id in dict.fromkeys(ids)}
        series = [found for id in ids if (found := checked[id][0]) is not None]
        refused = Counter(checked[id][1] for id in ids if checked[id][0] is None)
        taken = tuple([index for index, id in enumerate(ids) if checked[id][0] is not None]) if refused else None
        return _Known(defined, Layout(series), taken, refused)

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


def _finite(block: Block, refused: Counter[str]) -> Block:
    """What is left of it where some values are no numbers."""
    kept: list[tuple[Series, float]] = []
    for series, value in zip(block.layout.series, block.values, strict=True):
        try:
            check_value(value)
        except InvalidError as error:
            refused[error.message] += 1
        else:
            kept.append((series, value))
    return Block(Layout(series for series, _ in kept), block.at_ms, [value for _, value in kept])
