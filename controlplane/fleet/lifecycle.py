"""The life of agents: connected, suspect, lost, gone, by how long they have been silent; and what has a retention.

Each replica judges the sessions that it holds by what it hears, and everybody's expired leases by the store; both find
the same, so it does not matter who is first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controlplane.changes import pieces
from controlplane.model import (
    AgentRow,
    CertificateRow,
    ChangeRow,
    EventRow,
    ObservedRow,
    SessionRow,
    Topic,
    TransitionRow,
)
from controlplane.state.store import Store, Transaction
from controlplane.view import View
from headrace.types import AgentState, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds of silence after which an agent is taken for something else."""

    suspect: float = 60.0
    lost: float = 100.0
    gone: float = 24 * 3600.0


_JUDGED = frozenset({AgentState.PENDING, AgentState.CONNECTED, AgentState.SUSPECT, AgentState.LOST})
_EVENTS = {
    AgentState.CONNECTED: ("agent.connected", None),
    AgentState.SUSPECT: ("agent.suspect", Severity.WARNING),
    AgentState.LOST: ("agent.lost", Severity.WARNING),
    AgentState.GONE: ("agent.gone", None),
}


def state_after(state: AgentState, silence: float, timings: Timings, *, held: bool) -> AgentState:
    """What an agent is after so many seconds of silence; `held` says that its session is open. Pure."""
    if state not in _JUDGED:
        return state
    if silence >= timings.gone:
        return AgentState.GONE
    if state is AgentState.PENDING:
        return state  # it has never connected
    if silence >= timings.lost:
        return AgentState.LOST
    if state is AgentState.LOST and not held:
        return state  # it said goodbye, or only its lease is young
    return AgentState.SUSPECT if silence >= timings.suspect else AgentState.CONNECTED


class Lifecycle:
    """Moves agents along; call `sweep` every now and then, `trim` rarely."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        timings: Timings,
        lease_s: float,
        retention_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._view = view
        self._timings = timings
        self._lease = timedelta(seconds=lease_s)
        self._retention = timedelta(seconds=retention_s)
        self._clock = clock
        self._started = clock()

    async def sweep(self, held: Mapping[str, float]) -> None:
        """`held` are the agents whose session is here, with the seconds since each was heard."""
        moving: dict[str, float] = {}
        others: list[str] = []
        for agent_id, agent in self._view.agents.items():
            if agent.row.state not in _JUDGED:
                continue
            silence = held.get(agent_id)
            if silence is None:
                others.append(agent_id)
            elif state_after(agent.row.state, silence, self._timings, held=True) is not agent.row.state:
                moving[agent_id] = silence
        for part in pieces(others):
            moving |= await self._silent(part)
        for part in pieces(sorted(moving)):
            async with self._store.write() as tx:
                sessions = {row.agent_id: row for row in await tx.find(SessionRow, agent_id=part)}
                for row in await tx.find(AgentRow, id=part):
                    # It may have come back since it was looked at.
                    silence = moving[row.id] if row.id in held else self._silence(row, sessions.get(row.id))
                    await self._move(tx, row, silence, held=row.id in held)

    async def trim(self) -> None:
        """Deletes what is older than the retention: change log, events, transitions, and agents that are long gone."""
        cutoff = self._clock() - self._retention
        for log in (ChangeRow, EventRow, TransitionRow):
            await self._store.trim(log, older_than=cutoff)
        past = [
            agent.row.id for agent in self._view.agents.values() if not agent.present and agent.row.state_since < cutoff
        ]
        for part in pieces(past):
            async with self._store.write() as tx:
                for agent_id in part:
                    await tx.delete(SessionRow, agent_id)
                    for certificate in await tx.find(CertificateRow, agent_id=agent_id):
                        await tx.delete(CertificateRow, certificate.serial)
                    if await tx.delete(AgentRow, agent_id):
                        tx.log(Topic.AGENT, agent_id)

    async def _silent(self, ids: list[str]) -> dict[str, float]:
        """Those of these agents, whose session is not here, that are not any more what they were."""
        async with self._store.read() as reader:
            sessions = {row.agent_id: row for row in await reader.find(SessionRow, agent_id=ids)}
        found = {}
        for agent_id in ids:
            agent = self._view.agents.get(agent_id)
            if agent is None:
                continue
            silence = self._silence(agent.row, sessions.get(agent_id))
            if state_after(agent.row.state, silence, self._timings, held=False) is not agent.row.state:
                found[agent_id] = silence
        return found

    def _silence(self, agent: AgentRow, session: SessionRow | None) -> float:
        """Seconds since an agent was last known to be there. While no replica was there to hear, nobody was silent."""
        heard = agent.last_seen or agent.enrolled_at
        if session is not None:
            heard = max(heard, session.lease_until - self._lease)
        return (self._clock() - max(heard, self._started)).total_seconds()

    async def _move(self, tx: Transaction, agent: AgentRow, silence: float, *, held: bool) -> None:
        state = state_after(agent.state, silence, self._timings, held=held)
        if state is agent.state:
            return
        now = self._clock()
        await tx.put(replace(agent, state=state, state_since=now, last_seen=now - timedelta(seconds=silence)))
        tx.log(Topic.AGENT, agent.id)
        if state is AgentState.GONE:
            for observed in await tx.find(ObservedRow, agent_id=agent.id):
                await tx.delete(ObservedRow, agent.id, observed.pipeline)
        if state in _EVENTS:
            kind, severity = _EVENTS[state]
            if state is AgentState.CONNECTED:
                why = f"{agent.name}, {agent.state.value} before"
            else:
                why = f"{agent.name}: silent for {silence:.0f} s"
            tx.event(kind, why, severity=severity, agent_id=agent.id)
