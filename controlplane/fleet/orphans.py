"""The end of being an orphan: its content becomes a pipeline of this instance, or it is removed from its agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controlplane.changes import follow
from controlplane.fleet.agents import find
from controlplane.fleet.commands import Commands
from controlplane.fleet.contents import Contents, manifest_of
from controlplane.fleet.pipelines import Pipelines
from controlplane.model import BlobRow, ObservedRow, PipelineRow, Topic
from controlplane.phases import phase_now
from controlplane.state.store import Reader, Store
from controlplane.view import AgentView, View
from headrace import api, selector
from headrace.api import Action
from headrace.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from headrace.types import CommandKind, Phase


class Orphans:
    """Commands on orphaned workloads; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        contents: Contents,
        commands: Commands,
        pipelines: Pipelines,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._view = view
        self._contents = contents
        self._commands = commands
        self._pipelines = pipelines
        self._clock = clock

    async def adopt(self, request: api.AdoptWorkloadRequest, *, author: str) -> api.AdoptWorkloadResponse:
        """Makes a pipeline of what the agent runs, so that nothing is touched. Raises NotFoundError, ConflictError."""
        if not request.selector:
            raise InvalidError("say with --selector which agents the adopted pipeline is for")
        chosen = selector.parse(request.selector)
        async with self._store.read() as reader:
            await follow(self._view, reader)
            agent, row = await self._orphan(reader, request.pipeline, request.agent)
            known = self._view.pipelines.get(request.pipeline)
            if known is not None and not known.row.deleted:
                raise ConflictError(
                    f"pipeline {request.pipeline!r} exists, its selector {known.row.selector!r} leaves out agent "
                    f"{agent.row.name!r}; change the selector or the agent's labels"
                )
            sha256 = row.observed.running.sha256 if row.observed.running else ""
            if not sha256:
                raise NotFoundError(f"agent {agent.row.name!r} runs nothing of {request.pipeline!r}: nothing to adopt")
            has_content = await reader.get(BlobRow, sha256) is not None
        if not has_content:
            await self._fetch(agent, request.pipeline, sha256)
        async with self._store.read() as reader:
            what = await self._contents.get(reader, sha256)
        described = PipelineRow(
            name=request.pipeline,
            revision=0,
            generation=0,
            sha256=sha256,
            engine=what.engine,
            selector=str(chosen),
            description=f"adopted from agent {agent.row.name}",
            created_at=self._clock(),
            updated_at=self._clock(),
        )
        change = await self._pipelines.adopt(
            manifest_of(request.pipeline, described, {}, what), author=author, reason=request.reason or "adopted"
        )
        return api.AdoptWorkloadResponse(change=change)

    async def remove(self, request: api.DeletePipelinesRequest, *, author: str) -> api.DeletePipelinesResponse:
        """Takes orphans away from one agent. Raises NotFoundError for a workload that is no orphan there."""
        async with self._store.write() as tx:
            await follow(self._view, tx)
            changes = []
            for name in sorted(set(request.names)):
                agent, row = await self._orphan(tx, name, request.orphaned_on)
                changes.append(
                    api.Change(pipeline=name, action=Action.DELETED, generation=row.observed.desired, lost=1)
                )
                if request.dry_run:
                    continue
                await tx.put(replace(row, phase=Phase.REMOVING, changed_at=self._clock()))
                tx.log(Topic.OBSERVED, f"{row.agent_id}/{name}")
                tx.log(Topic.AGENT, row.agent_id)
                message = f"{agent.row.name}: the orphan is removed" + (f"; {request.reason}" if request.reason else "")
                tx.event("workload.deleted", message, actor=author, pipeline=name, agent_id=row.agent_id)
            revision = (await tx.plane()).fleet_revision
        return api.DeletePipelinesResponse(changes=tuple(changes), fleet_revision=revision)

    async def _orphan(self, reader: Reader, pipeline: str, agent_name: str) -> tuple[AgentView, ObservedRow]:
        agent = find(self._view, agent_name)
        row = await reader.get(ObservedRow, agent.row.id, pipeline)
        if row is None or phase_now(self._view, agent, row) is not Phase.ORPHANED:
            raise NotFoundError(f"agent {agent.row.name!r} has no orphaned workload {pipeline!r}")
        return agent, row

    async def _fetch(self, agent: AgentView, pipeline: str, sha256: str) -> None:
        answers = await self._commands.ask([agent.row.id], CommandKind.UPLOAD, pipeline=pipeline, sha256=sha256)
        answer = answers.get(agent.row.id)
        if answer is None or not answer.ok:
            why = answer.message if answer is not None and answer.done else "it did not answer; is it connected?"
            raise UnavailableError(f"agent {agent.row.name!r} did not give the content of {pipeline!r}: {why}")
