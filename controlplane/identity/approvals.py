"""Agents that need an operator's approval: they wait without an identity, so that nothing is desired of them.

Such an agent is known by its key: asking again with it, and with the token of before, is the same application, takes no
further use of the token, and outlives the token's time; with another token it waits anew, in the same place. An
approval is taken up when the agent comes again; it may give the id of an agent that is known already and lost its key.
What nobody decides on, or nobody takes up, ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controlplane.identity.secret import Kind, new_id, take_apart
from controlplane.model import AgentRow, ApplicationRow, TokenRow, Topic, Verdict
from controlplane.state.store import Reader, Store, Transaction
from headrace import api, selector
from headrace.config import did_you_mean
from headrace.errors import ForbiddenError, InvalidError, NotFoundError, UnauthenticatedError
from headrace.messages import EnrollRequest
from headrace.types import AgentState, Severity

WAITS = timedelta(hours=24)
"""For how long an application is kept, from when the agent asked first."""
AGAIN = timedelta(seconds=5)
"""After which an agent that waits may ask again."""


class DeniedError(ForbiddenError):
    """An operator refused this agent, which is an event already."""


class Approvals:
    """What operators do with agents that wait; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def matching(self, text: str) -> tuple[api.Agent, ...]:
        """Those with such labels that wait for a decision, or are approved of and have not come back yet."""
        chosen = selector.parse(text or "*")
        async with self._store.read() as reader:
            rows = [row for row in await reader.find(ApplicationRow) if chosen.matches(row.facts.labels)]
        return tuple(_shown(row) for row in rows if row.verdict is not Verdict.DENIED and self._is_open(row))

    async def waiting(self, name: str) -> api.Agent | None:
        """One of those, by id or name; None where nobody waits by it. Raises InvalidError where several do."""
        async with self._store.read() as reader:
            try:
                row = await self._find(reader, name)
            except NotFoundError:
                return None
        return None if row.verdict is Verdict.DENIED else _shown(row)

    async def approve(self, request: api.ApproveAgentRequest, *, author: str) -> str:
        """The id that the agent gets. Raises NotFoundError, and InvalidError for an id that it cannot get."""
        async with self._store.write() as tx:
            row = await self._find(tx, request.agent)
            known = await _known(tx, request.replaces) if request.replaces else None
            await tx.put(
                replace(
                    row,
                    verdict=Verdict.APPROVED,
                    replaces=known.id if known else "",
                    author=author,
                    expires_at=self._clock() + WAITS,
                )
            )
            more = f" as {known.name} ({known.id}), which keeps its id" if known else ""
            tx.log(Topic.TOKEN, f"application/{row.id}")
            tx.event("agent.approved", f"{row.name} from {row.source}{more}", actor=author)
            return known.id if known else row.id

    async def deny(self, request: api.DenyAgentRequest, *, author: str) -> None:
        """It is told so whenever it asks, until the application ends. Raises NotFoundError."""
        async with self._store.write() as tx:
            row = await self._find(tx, request.agent)
            await tx.put(replace(row, verdict=Verdict.DENIED, author=author, reason=request.reason))
            tx.log(Topic.TOKEN, f"application/{row.id}")
            why = f": {request.reason}" if request.reason else ""
            tx.event("agent.denied", f"{row.name} from {row.source}{why}", actor=author, severity=Severity.WARNING)

    async def sweep(self) -> None:
        """Ends what is over."""
        async with self._store.read() as reader:
            if all(self._is_open(row) for row in await reader.find(ApplicationRow)):
                return
        async with self._store.write() as tx:
            for row in await tx.find(ApplicationRow):
                if not self._is_open(row):
                    await tx.delete(ApplicationRow, row.id)
                    if row.verdict is not Verdict.DENIED:
                        tx.event("agent.expired", f"{row.name} from {row.source} was {_WAS[row.verdict]}")

    def _is_open(self, row: ApplicationRow) -> bool:
        return row.expires_at > self._clock()

    async def _find(self, reader: Reader, name: str) -> ApplicationRow:
        rows = [row for row in await reader.find(ApplicationRow) if self._is_open(row)]
        found = [row for row in rows if row.id == name] or [row for row in rows if row.name == name]
        if not found:
            names = [row.name for row in rows]
            raise NotFoundError(f"no agent {name!r} waits for approval{did_you_mean(name, names)}")
        if len(found) > 1:
            ids = ", ".join(f"{row.id} at {row.source}" for row in found[:8])
            raise InvalidError(f"{len(found)} agents called {name!r} wait; say which by its id: {ids}")
        return found[0]


