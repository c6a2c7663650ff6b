"""Measures while a control plane wants metrics, and keeps them until its store has them: the agent's `Backlog`.

Light until then: what reads, keeps and sends numbers is imported when a Welcome first says that there is a metric
store. From then on it goes on without the control plane, also after a restart, until a Welcome says that there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.counts import Counts
from agent.runtimes import Instance
from headrace.limits import DEFAULT_SAMPLE_S, LONGEST_SAMPLE_S, SHORTEST_SAMPLE_S
from headrace.messages import ReportRequest

if TYPE_CHECKING:
    from agent.reporting.machine import Figure
    from agent.reporting.own import Sampling
    from agent.reporting.sampler import Sampler
    from agent.reporting.spool import Spool

log = structlog.get_logger(__name__)

MOST_PENDING, MOST_BYTES = 64, 256 << 10
"""So much of what waits goes in one request."""


class Reporter:
    """`run` it in a task of its own; everything else may be called before it runs and after it was cancelled."""

    def __init__(
        self,
        folder: Path,
        *,
        interval: float | None,
        spool_bytes: int,
        counts: Counts,
        boot: str,
        now: Callable[[], datetime],
    ) -> None:
        """`folder` is the agent's data folder; an `interval` of 0 seconds measures nothing, ever, None as often as the
        control plane says."""
        self.engines: Callable[[], Mapping[str, Instance]] = dict
        """Those that run and are not being changed."""
        self.data: Callable[[str], Path] = folder.joinpath
        """The folder of a pipeline's own data."""
        self.workloads: Callable[[], int] = int
        self._spool_folder = folder / "spool"
        self._is_own = interval is not None
        self._interval = DEFAULT_SAMPLE_S if interval is None else interval
        self._spool_bytes = spool_bytes
        self._counts = counts
        self._boot = boot
        self._now = now
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._retimed = asyncio.Event()
        self._sampler: Sampler | None = None
        self._spool: Spool | None = None

    def welcome(self, metrics: bool, interval_s: float = 0.0) -> None:
        """Whether the control plane has a metric store, and how often it wants to have something for it."""
        if not self._interval:
            return
        if interval_s and not self._is_own:
            interval_s = min(max(interval_s, SHORTEST_SAMPLE_S), LONGEST_SAMPLE_S)
            if interval_s != self._interval:
                log.info("metrics are measured at another interval", interval_s=interval_s)
                self._interval = interval_s
                self._retimed.set()
        off = self._spool_folder / "off"
        if metrics:
            with contextlib.suppress(OSError):
                off.unlink(missing_ok=True)
            self._wanted.set()
        elif self._wanted.is_set():
            with contextlib.suppress(OSError):
                off.touch()
            self._wanted.clear()

    async def run(self) -> None:
        """Until cancelled."""
        if not self._interval:
            return
        if self._spool_folder.is_dir() and not (self._spool_folder / "off").exists():
            self._wanted.set()
        await self._wanted.wait()
        sampler = self._begin()
        began = asyncio.get_running_loop().time()
        while sampler is not None:
            await self._wanted.wait()
            try:
                await sampler.sample()
            except Exception:
                log.exception("a look at the metrics failed by a defect")
            began = await self._until_due(began)

    @property
    def interval_s(self) -> float:
        """How often is measured now; 0 is never."""
        return self._interval

    @property
    def sampling(self) -> Sampling | None:
        """How measuring goes; None while it does not."""
        return self._sampler.sampling if self._sampler is not None else None

    def own_figures(self) -> Iterable[Figure]:
        """The agent's figures about itself, whether anything is measured or not."""
        from agent.reporting.own import Sampling, own_figures

        return own_figures(self._counts, self.sampling or Sampling(), workloads=self.workloads())

    # What happens to engines.

    async def before_end(self, pipeline: str, instance: Instance) -> None:
        """An engine is about to be changed or ended."""
        if self._sampler is not None and self._wanted.is_set():
            await self._sampler.last_look(pipeline, instance)

    def disturb(self, pipeline: str) -> None:
        """It was not, or it ended by itself."""
        if self._sampler is not None:
            self._sampler.disturb(pipeline)

    # The backlog of the channel; see `headrace.client.Backlog`.

    def pending(self) -> Sequence[ReportRequest]:
        spool = self._spool
        return spool.read(spool.stored, most=MOST_PENDING, size=MOST_BYTES) if spool is not None else ()

    async def arrived(self) -> None:
        await self._ready.wait()
        assert self._spool is not None
        while self._spool.last <= self._spool.stored:
            self._spool.appended.clear()
            await self._spool.appended.wait()

    def acknowledge(self, sequence: int) -> None:
        if self._spool is not None:
            self._spool.acknowledge(sequence)

    def refuse(self, sequence: int) -> None:
        if self._spool is not None:
            self._spool.dropped += 1
            self._spool.acknowledge(sequence)

    async def _until_due(self, began: float) -> float:
        """When the next look begins, once it does: an interval after the last one, also when that changes meanwhile."""
        loop = asyncio.get_running_loop()
        late = loop.time()
        while True:
            self._retimed.clear()
            # A look that was late is not made up for.
            due = max(began + self._interval, late)
            try:
                async with asyncio.timeout_at(due):
                    await self._retimed.wait()
            except TimeoutError:
                return due

    def _begin(self) -> Sampler | None:
        from agent.reporting.sampler import Sampler
        from agent.reporting.spool import Spool

        spool = Spool(self._spool_folder, self._spool_bytes)
        try:
            spool.open()
        except OSError as error:
            log.error("metrics are off: the spool cannot be used", path=error.filename, reason=error.strerror)
            return None
        self._spool = spool
        self._sampler = Sampler(
            spool=spool,
            engines=self.engines,
            data=self.data,
            workloads=self.workloads,
            counts=self._counts,
            boot=self._boot,
            now=self._now,
        )
        self._ready.set()
        log.info("metrics are on", interval_s=self._interval, waiting=spool.last - spool.stored)
        return self._sampler
