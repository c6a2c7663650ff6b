"""The level loop: wakes on a change, brings the view up to date, and tells each agent held here what differs.

Every path ends in the same question per pipeline and agent, `plan.act`, asked of what is desired now and what the agent
was asked for last; so a wake-up that is lost, late or doubled changes nothing. A changed pipeline is told to thousands
of links by bytes that they share, in chunks, so that heartbeats and reports are served in between.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from functools import partial

import structlog

from controlplane.changes import Changes, follow, pieces
from controlplane.model import CommandRow, ObservedRow, SessionRow
from controlplane.observed import Intake
from controlplane.outage import outlast
from controlplane.plan import Act, Asked, Mark, act, plan, strangers
from controlplane.secrets import Secrets
from controlplane.sessions import Session, Sessions
from controlplane.state.store import Store
from controlplane.telemetry import Meters
from controlplane.view import AgentView, Delta, View
from headrace import codec
from headrace.messages import Authorities, Command, Complete, Hello, Remove, Variables
from headrace.outbox import COMPLETE, key_of
from headrace.types import CloseReason, Phase

_CHUNK = 200
_DRAIN_PER_S = 300
"""How many agents per second a new epoch asks to reconnect."""
_RENEWALS_PER_S = 100
"""How many agents per second another authority asks to renew their certificates."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Makes what agents were asked for equal to what is desired; `run` it in a task of its own."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        changes: Changes,
        sessions: Sessions,
        intake: Intake,
        secrets: Secrets,
        meters: Meters,
        clock: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._view = view
        self._changes = changes
        self._sessions = sessions
        self._intake = intake
        self._secrets = secrets
        self._meters = meters
        self._clock = clock
        self._rng = rng
        self._complete = (0, b"")

    async def run(self) -> None:
        """Reconciles until cancelled."""
        while True:
            seen = self._view.plane.fleet_revision
            await outlast(self.follow, what="reconciler", rng=self._rng)
            delta = self._view.take()
            if delta != Delta():
                await outlast(partial(self._act, delta), what="reconciler", rng=self._rng)
            await self._changes.changed(max(seen, self._view.plane.fleet_revision))

    async def follow(self) -> None:
        """Brings the view up to date. Raises UnavailableError."""
        async with self._store.read() as reader:
            await follow(self._view, reader)

    def admit(self, session: Session, hello: Hello, commands: Iterable[CommandRow]) -> None:
        """Tells an agent, now that its lists are here, all that differs, and what it was asked to do meanwhile."""
        agent = self._view.agents.get(session.agent_id)
        if agent is None or not agent.present:
            session.link.close(CloseReason.REVOKED, "this agent is not known here any more")
            return
        session.live = True
        plane = self._view.plane
        foreign = hello.instance_id != plane.instance_id
        if foreign or hello.epoch < plane.epoch:
            asked = session.asked()
            for name in strangers(known=self._view.known(asked), asked=asked, foreign=foreign):
                session.marks[name] = Mark.ORPHANED
        self._tell(session, agent)
        # Once a session, when it is in sync: after later changes it would cost a second message each.
        session.link.post(COMPLETE, self._completed())
        for command in commands:
            self._command(session, command)

    async def _act(self, delta: Delta) -> None:
        if delta.epoch:
            self._drain()
        if delta.authorities:
            self._distrust()
        everyone = delta.everything or delta.variables or delta.authorities
        ids = {session.agent_id for session in self._sessions} if everyone else delta.agents
        await self._retell(ids)
        names = delta.pipelines.union(self._view.naming(delta.secrets))
        if names and not everyone:
            await self._fan_out(names)
        if delta.commands:
            await self._commands(delta.commands)

    def _drain(self) -> None:
        """A new epoch is heard in a Welcome only, so everybody is asked to come again."""
        window_ms = 1000 + 1000 * len(self._sessions) // _DRAIN_PER_S
        for session in self._sessions:
            session.link.drain(window_ms, "a new epoch has begun")

    def _distrust(self) -> None:
        """Who came in by a certificate of an authority that ended comes again, by its key."""
        trust = self._view.trust
        trusted = {row.fingerprint for row in trust.trusted}
        for session in self._sessions:
            agent = self._view.agents.get(session.agent_id)
            by = trust.older.get(agent.row.serial) if agent is not None else None
            if by is not None and by not in trusted and session.link.shown == "certificate":
                session.link.close(CloseReason.DRAINED, "the authority of this certificate is trusted no more")

    async def _retell(self, agent_ids: Collection[str]) -> None:
        """All that differs, for agents that changed: their labels, their right to be here, their orphans."""
        held = [session for agent_id in agent_ids if (session := self._sessions.get(agent_id)) is not None]
        for start in range(0, len(held), _CHUNK):
            part = held[start : start + _CHUNK]
            ids = [session.agent_id for session in part]
            async with self._store.read() as reader:
                owners = {row.agent_id: row.session_id for row in await reader.find(SessionRow, agent_id=ids)}
                ending = await reader.find(ObservedRow, agent_id=ids, phase=Phase.REMOVING)
            for session in part:
                if not self._sessions.holds(session):
                    continue  # replaced while the store was read, which therefore may not know its owner
                self._retell_one(
                    session, owners.get(session.agent_id), [row for row in ending if row.agent_id == session.agent_id]
                )

    def _retell_one(self, session: Session, owner: str | None, ending: Iterable[ObservedRow]) -> None:
        agent = self._view.agents.get(session.agent_id)
        if agent is None or not agent.present:
            session.link.close(CloseReason.REVOKED, "this agent was revoked")
        elif owner != session.link.session_id:
            session.link.close(CloseReason.SUPERSEDED, "another session took over")
        elif session.live:
            for row in ending:
                if row.pipeline in session.marks:
                    session.marks[row.pipeline] = Mark.REMOVING
            self._tell(session, agent)

    async def _fan_out(self, names: Collection[str]) -> None:
        """What differs about some pipelines, for everybody."""
        started = asyncio.get_running_loop().time()
        for index, session in enumerate(self._sessions, start=1):
            agent = self._view.agents.get(session.agent_id)
            if session.live and agent is not None:
                self._tell_some(session, agent, names)
            if index % _CHUNK == 0:
                await asyncio.sleep(0)
        self._meters.fan_out.observe(asyncio.get_running_loop().time() - started)

    def _tell(self, session: Session, agent: AgentView) -> None:
        variables = codec.encode_server(Variables(labels=agent.labels, values=self._view.values(agent)))
        if variables != session.variables:
            session.variables = variables
            session.link.post("variables", variables)
        self._tell_secrets(session, agent)
        self._tell_authorities(session, agent)
        asked = session.asked()
        decided = plan(wanted=self._view.wanted(agent), known=self._view.known(asked), asked=asked, marks=session.marks)
        for name in decided.sends:
            self._send(session, name)
        for name in decided.removes:
            self._remove(session, name)
        for name in decided.orphans:
            if session.phases.get(name) is not Phase.ORPHANED:
                self._intake.note(session, name)

    def _tell_secrets(self, session: Session, agent: AgentView) -> None:
        """Before what names them. An agent that needs none any more is told so, once."""
        names = self._view.secrets_of(agent)
        if not (names or session.secrets):
            return
        data = self._secrets.message(names)
        if data != session.secrets:
            session.secrets = data
            session.link.post("secrets", data)

    def _tell_authorities(self, session: Session, agent: AgentView) -> None:
        """What an agent with a certificate cannot know from its enrolment: who is trusted now, and that it is late."""
        trust = self._view.trust
        if not agent.row.serial or not trust.authorities:
            return
        bundle = b"".join(row.certificate for row in trust.trusted)
        late = agent.row.serial in trust.older
        before, session.trust = session.trust, (bundle, late)
        if before == session.trust or (before is None and not late and len(trust.trusted) == 1):
            return
        within_ms = 1 + 1000 * len(self._sessions) // _RENEWALS_PER_S if late else 0
        message = Authorities(ca_bundle=bundle, renew_within_ms=within_ms)
        session.link.post(key_of(message), codec.encode_server(message))

    def _tell_some(self, session: Session, agent: AgentView, names: Iterable[str]) -> None:
        self._tell_secrets(session, agent)
        for name in names:
            pipeline = self._view.pipelines[name]
            wanted = pipeline.row.generation if pipeline.matches(agent) else None
            asked = session.asked_for(name)
            match act(wanted=wanted, known=pipeline.known, asked=asked, mark=session.marks.get(name)):
                case Act.SEND:
                    self._send(session, name)
                    row = pipeline.row
                    self._meters.propagation.sent(
                        session.agent_id, name, generation=row.generation, committed_at=row.updated_at
                    )
                case Act.REMOVE:
                    self._remove(session, name)
                case Act.NOTHING | Act.ORPHAN:
                    pass

    def _send(self, session: Session, name: str) -> None:
        pipeline = self._view.pipelines[name]
        session.marks.pop(name, None)
        session.told[name] = Asked(pipeline.row.generation)
        session.link.post(f"desired/{name}", pipeline.desired)

    def _remove(self, session: Session, name: str) -> None:
        asked, pipeline = session.asked_for(name), self._view.pipelines.get(name)
        generation = asked.generation if asked else 0
        if pipeline is not None and pipeline.row.generation >= generation:
            generation, data = pipeline.row.generation, pipeline.remove
        else:  # an orphan that this instance never knew: the agent's own generation is the newest there is
            data = codec.encode_server(Remove(pipeline=name, generation=generation))
        session.told[name] = Asked(generation, removed=True)
        session.link.post(f"desired/{name}", data)

    async def _commands(self, ids: Collection[str]) -> None:
        rows: list[CommandRow] = []
        async with self._store.read() as reader:
            for part in pieces(sorted(ids)):
                rows += await reader.find(CommandRow, id=part, done=False)
        for row in rows:
            session = self._sessions.get(row.agent_id)
            if session is not None and session.live:
                self._command(session, row)

    def _command(self, session: Session, row: CommandRow) -> None:
        if row.done or row.deadline <= self._clock():
            return
        command = Command(
            id=row.id, kind=row.kind, pipeline=row.pipeline, deadline=row.deadline, lines=row.lines, sha256=row.sha256
        )
        session.link.post(key_of(command), codec.encode_server(command))

    def _completed(self) -> bytes:
        revision = self._view.plane.fleet_revision
        if self._complete[0] != revision:
            self._complete = (revision, codec.encode_server(Complete(fleet_revision=revision)))
        return self._complete[1]