async def pending(reader: Reader, request: EnrollRequest, key: str, now: datetime) -> ApplicationRow | None:
    """The application that this key made by this token, if it is not over.

    Raises DeniedError, and UnauthenticatedError where the token was revoked meanwhile.
    """
    if not key:
        return None
    rows = [row for row in await reader.find(ApplicationRow, public_key=key) if row.expires_at > now]
    if not rows:
        return None
    secret = take_apart(request.token, Kind.BOOTSTRAP)
    token = await reader.get(TokenRow, secret.id)
    row = next((row for row in rows if token is not None and row.token_id == token.id), None)
    if row is None or token is None or not secret.opens(token.secret_hash):
        return None
    if token.revoked:
        raise UnauthenticatedError(
            f"revoked: bootstrap token {token.id} was revoked; make one with `headrace token create`"
        )
    if row.verdict is Verdict.DENIED:
        why = f": {row.reason}" if row.reason else ""
        raise DeniedError(f"denied: {row.author} refused agent {row.name!r}{why}; ask them, and enrol it anew then")
    return row


async def apply(
    tx: Transaction, request: EnrollRequest, key: str, *, token: TokenRow, source: str, claimed: str, now: datetime
) -> None:
    """Begins to wait; `claimed` is the agent whose credential it showed. Raises ForbiddenError if it has no key."""
    if not key:
        raise ForbiddenError("an operator has to approve of this agent, which is known by its key, and it showed none")
    # With another token than before it is the same agent still, which takes its own place.
    before = [row.id for row in await tx.find(ApplicationRow, public_key=key) if row.verdict is Verdict.WAITING]
    row = ApplicationRow(
        id=before[0] if before else new_id("a-"),
        public_key=key,
        name=request.facts.name,
        facts=request.facts,
        token_id=token.id,
        source=source,
        claimed=claimed,
        asked_at=now,
        expires_at=now + WAITS,
    )
    await tx.put(row)
    tx.log(Topic.TOKEN, f"application/{row.id}")
    who = f", with the credential of {claimed} and not its key" if claimed else ""
    message = f"{row.name} from {source} with token {token.id} waits for approval{who}"
    tx.event("agent.pending", message, severity=Severity.WARNING)


async def take_up(tx: Transaction, row: ApplicationRow) -> tuple[AgentRow | None, TokenRow]:
    """Ends an application that was approved of: the agent that it is to be, if one is known, and its token."""
    await tx.delete(ApplicationRow, row.id)
    agent = await tx.get(AgentRow, row.replaces) if row.replaces else None
    token = await tx.get(TokenRow, row.token_id)
    if token is None or (agent is not None and agent.state is AgentState.REVOKED):
        raise UnauthenticatedError(f"what agent {row.name!r} was approved of is gone; enrol it anew")
    return agent, token


async def _known(tx: Transaction, name: str) -> AgentRow:
    agent = await tx.get(AgentRow, name)
    found = [agent] if agent else await tx.find(AgentRow, name=name)
    found = [row for row in found if row.state is not AgentState.REVOKED]
    if len(found) != 1:
        many = f"{len(found)} agents are called {name!r}; say which by its id" if found else ""
        raise NotFoundError(many or f"there is no agent {name!r} whose id could be kept; `headrace get agents --all`")
    return found[0]


_WAS = {Verdict.WAITING: "decided on by nobody", Verdict.APPROVED: "approved of, and did not come back"}


def _shown(row: ApplicationRow) -> api.Agent:
    return api.Agent(
        id=row.id,
        facts=row.facts,
        labels=row.facts.labels,
        state=AgentState.PENDING,
        token_id=row.token_id,
        waits=True,
        source=row.source,
        claimed=row.claimed,
    )
