"""Enrolment: a bootstrap token and an agent's facts against an id and a credential of its own.

A refused enrolment makes no agent; it is an event, as long as refusals are few. An agent that shows its previous
credential keeps its id, and that credential ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controlplane.identity import credentials
from controlplane.identity.secret import Kind, mint, new_id, take_apart
from controlplane.identity.tokens import redeem
from controlplane.labels import check_labels
from controlplane.model import AgentRow, Topic
from controlplane.state.store import Store, Transaction
from headrace.errors import ForbiddenError, HeadraceError, InvalidError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import AgentState, Facts, Severity

_LONGEST_NAME = 253
_LONGEST_FACT = 200
_MOST_ENGINES, _MOST_CAPABILITIES = 16, 64
_EVENTS_PER_MINUTE = 30


class Enrolment:
    """Gives identities to agents; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._minute = datetime.min.replace(tzinfo=clock().tzinfo)
        self._refused = 0

    async def enroll(self, request: EnrollRequest, *, peer: str) -> EnrollResponse:
        """Raises UnauthenticatedError for the token, InvalidError for the facts."""
        try:
            check_facts(request.facts)
            async with self._store.write() as tx:
                return await self._enroll(tx, request)
        except (UnauthenticatedError, InvalidError) as error:
            await self._record_refusal(request.facts.name, peer, error)
            raise

    async def _enroll(self, tx: Transaction, request: EnrollRequest) -> EnrollResponse:
        now = self._clock()
        token = await redeem(tx, request.token, now)
        previous = await _previous(tx, request)
        identifier = previous.id if previous else new_id("a-")
        credential, credential_hash = mint(Kind.AGENT, identifier)
        agent = AgentRow(
            id=identifier,
            name=request.facts.name,
            state=previous.state if previous else AgentState.PENDING,
            facts=request.facts,
            token_labels=token.labels,
            credential_hash=credential_hash,
            token_id=token.id,
            enrolled_at=now,
            state_since=now,
        )
        if previous:
            agent = replace(
                agent,
                operator_labels=previous.operator_labels,
                last_seen=previous.last_seen,
                state_since=previous.state_since,
            )
        await tx.put(agent)
        tx.log(Topic.AGENT, identifier)
        tx.event(
            "agent.enrolled",
            f"{agent.name} with token {token.id}" + (", keeping its id" if previous else ""),
            agent_id=identifier,
        )
        plane = await tx.plane()
        return EnrollResponse(agent_id=identifier, credential=credential, instance_id=plane.instance_id)

    async def _record_refusal(self, name: str, peer: str, error: HeadraceError) -> None:
        """An event for each of the first refusals of a minute, so that a flood of them fills no disk."""
        now = self._clock()
        if now - self._minute >= timedelta(minutes=1):
            self._minute, self._refused = now, 0
        self._refused += 1
        if self._refused > _EVENTS_PER_MINUTE:
            return
        shown = name[:_LONGEST_NAME] if name.isprintable() else "?"
        more = "; further refusals of this minute are not recorded" if self._refused == _EVENTS_PER_MINUTE else ""
        async with self._store.write() as tx:
            message = f"{shown or '?'} at {peer}: {error.message}{more}"
            tx.event("agent.refused", message, severity=Severity.WARNING)


def check_facts(facts: Facts) -> None:
    """Raises InvalidError for what nothing could select or show, and for more than an agent has to say."""
    if not facts.name or len(facts.name) > _LONGEST_NAME or not facts.name.isprintable() or " " in facts.name:
        raise InvalidError(f"an agent's name has 1 to {_LONGEST_NAME} printable characters without spaces")
    check_labels(facts.labels, f"labels of agent {facts.name!r}")
    if len(facts.engines) > _MOST_ENGINES or len(facts.capabilities) > _MOST_CAPABILITIES:
        raise InvalidError(
            f"agent {facts.name!r}: at most {_MOST_ENGINES} engines and {_MOST_CAPABILITIES} capabilities can be told"
        )
    texts = [facts.version, facts.os, facts.arch, *facts.capabilities]
    texts += [text for info in facts.engines for text in (info.version, info.catalogue_sha256)]
    if any(len(text) > _LONGEST_FACT or not text.isprintable() for text in texts):
        raise InvalidError(
            f"agent {facts.name!r}: versions, capabilities and such have at most {_LONGEST_FACT} printable characters"
        )


async def _previous(tx: Transaction, request: EnrollRequest) -> AgentRow | None:
    """The agent that the claims prove; claims that prove nothing are as good as none."""
    claimed = request.claims.get("credential")
    if not claimed:
        return None
    try:
        secret = take_apart(claimed, Kind.AGENT)
        return credentials.check(secret, await tx.get(AgentRow, secret.id))
    except (UnauthenticatedError, ForbiddenError):
        return None
