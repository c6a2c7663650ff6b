"""Session ownership in the store: claimed by compare-and-set, renewed in bulk, released when a link ends.

Claims and releases of many agents share transactions, so that a whole fleet that reconnects is back within seconds.
A claim answers with what the store knows of the agent at that moment, read in the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from controlplane.changes import pieces
from controlplane.groups import GroupCommit
from controlplane.identity.ownership import Claim, Verdict, granted, judge, released
from controlplane.model import AgentRow, CommandRow, ObservedRow, SessionRow, Topic
from controlplane.state.store import Store, Transaction
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.types import AgentState, Severity


@dataclass(frozen=True, slots=True)
class Claimed:
    """How a claim ended, and what the store knows of the agent; the lists are empty unless it was granted."""

    verdict: Verdict
    owner: SessionRow
    observed: tuple[ObservedRow, ...] = ()
    commands: tuple[CommandRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """A session that ended, when its agent was last heard, and whether it said goodbye."""

    agent_id: str
    session_id: str
    heard: datetime
    left: bool


class Claims:
    """The rules of session ownership; `run` the group commits in tasks of their own."""

    def __init__(self, *, store: Store, replica: str, lease_s: float, clock: Callable[[], datetime]) -> None:
        """`lease_s`: for how long an owner that is not heard of keeps its place."""
        self._store = store
        self._replica = replica
        self._lease = timedelta(seconds=lease_s)
        self._clock = clock
        self.claiming = GroupCommit(self._claim_all)
        self.releasing = GroupCommit(self._release_all)

    async def claim(
        self, *, agent_id: str, session_id: str, boot_id: str, session_number: int, shown: str = ""
    ) -> Claimed:
        """Asks for an agent's session. Raises ForbiddenError for a revoked agent, UnavailableError."""
        answer = await self.claiming.submit(
            Claim(
                agent_id=agent_id,
                session_id=session_id,
                boot_id=boot_id,
                session_number=session_number,
                replica=self._replica,
                shown=shown,
            )
        )
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self, agent_id: str, session_id: str, *, silence_s: float = 0.0, left: bool = False) -> None:
        """Ends a session soon, unless another one took over; its lease then counts from when the agent was last heard.

        `silence_s` says how long ago that was, `left` that the agent went on purpose. Should the store not take it,
        the lease runs out.
        """
        heard = self._clock() - timedelta(seconds=silence_s)
        self.releasing.post(_Release(agent_id=agent_id, session_id=session_id, heard=heard, left=left))

    async def renew(self, session_ids: Iterable[tuple[str, str]]) -> list[str]:
        """Extends the leases of (agent, session) pairs; returns the agents whose session is not ours any more."""
        held = dict(session_ids)
        lost: list[str] = []
        for part in pieces(sorted(held)):
            async with self._store.write() as tx:
                until = self._clock() + self._lease
                ours = [
                    replace(row, lease_until=until)
                    for row in await tx.find(SessionRow, agent_id=part)
                    if row.session_id == held[row.agent_id]
                ]
                await tx.put(*ours)
            lost.extend(set(part) - {row.agent_id for row in ours})
        return lost

    async def _claim_all(self, claims: Sequence[Claim]) -> Sequence[Claimed | Exception]:
        ids = sorted({claim.agent_id for claim in claims})
        async with self._store.write() as tx:
            now = self._clock()
            owners = {row.agent_id: row for row in await tx.find(SessionRow, agent_id=ids)}
            agents = {row.id: row for row in await tx.find(AgentRow, id=ids)}
            observed = _by_agent(await tx.find(ObservedRow, agent_id=ids))
            commands = _by_agent(await tx.find(CommandRow, agent_id=ids, done=False))
            changed: dict[str, SessionRow] = {}
            answers: list[Claimed | Exception] = []
            for claim in claims:
                agent, owner = agents.get(claim.agent_id), owners.get(claim.agent_id)
                if agent is None or agent.state is AgentState.REVOKED:
                    answers.append(_refusal(claim, agent))
                    continue
                verdict = judge(owner, claim, now=now)
                if owner is not None and verdict is not Verdict.GRANTED:
                    if verdict is Verdict.DUPLICATE:
                        _record_duplicate(tx, agent, claim, owner)
                    answers.append(Claimed(verdict, owner))
                    continue
                row = granted(owner, claim, now=now, lease_until=now + self._lease)
                agents[agent.id] = await self._connect(tx, agent, owner, now)
                owners[agent.id] = changed[agent.id] = row
                answers.append(Claimed(verdict, row, tuple(observed[agent.id]), tuple(commands[agent.id])))
            await tx.put(*changed.values())
        return answers

    async def _connect(self, tx: Transaction, agent: AgentRow, owner: SessionRow | None, now: datetime) -> AgentRow:
        if agent.state is AgentState.CONNECTED:
            if owner is not None and owner.replica != self._replica and owner.lease_until > now:
                tx.log(Topic.AGENT, agent.id)  # so that the other replica lets go of its link at once
            return agent
        connected = replace(agent, state=AgentState.CONNECTED, last_seen=now, state_since=now)
        await tx.put(connected)
        tx.log(Topic.AGENT, agent.id)
        tx.event("agent.connected", f"{agent.name}, {agent.state.value} before", agent_id=agent.id)
        return connected

    async def _release_all(self, releases: Sequence[_Release]) -> Sequence[None]:
        async with self._store.write() as tx:
            now = self._clock()
            ids = sorted({release.agent_id for release in releases})
            owners = {row.agent_id: row for row in await tx.find(SessionRow, agent_id=ids)}
            for release in releases:
                owner = owners.get(release.agent_id)
                if owner is None or owner.session_id != release.session_id:
                    continue
                await tx.put(released(owner, until=now if release.left else release.heard + self._lease))
                agent = await tx.get(AgentRow, release.agent_id) if release.left else None
                if agent is not None and agent.state in (AgentState.CONNECTED, AgentState.SUSPECT):
                    await tx.put(replace(agent, state=AgentState.LOST, last_seen=now, state_since=now))
                    tx.log(Topic.AGENT, agent.id)
                    tx.event("agent.left", f"{agent.name} said goodbye", agent_id=agent.id)
        return [None] * len(releases)


def _refusal(claim: Claim, agent: AgentRow | None) -> Exception:
    if agent is None:
        return UnauthenticatedError(f"agent {claim.agent_id!r} is not known here; enrol it with a bootstrap token")
    return ForbiddenError(f"agent {agent.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")


def _record_duplicate(tx: Transaction, agent: AgentRow, claim: Claim, owner: SessionRow) -> None:
    tx.event(
        "agent.duplicate_identity",
        f"two processes use the identity of {agent.name}: {claim.boot_id} was replaced by {owner.boot_id}, which is "
        "alive; stop one of them, or remove its data folder and enrol it anew",
        severity=Severity.ERROR,
        agent_id=agent.id,
    )


_OfAgent = TypeVar("_OfAgent", ObservedRow, CommandRow)


def _by_agent(rows: Sequence[_OfAgent]) -> dict[str, list[_OfAgent]]:
    grouped: defaultdict[str, list[_OfAgent]] = defaultdict(list)
    for row in rows:
        grouped[row.agent_id].append(row)
    return grouped
