"""What people ask: pipelines, agents, revisions, events, as they are now. Reads only.

Phases are worked out when they are asked for, from what is desired now and what was reported last, so that a change is
`pending` everywhere from the moment of its commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from controlplane.changes import follow
from controlplane.fleet.agents import find
from controlplane.fleet.contents import Contents, manifest_of
from controlplane.model import EventRow, ObservedRow, PipelineRow, RevisionRow, SessionRow
from controlplane.phases import phase_now
from controlplane.state.store import Reader, Store
from controlplane.view import AgentView, View
from headrace import api, selector
from headrace.config import did_you_mean
from headrace.errors import NotFoundError
from headrace.types import AgentState, Phase

_MOST_EVENTS = 1000
_EVENTS = 100
_REVISIONS = 100


class Queries:
    """Answers; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View, contents: Contents, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._view = view
        self._contents = contents
        self._clock = clock

    async def pipelines(self, request: api.ListPipelinesRequest) -> tuple[api.Pipeline, ...]:
        """All, or those with such labels of their own, with how many agents are in each phase."""
        chosen = selector.parse(request.selector or "*")
        async with self._store.read() as reader:
            await follow(self._view, reader)
            rows = [view.row for _, view in sorted(self._view.pipelines.items()) if not view.row.deleted]
            return tuple(
                [await self._pipeline(reader, row, listed=False) for row in rows if chosen.matches(row.labels)]
            )

    async def pipeline(self, request: api.GetPipelineRequest) -> api.Pipeline:
        """One with its workloads; with a revision, its manifest is that revision's. Raises NotFoundError."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            row = self.known(request.name)
            if not request.revision or request.revision == row.revision:
                return await self._pipeline(reader, row)
            revision = await reader.get(RevisionRow, row.name, request.revision)
            if revision is None:
                raise NotFoundError(
                    f"pipeline {row.name!r} has no revision {request.revision}; it is at {row.revision}"
                )
            content = await self._contents.get(reader, revision.sha256)
            return api.Pipeline(
                manifest=manifest_of(row.name, revision, dict(revision.labels), content),
                revision=revision.number,
                generation=revision.generation,
                sha256=revision.sha256,
                created_at=row.created_at,
                updated_at=revision.at,
            )

    async def revisions(self, request: api.ListRevisionsRequest) -> tuple[api.Revision, ...]:
        """Newest first. Raises NotFoundError for a pipeline that never was."""
        async with self._store.read() as reader:
            row = await reader.get(PipelineRow, request.name)
            if row is None:
                raise NotFoundError(f"there is no pipeline {request.name!r}{self._near(request.name)}")
            oldest = max(0, row.revision - (request.limit or _REVISIONS))
            numbers = list(range(oldest + 1, row.revision + 1))
            found = await reader.find(RevisionRow, pipeline=row.name, number=numbers)
            return tuple([await self._revision(reader, revision) for revision in reversed(found)])

    async def agents(self, request: api.ListAgentsRequest) -> tuple[api.Agent, ...]:
        """Those that are there, or all, by their effective labels; without their workloads."""
        chosen = selector.parse(request.selector or "*")
        async with self._store.read() as reader:
            await follow(self._view, reader)
            agents = [
                agent
                for agent in self._view.agents.values()
                if (request.all or agent.present) and chosen.matches(agent.labels)
            ]
            sessions = {row.agent_id: row for row in await reader.find(SessionRow)}
            agents.sort(key=lambda agent: (agent.row.name, agent.row.id))
            return tuple(self._agent(agent, sessions.get(agent.row.id)) for agent in agents)

    async def agent(self, name: str) -> api.Agent:
        """One by id or name, with its workloads. Raises NotFoundError, InvalidError."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            agent = find(self._view, name)
            session = await reader.get(SessionRow, agent.row.id)
            rows = {row.pipeline: row for row in await reader.find(ObservedRow, agent_id=agent.row.id)}
        wanted = self._view.wanted(agent) if agent.present else {}
        workloads = [
            self._workload(pipeline, agent, rows.get(pipeline)) for pipeline in sorted(wanted.keys() | rows.keys())
        ]
        return self._agent(agent, session, workloads)

    async def events(self, request: api.ListEventsRequest) -> tuple[api.Event, ...]:
        """Newest first."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            rows = await reader.scan(
                EventRow,
                before=request.before or None,
                limit=min(request.limit or _EVENTS, _MOST_EVENTS),
                newest=True,
                **self.where(request.pipeline, request.agent),
            )
        return tuple(shown(row) for row in rows)

    def where(self, pipeline: str, agent: str) -> dict[str, Any]:
        """The columns of an event that a caller asks for. Raises NotFoundError for an unknown agent."""
        conditions = {"pipeline": pipeline} if pipeline else {}
        return conditions | ({"agent_id": find(self._view, agent).row.id} if agent else {})

    def known(self, name: str) -> PipelineRow:
        """A pipeline that is not deleted, as the view has it. Raises NotFoundError."""
        view = self._view.pipelines.get(name)
        if view is None:
            raise NotFoundError(f"there is no pipeline {name!r}{self._near(name)}")
        if view.row.deleted:
            raise NotFoundError(
                f"pipeline {name!r} was deleted by revision {view.row.revision}; "
                f"`headrace rollback {name}` brings it back"
            )
        return view.row

    async def described(self, reader: Reader, row: PipelineRow, rows: Iterable[ObservedRow]) -> api.Pipeline:
        """A pipeline with workloads from rows that the caller has."""
        by_agent = {observed.agent_id: observed for observed in rows}
        pipeline = self._view.pipelines[row.name]
        workloads = [
            self._workload(row.name, agent, by_agent.get(agent.row.id))
            for agent in self._view.present()
            if agent.row.id in by_agent or pipeline.matches(agent)
        ]
        workloads.sort(key=lambda workload: (workload.agent_name, workload.agent_id))
        content = await self._contents.get(reader, row.sha256)
        return api.Pipeline(
            manifest=manifest_of(row.name, row, dict(row.labels), content),
            revision=row.revision,
            generation=row.generation,
            sha256=row.sha256,
            created_at=row.created_at,
            updated_at=row.updated_at,
            phases=Counter(workload.phase.value for workload in workloads),
            workloads=tuple(workloads),
        )

    async def _pipeline(self, reader: Reader, row: PipelineRow, *, listed: bool = True) -> api.Pipeline:
        described = await self.described(reader, row, await reader.find(ObservedRow, pipeline=row.name))
        return described if listed else _without_workloads(described)

    async def _revision(self, reader: Reader, row: RevisionRow) -> api.Revision:
        content = await self._contents.get(reader, row.sha256)
        return api.Revision(
            pipeline=row.pipeline,
            number=row.number,
            generation=row.generation,
            sha256=row.sha256,
            action=row.action,
            author=row.author,
            reason=row.reason,
            at=row.at,
            author_known_by=row.author_known_by,
            manifest=manifest_of(row.pipeline, row, dict(row.labels), content),
        )

    def _workload(self, pipeline: str, agent: AgentView, row: ObservedRow | None) -> api.Workload:
        view = self._view.pipelines.get(pipeline)
        return api.Workload(
            pipeline=pipeline,
            agent_id=agent.row.id,
            agent_name=agent.row.name,
            agent_state=agent.row.state,
            phase=Phase.PENDING if row is None else phase_now(self._view, agent, row),
            observed=None if row is None else row.observed,
            generation=view.row.generation if view is not None and view.matches(agent) else 0,
            changed_at=None if row is None else row.changed_at,
        )

    def _agent(self, agent: AgentView, session: SessionRow | None, workloads: Sequence[api.Workload] = ()) -> api.Agent:
        row, now = agent.row, self._clock()
        live = session is not None and session.lease_until > now and row.state is AgentState.CONNECTED
        return api.Agent(
            id=row.id,
            facts=row.facts,
            labels=agent.labels,
            state=row.state,
            enrolled_at=row.enrolled_at,
            last_seen=now if live else row.last_seen,
            connected_at=session.opened_at if session is not None and live else None,
            replica=session.replica if session is not None and live else "",
            token_id=row.token_id,
            workloads=tuple(workloads),
            shown=session.shown if session is not None and live else "",
            certificate=row.serial,
        )

    def _near(self, name: str) -> str:
        return did_you_mean(name, [other for other, view in self._view.pipelines.items() if not view.row.deleted])


def shown(row: EventRow) -> api.Event:
    """An event as people see it."""
    return api.Event(
        revision=row.revision,
        at=row.at,
        kind=row.kind,
        severity=row.severity,
        actor=row.actor,
        pipeline=row.pipeline,
        agent_id=row.agent_id,
        generation=row.generation,
        message=row.message,
        actor_known_by=row.actor_known_by,
        source=row.source,
    )


def _without_workloads(pipeline: api.Pipeline) -> api.Pipeline:
    return api.Pipeline(
        manifest=pipeline.manifest,
        revision=pipeline.revision,
        generation=pipeline.generation,
        sha256=pipeline.sha256,
        created_at=pipeline.created_at,
        updated_at=pipeline.updated_at,
        phases=pipeline.phases,
    )
