"""One look at everything: every engine, the host and the agent, all under one time, into the spool.

Engines are asked at once, each within a deadline; one that does not answer is missing from the batch and holds up none.
Right before an engine is changed or ended it is looked at once more (`last_look`), since its counters end with it. What
counters have come to is on disk before it is in the spool, so that a killed agent's successor goes on from there.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

import structlog

from agent.counts import Counts
from agent.reporting.exposition import parse
from agent.reporting.machine import Figure, host_boot, read_host
from agent.reporting.monotone import Monotone
from agent.reporting.own import Sampling, own_figures
from agent.reporting.series import Raw, Scrape, Series, is_wanted, sort
from agent.reporting.spool import Point, Spool
from agent.runtimes import EngineLostError, Instance

log = structlog.get_logger(__name__)

MAX_POINTS = 10_000
DEADLINE_S, LAST_LOOK_S = 4.0, 1.0
AT_ONCE = 16
FILE = "seen.json"
"""What was seen of a pipeline's counters, in the folder that belongs to no content; it goes when that goes."""


class Watch:
    """What has been seen of one pipeline's counters; `lock` keeps looks at it in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = asyncio.Lock()
        self.counters = _loaded(path)

    def save(self) -> None:
        """A disk that takes nothing costs what a kill from now on would cost: an interval that is uncertain."""
        try:
            aside = self.path.with_name(f".{self.path.name}")
            aside.write_text(json.dumps(self.counters.dump()))
            os.replace(aside, self.path)
        except OSError as error:
            log.warning("counters are not on disk", path=str(self.path), reason=error.strerror)


class Sampler:
    """Looks when it is told to; `engines` are those that run and are not being changed."""

    def __init__(
        self,
        *,
        spool: Spool,
        engines: Callable[[], Mapping[str, Instance]],
        data: Callable[[str], Path],
        workloads: Callable[[], int],
        counts: Counts,
        boot: str,
        now: Callable[[], datetime],
    ) -> None:
        """`data` is the folder of a pipeline's own data; `boot` names this process."""
        self.sampling = Sampling()
        self._spool = spool
        self._engines = engines
        self._data = data
        self._workloads = workloads
        self._counts = counts
        self._boot = boot
        self._now = now
        self._watches: dict[str, Watch] = {}
        self._own = Watch(spool.folder / "agent.json")
        self._host = Watch(spool.folder / "host.json")
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def sample(self) -> None:
        """One batch of everything."""
        started, at = time.monotonic(), self._now()
        engines = self._engines()
        looks = [
            asyncio.create_task(self._in_turn(name, instance), name=f"look at {name}")
            for name, instance in engines.items()
        ]
        points: list[Point] = []
        try:
            if looks:
                done, late = await asyncio.wait(looks, timeout=DEADLINE_S)
                self.sampling.failed_scrapes += len(late)
                for look in looks:
                    if look in done:
                        points += look.result()
        finally:
            for look in looks:
                look.cancel()
            await asyncio.gather(*looks, return_exceptions=True)
        self._watches = {name: watch for name, watch in self._watches.items() if name in engines or watch.lock.locked()}
        self.sampling.seconds = time.monotonic() - started
        points += self._figures()
        self.sampling.series_dropped += max(0, len(points) - MAX_POINTS)
        self._append(at, points[:MAX_POINTS])

    async def last_look(self, pipeline: str, instance: Instance) -> None:
        """At an engine that is about to change or end; takes no longer than a change may wait."""
        try:
            async with asyncio.timeout(LAST_LOOK_S):
                self._append(self._now(), await self._look(pipeline, instance, final=True))
        except TimeoutError:
            self.sampling.failed_scrapes += 1

    def disturb(self, pipeline: str) -> None:
        """The change did not come about, or an engine ended by itself: nothing follows from the last look any more."""
        watch = self._watch(pipeline)
        watch.counters.disturb()
        watch.save()

    async def _in_turn(self, pipeline: str, instance: Instance) -> list[Point]:
        async with self._turns:
            return await self._look(pipeline, instance)

    async def _look(self, pipeline: str, instance: Instance, *, final: bool = False) -> list[Point]:
        """What an engine has counted; nothing when it does not say."""
        watch = self._watch(pipeline)
        async with watch.lock:
            try:
                text = await instance.scrape()
            except EngineLostError:
                self.sampling.failed_scrapes += 1
                return []
            exposition = parse(text, is_wanted)
            self.sampling.lines_refused += exposition.refused
            scrape = sort(exposition.samples, process=f"{instance.child.pid}-{instance.child.start_time}")
            if scrape is None:
                return []
            counters = watch.counters.take(scrape, final=final)
            watch.save()
        pipeline_tag = ("pipeline", pipeline)
        values = {**counters, **scrape.gauges}
        return [Point(series.name, (pipeline_tag, *_tags(series)), value) for series, value in values.items()]

    def _figures(self) -> Iterator[Point]:
        sampling, spool = self.sampling, self._spool
        sampling.spool_bytes, sampling.dropped = spool.size, spool.dropped
        sampling.pending = spool.last - spool.stored
        sampling.uncertain = {name: watch.counters.uncertain for name, watch in self._watches.items()}
        host = list(read_host(spool.folder))
        own = list(own_figures(self._counts, sampling, workloads=self._workloads()))
        yield from _points(host, self._host, life=host_boot())
        yield from _points(own, self._own, life=self._boot)

    def _append(self, at: datetime, points: list[Point]) -> None:
        if points:
            self._spool.append(at.replace(microsecond=at.microsecond // 1000 * 1000), points)

    def _watch(self, pipeline: str) -> Watch:
        watch = self._watches.get(pipeline)
        if watch is None:
            watch = self._watches[pipeline] = Watch(self._data(pipeline) / FILE)
        return watch


def _points(figures: Iterable[Figure], watch: Watch, *, life: str) -> Iterator[Point]:
    """Counters that began anew with the process or the host go on where they were."""
    figures = list(figures)
    raw: dict[Raw, float] = {}
    for figure in figures:
        if figure.is_counter and "pipeline" not in figure.tags:
            raw[Raw(Series(figure.name, kind=figure.tags.get("kind", "")), "")] = figure.value
    sums = watch.counters.take(Scrape(life, raw, {}))
    watch.save()
    for figure in figures:
        series = Series(figure.name, kind=figure.tags.get("kind", ""))
        yield Point(figure.name, tuple(figure.tags.items()), sums.get(series, figure.value))


def _tags(series: Series) -> Iterator[tuple[str, str]]:
    if series.plugin:
        yield "plugin", series.plugin
    if series.kind:
        yield "kind", series.kind


def _loaded(path: Path) -> Monotone:
    try:
        return Monotone.load(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Monotone()
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error("counters cannot be read and begin anew", path=str(path), reason=repr(error))
        return Monotone()
