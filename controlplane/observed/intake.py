"""Takes what agents report, latest wins per workload, and writes it in groups with what changed.

A report waits at most for the group before it, plus a few milliseconds in which others may join; so a transition is in
the store and in the change log well within 100 ms of an idle store. While the store is away, reports wait in memory,
one per workload, and nothing is lost that the agent would not report again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import TypeVar

import structlog

from controlplane.changes import follow
from controlplane.incidents import Incident, Trouble, incident, reason, trouble_of
from controlplane.model import ObservedRow, SessionRow, Topic, TransitionRow
from controlplane.observed.bounds import bounded, check_count, highest
from controlplane.observed.history import contradiction, cut
from controlplane.outage import outlast
from controlplane.phases import is_gone, phase_in
from controlplane.sessions import Session
from controlplane.state.store import Store, Transaction
from controlplane.telemetry import Meters
from controlplane.view import View
from headrace.limits import DEFAULT_LIMITS, Limits
from headrace.messages import Workloads
from headrace.types import Observed, Phase

_JOIN_S = 0.01
_GROUP = 500

Value = TypeVar("Value")
_Item = tuple[Session, str, Observed | None]

log = structlog.get_logger(__name__)


class Intake:
    """The one writer of observed state on this replica; `run` it in a task of its own."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        clock: Callable[[], datetime],
        rng: random.Random,
        meters: Meters,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._store = store
        self._rng = rng
        self._meters = meters
        self._limits = limits
        self._view = view
        self._clock = clock
        self._unwritten: dict[tuple[str, str], Session] = {}
        self._arrived = asyncio.Event()
        meters.reports_waiting.set_function(lambda: len(self._unwritten))

    def take(self, session: Session, message: Workloads) -> None:
        """Merges a report into the session and notes what is to be written. Raises ProtocolError."""
        reports = [bounded(observed) for observed in message.observed]
        for observed in reports:
            if is_gone(observed):
                session.workloads.pop(observed.pipeline, None)
                session.marks.pop(observed.pipeline, None)
            elif session.workloads.get(observed.pipeline) == observed:
                continue
            else:
                session.workloads[observed.pipeline] = observed
                self._meters.propagation.reported(session.agent_id, observed, now=self._clock())
            self.note(session, observed.pipeline)
        if message.complete:
            before = session.workloads.keys() | session.phases.keys()
            for absent in before - {observed.pipeline for observed in reports}:
                session.workloads.pop(absent, None)
                session.marks.pop(absent, None)
                self.note(session, absent)
        check_count(len(session.workloads), self._limits)

    def note(self, session: Session, pipeline: str) -> None:
        """What this session knows of the pipeline is to be written."""
        self._unwritten[session.agent_id, pipeline] = session
        self._arrived.set()

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await self._arrived.wait()
            await asyncio.sleep(_JOIN_S)
            await self.flush()

    async def flush(self) -> None:
        """Writes what waits now. An outage of the store is waited out; a report that it refuses is dropped and said."""
        while self._unwritten:
            keys = list(islice(self._unwritten, _GROUP))
            try:
                await outlast(partial(self._write, keys), what="reports", rng=self._rng)
            except Exception:
                log.exception("reports could not be written", count=len(keys))
                await self._write_singly(keys)
        self._arrived.clear()

    async def _write_singly(self, keys: list[tuple[str, str]]) -> None:
        """So that one report that the store refuses takes no other with it."""
        for key in keys:
            try:
                await outlast(partial(self._write, [key]), what="reports", rng=self._rng)
            except Exception as error:
                self._unwritten.pop(key, None)
                self._meters.reports_dropped.inc()
                log.error("report dropped", agent=key[0], pipeline=key[1], error=str(error))

    async def _write(self, keys: list[tuple[str, str]]) -> None:
        group = [
            (session, pipeline, session.workloads.get(pipeline))
            for agent_id, pipeline in keys
            if (session := self._unwritten.get((agent_id, pipeline))) is not None
        ]
        with self._meters.reports.time():
            outcomes = await self._commit(group)
        for outcome in outcomes:
            outcome.remember()
        for session, pipeline, observed in group:
            key = (session.agent_id, pipeline)
            if self._unwritten.get(key) is session and session.workloads.get(pipeline) is observed:
                del self._unwritten[key]

    async def _commit(self, group: list[_Item]) -> list[_Outcome]:
        async with self._store.write() as tx:
            await follow(self._view, tx)
            owners = await tx.find(SessionRow, agent_id=sorted({session.agent_id for session, _, _ in group}))
            current = {row.session_id for row in owners}
            ours = [item for item in group if item[0].link.session_id in current]
            await self._check_history(tx, ours)
            known = [item for item in ours if item[0].agent_id in self._view.agents]
            outcomes = [_outcome(self._view, *item) for item in known]
            now = self._clock()
            await tx.put(*[row for outcome in outcomes for row in outcome.rows(tx, now, self._view)])
            for outcome in outcomes:
                if outcome.observed is None:
                    await tx.delete(ObservedRow, outcome.session.agent_id, outcome.pipeline)
        return outcomes

    async def _check_history(self, tx: Transaction, group: list[_Item]) -> None:
        """Cuts the history, once for all of the group that contradict it."""
        reports = [(session.agent_id, observed) for session, _, observed in group if observed]
        for agent_id, observed in reports:
            pipeline = self._view.pipelines.get(observed.pipeline)
            known = None if pipeline is None else pipeline.row
            if why := contradiction(observed, known, counter=self._view.plane.generation):
                await cut(tx, why, past=max(highest(other) for _, other in reports), agent_id=agent_id)
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What a report comes to; without `observed` and `phase`, the workload is gone."""

    session: Session
    pipeline: str
    observed: Observed | None = None
    phase: Phase | None = None
    incident: Incident | None = None
    trouble: Trouble | None = None

    def rows(self, tx: Transaction, now: datetime, view: View) -> Iterator[ObservedRow | TransitionRow]:
        """What to put, logged and told; what the session remembers is changed only after the commit."""
        agent_id, before = self.session.agent_id, self.session.phases.get(self.pipeline)
        revision = tx.log(Topic.OBSERVED, f"{agent_id}/{self.pipeline}")
        if self.observed is None or self.phase is None:
            after, generation, why = Phase.STOPPED, 0, "removed"
        else:
            after, generation, why = self.phase, self.observed.desired, reason(self.observed, self.phase)
            yield ObservedRow(
                agent_id=agent_id, pipeline=self.pipeline, observed=self.observed, phase=self.phase, changed_at=now
            )
        if self.observed is None or after is not before:
            yield TransitionRow(
                revision=revision,
                at=now,
                agent_id=agent_id,
                pipeline=self.pipeline,
                generation=generation,
                before=before,
                after=after,
                message=why,
            )
        if self.incident is not None:
            name = view.agents[agent_id].row.name
            tx.event(
                self.incident.kind,
                f"{name}: {self.incident.message}" if self.incident.message else name,
                severity=self.incident.severity,
                pipeline=self.pipeline,
                agent_id=agent_id,
                generation=generation,
            )

    def remember(self) -> None:
        _set(self.session.phases, self.pipeline, self.phase)
        _set(self.session.troubles, self.pipeline, self.trouble)


def _outcome(view: View, session: Session, pipeline: str, observed: Observed | None) -> _Outcome:
    if observed is None:
        return _Outcome(session=session, pipeline=pipeline)
    phase = phase_in(view, view.agents[session.agent_id], observed, session.marks.get(pipeline))
    trouble = session.troubles.get(pipeline)
    told = incident(trouble=trouble, phase=phase, observed=observed)
    still = trouble_of(phase, observed) or (None if told else trouble)
    return _Outcome(session=session, pipeline=pipeline, observed=observed, phase=phase, incident=told, trouble=still)


def _set(table: dict[str, Value], key: str, value: Value | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
