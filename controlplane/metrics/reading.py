"""What people ask of the metrics: names of agents and labels become tags, and the answers are told with names again.

Reads only. Where no metrics are kept, every question is answered by that in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil

from controlplane.fleet.agents import find
from controlplane.metrics import figures
from controlplane.metrics.cleaning import AGENT, KIND, PIPELINE, PLUGIN
from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.store import MetricStore
from controlplane.metrics.vocabulary import Query, Selection
from controlplane.view import View
from headrace import api, selector
from headrace.config import did_you_mean
from headrace.errors import InvalidError, UnavailableError
from headrace.limits import DEFAULT_SAMPLE_S
from headrace.names import validate_name

_WINDOW_S, _INTERVAL_S, _RANGE = 60, 5, timedelta(hours=1)
_STEPS, _SHORTEST_STEP_S = 60, 10
_LONGEST_WINDOW_S = 6 * 3600


class MetricReader:
    """Answers; safe to use from many tasks of one loop."""

    def __init__(
        self,
        store: MetricStore | None,
        *,
        view: View,
        meters: MetricMeters,
        labels: Collection[str],
        clock: Callable[[], datetime],
        sample_s: float = DEFAULT_SAMPLE_S,
        trouble: Callable[[], str] = lambda: "",
    ) -> None:
        self._store = store
        self._view = view
        self._meters = meters
        self._labels = tuple(labels)
        self._clock = clock
        # A rate needs two points of every series, and one may be late.
        self._window_s = max(_WINDOW_S, ceil(3 * sample_s))
        self._step_s = max(_SHORTEST_STEP_S, ceil(sample_s))
        self._trouble = trouble

    @property
    def summary(self) -> str:
        """Where metrics are kept and how that goes, for people."""
        if self._store is None:
            return "none: no metrics are kept"
        parts = [self._store.description]
        if trouble := self._trouble():
            parts.append(f"takes nothing now: {trouble}")
        if refused := self._meters.refused:
            reasons = ", ".join(f"{count} {why}" for why, count in sorted(refused.items()))
            parts.append(f"points refused: {reasons}")
        return "; ".join(parts)

    async def query(self, request: api.QueryMetricsRequest) -> api.QueryMetricsResponse:
        """Raises InvalidError, NotFoundError and UnavailableError."""
        store = self._kept()
        end = request.end or self._clock()
        start = request.start or end - _RANGE
        span_s = (end - start).total_seconds()
        step_s = request.step_seconds or max(self._step_s, -(-int(span_s) // _STEPS))
        default = api.Within.RATE if request.name.endswith("_total") else api.Within.LAST
        start_ms, step_ms = round(start.timestamp() * 1000), step_s * 1000
        found = await store.query(
            Query(
                selection=self._selection((request.name,) if request.name else (), request),
                start_ms=start_ms // step_ms * step_ms if not request.start else start_ms,
                end_ms=round(end.timestamp() * 1000),
                step_ms=step_ms,
                within=request.within or default,
                across=request.across,
                by=self._by(request.by),
            )
        )
        lines = (
            api.MetricLine(
                tags=self._named(line.tags),
                points=tuple(api.MetricPoint(at=_moment(at_ms), value=value) for at_ms, value in line.points),
            )
            for line in found
        )
        return api.QueryMetricsResponse(lines=tuple(lines))

    async def latest(self, request: api.LatestMetricsRequest) -> api.LatestMetricsResponse:
        """Raises InvalidError, NotFoundError and UnavailableError."""
        store = self._kept()
        window_s = request.window_seconds or self._window_s
        if window_s > _LONGEST_WINDOW_S:
            raise InvalidError(f"the window of figures is at most {_LONGEST_WINDOW_S} seconds")
        by = self._by(request.by)
        since_ms = round(self._clock().timestamp() * 1000) - window_s * 1000
        found = await store.latest(self._selection(figures.NAMES, request), since_ms=since_ms)
        # In a thread: those of a large fleet take seconds, and control must go on.
        groups = await asyncio.to_thread(figures.groups, found, by, labels=self._labels)
        told = (
            api.Figures(tags=self._named(group.tags), at=_moment(group.at_ms), values=group.values) for group in groups
        )
        return api.LatestMetricsResponse(figures=tuple(told))

    async def watch(self, request: api.WatchMetricsRequest) -> AsyncIterator[api.WatchMetricsResponse]:
        """Figures now, and then at every interval."""
        once = api.LatestMetricsRequest(
            pipeline=request.pipeline,
            agent=request.agent,
            plugin=request.plugin,
            selector=request.selector,
            by=request.by,
            window_seconds=request.window_seconds,
        )
        while True:
            yield api.WatchMetricsResponse(figures=(await self.latest(once)).figures)
            await asyncio.sleep(request.interval_seconds or _INTERVAL_S)

    def _kept(self) -> MetricStore:
        if self._store is None:
            raise UnavailableError(
                "this control plane keeps no metrics (--metrics none); start it with --metrics sqlite, or influxdb://…"
            )
        return self._store

    def _selection(
        self, names: tuple[str, ...], request: api.QueryMetricsRequest | api.LatestMetricsRequest
    ) -> Selection:
        selection = Selection(names=names)
        tags: dict[str, tuple[str, ...]] = {}
        if request.pipeline:
            tags[PIPELINE] = (validate_name(request.pipeline, "pipeline"),)
        if request.plugin:
            tags[PLUGIN] = (request.plugin,)
        if request.agent:
            tags[AGENT] = (find(self._view, request.agent).row.id,)
        if request.selector:
            chosen = selector.parse(request.selector)
            matching = {id for id, agent in self._view.agents.items() if chosen.matches(agent.labels)}
            tags[AGENT] = tuple(sorted(matching.intersection(tags[AGENT]) if AGENT in tags else matching))
        return replace(selection, tags=tags)

    def _by(self, by: Sequence[str]) -> tuple[str, ...]:
        known = (AGENT, PIPELINE, PLUGIN, KIND, *self._labels)
        for tag in by:
            if tag not in known:
                raise InvalidError(
                    f"metrics cannot be told by {tag!r}{did_you_mean(tag, known)}; there are {', '.join(known)}"
                )
        return tuple(by)

    def _named(self, tags: Sequence[tuple[str, str]]) -> dict[str, str]:
        named = dict(tags)
        if agent_id := named.get(AGENT):
            agent = self._view.agents.get(agent_id)
            named[AGENT] = agent.row.facts.name if agent is not None else agent_id
            named["agent_id"] = agent_id
        return named


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
