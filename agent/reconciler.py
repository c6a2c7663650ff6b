"""The set of workloads: one task for each, started from disk before any control plane is there.

Takes what is desired, keeps it on disk, and wakes the workload that it concerns; what the workloads then do is theirs.
A workload whose task fails by a defect of ours is logged and goes on from its record; it takes no other one along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from agent.host import Host
from agent.model import Record, Removal, Target
from agent.restart import retry_delay
from agent.runtimes import Instance
from agent.workload import Workload
from headrace.types import Attempt, AttemptState, Fault, Observed, Step

log = structlog.get_logger(__name__)

DATA_KEPT = timedelta(hours=24)
"""So long a removed pipeline's offsets and chunks stay."""
HOUSEKEEPING_S = 30.0


class Reconciler:
    """Runs the workloads in a task group; `changed` hears of every pipeline whose Observed is another."""

    def __init__(self, host: Host, changed: Callable[[str], None]) -> None:
        self._host = host
        self._changed = changed
        self._workloads: dict[str, Workload] = {}
        self._refused: dict[str, Observed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup

    def start(self, group: asyncio.TaskGroup) -> None:
        """Take up what is on disk; comes before everything else."""
        self._group = group
        self._spawn(self._keep_house(), "housekeeping")
        for record in list(self._host.state.records.values()):
            if record.removal is None or record.removal.at is None:
                self._open(record)

    async def shut_down(self) -> None:
        """End every engine, each after its grace or, when this is cancelled, now. The next start brings them back."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for workload in self._workloads.values():
                group.create_task(workload.shut_down(), name=f"{workload.pipeline}: stop")

    def want(self, pipeline: str, target: Target, data: bytes | None) -> None:
        """Run this content; without data it is fetched when its turn comes."""
        self._refused.pop(pipeline, None)
        if data is not None:
            self._host.state.save_blob(target.sha256, data)
        self._workload(pipeline).want(target)

    def refuse(self, pipeline: str, generation: int, fault: Fault) -> None:
        """Report a generation that cannot even be kept; what runs of the pipeline runs on."""
        log.error("desired pipeline is refused", pipeline=pipeline, generation=generation, fault=str(fault))
        attempt = Attempt(
            generation=generation,
            state=AttemptState.FAILED,
            step=Step.RENDER,
            faults=(fault,),
            quarantined=True,
            at=self._host.now(),
        )
        workload = self._workloads.get(pipeline)
        before = workload.observed() if workload else Observed(pipeline=pipeline)
        self._refused[pipeline] = replace(before, desired=generation, attempt=attempt)
        self._changed(pipeline)

    def remove(self, pipeline: str, removal: Removal) -> None:
        """Stop a pipeline; one that is not here is gone already, but for its data."""
        self._refused.pop(pipeline, None)
        record = self._host.state.records.get(pipeline)
        if pipeline in self._workloads:
            self._workloads[pipeline].remove(removal)
        elif record is not None and removal.purge:
            self._purge(record)
        self._changed(pipeline)

    def refresh(self) -> None:
        """Variables or secrets changed."""
        for workload in self._workloads.values():
            workload.refresh()

    def find(self, pipeline: str) -> Workload | None:
        """A workload by its pipeline."""
        return self._workloads.get(pipeline)

    @property
    def count(self) -> int:
        """How many pipelines run here, or try to."""
        return len(self._workloads)

    def engines(self) -> Mapping[str, Instance]:
        """The engines that run and are not being changed, by pipeline."""
        return {name: engine for name, workload in self._workloads.items() if (engine := workload.engine) is not None}

    def observed(self) -> Mapping[str, Observed]:
        """What runs here and what was tried, by pipeline."""
        return {name: workload.observed() for name, workload in self._workloads.items()} | self._refused

    def _workload(self, pipeline: str) -> Workload:
        if pipeline not in self._workloads:
            self._open(self._host.state.records.get(pipeline) or Record(pipeline=pipeline))
        return self._workloads[pipeline]

    def _open(self, record: Record) -> None:
        workload = Workload(record, self._host, self._changed)
        self._workloads[record.pipeline] = workload
        self._spawn(self._run(workload), record.pipeline)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, workload: Workload) -> None:
        failures = 0
        while True:
            try:
                await workload.run()
                break
            except Exception:
                failures += 1
                delay = retry_delay(failures, self._host.roll())
                log.exception("workload failed by a defect", pipeline=workload.pipeline, retry_in_s=delay)
                await asyncio.sleep(delay)
        del self._workloads[workload.pipeline]
        self._changed(workload.pipeline)

    async def _keep_house(self) -> None:
        """What nobody waits for: writing what a full disk kept back, and deleting what was kept long enough."""
        while True:
            if self._host.state.trouble:
                self._host.state.flush()
                for pipeline in self._workloads:
                    self._changed(pipeline)
            deadline = self._host.now() - DATA_KEPT
            for record in list(self._host.state.records.values()):
                if record.removal and record.removal.at and (record.removal.purge or record.removal.at < deadline):
                    self._purge(record)
            await asyncio.sleep(HOUSEKEEPING_S)

    def _purge(self, record: Record) -> None:
        self._host.folder(record.pipeline).purge()
        self._host.state.forget(record.pipeline)
