"""Bootstrap tokens: made, listed, revoked, and redeemed once for each agent that enrols.

`check` tells whether a token is good for an agent, `redeem` also takes one of its uses; what is read and taken in one
write transaction cannot be taken twice, however many replicas are asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from controlplane.identity.scope import check_claims, check_source, read_networks, read_scope
from controlplane.identity.secret import Kind, mint, new_id, take_apart
from controlplane.labels import check_labels
from controlplane.model import AgentRow, TokenRow, Topic
from controlplane.state.store import Reader, Store, Transaction
from controlplane.view import ABSENT
from controlplane.words import some
from headrace import api
from headrace.errors import InvalidError, NotFoundError, UnauthenticatedError

_DEFAULT_TTL_S = 3600
_LONGEST_TTL_S = 366 * 24 * 3600
_NO_HASH = "0" * 64


class Tokens:
    """The rules of bootstrap tokens."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def create(self, request: api.CreateTokenRequest, *, author: str) -> api.CreateTokenResponse:
        """A token that is good for a while and some uses; its secret is in this answer only. Raises InvalidError."""
        check_labels(request.labels, "token labels")
        if request.ttl_seconds > _LONGEST_TTL_S:
            raise InvalidError(f"a token lives for at most {_LONGEST_TTL_S} s; {request.ttl_seconds} s were asked for")
        now = self._clock()
        identifier = new_id("t-")
        secret, secret_hash = mint(Kind.BOOTSTRAP, identifier)
        row = TokenRow(
            id=identifier,
            secret_hash=secret_hash,
            created_at=now,
            expires_at=now + timedelta(seconds=request.ttl_seconds or _DEFAULT_TTL_S),
            max_uses=request.max_uses or (0 if request.max_agents else 1),
            labels=dict(request.labels),
            author=author,
            description=request.description,
            max_agents=request.max_agents,
            scope=read_scope(request.scope),
            networks=read_networks(request.networks),
            approve=request.approve,
        )
        async with self._store.write() as tx:
            await tx.put(row)
            tx.log(Topic.TOKEN, row.id)
            tx.event("token.created", f"token {row.id}, {_terms(row)}", actor=author)
        return api.CreateTokenResponse(token=_shown(row), secret=secret)

    async def list(self) -> tuple[api.Token, ...]:
        """All that are kept, without their secrets."""
        async with self._store.read() as reader:
            return tuple(_shown(row) for row in await reader.find(TokenRow))

    async def revoke(self, identifier: str, *, author: str) -> None:
        """Nobody enrols with it from now on; agents that did stay. Raises NotFoundError."""
        async with self._store.write() as tx:
            row = await tx.get(TokenRow, identifier)
            if row is None:
                raise NotFoundError(f"there is no token {identifier!r}; `headrace token list` shows those there are")
            await tx.put(replace(row, revoked=True))
            tx.log(Topic.TOKEN, row.id)
            tx.event("token.revoked", f"token {row.id}", actor=author)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who wants to enrol: from which address, claiming which labels, and as which agent, if it proved to be one."""

    name: str
    source: str
    labels: Mapping[str, str]
    agent_id: str = ""


async def check(reader: Reader, token: str, applicant: Applicant, now: datetime) -> TokenRow:
    """The token, if it is good for this one.

    Raises UnauthenticatedError for a token that is good for nobody, and ForbiddenError for one with another scope; the
    message begins with the reason.
    """
    secret = take_apart(token, Kind.BOOTSTRAP)
    row = await reader.get(TokenRow, secret.id)
    # A comparison is made in any case: how long a refusal takes tells nothing of which tokens there are.
    if not secret.opens(row.secret_hash if row is not None else _NO_HASH) or row is None:
        raise UnauthenticatedError(
            "unknown: the bootstrap token is not known here; make one with `headrace token create`"
        )
    for bad, reason, why in (
        (row.revoked, "revoked", "was revoked"),
        (row.expires_at <= now, "expired", f"expired at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC"),
        (
            0 < row.max_uses <= row.uses,
            "used up",
            f"has been used {some(row.uses, 'time')}, which is all it was good for",
        ),
    ):
        if bad:
            raise UnauthenticatedError(
                f"{reason}: bootstrap token {row.id} {why}; make one with `headrace token create`"
            )
    check_source(row.networks, applicant.source, f"bootstrap token {row.id}")
    check_claims(row.scope, applicant.labels, f"agent {applicant.name!r}")
    await check_room(reader, row, applicant)
    return row


async def redeem(tx: Transaction, token: str, applicant: Applicant, now: datetime) -> TokenRow:
    """Takes one use of a token. Raises what `check` does."""
    row = await check(tx, token, applicant, now)
    used = replace(row, uses=row.uses + 1)
    await tx.put(used)
    tx.log(Topic.TOKEN, row.id)
    return used


async def check_room(reader: Reader, row: TokenRow, applicant: Applicant) -> None:
    """Raises UnauthenticatedError where as many of its agents are here as may be."""
    if not row.max_agents:
        return
    agents = [agent for agent in await reader.find(AgentRow, token_id=row.id) if agent.state not in ABSENT]
    there = sum(agent.id != applicant.agent_id for agent in agents)
    if there >= row.max_agents:
        raise UnauthenticatedError(
            f"full: bootstrap token {row.id} is good for {some(row.max_agents, 'agent')} at one time, and {there} of "
            "it are here; revoke one with `headrace agent revoke`, or make another token"
        )


def _terms(row: TokenRow) -> str:
    """What it is good for, in words."""
    terms = [f"good for {some(row.max_uses, 'agent') if row.max_uses else 'any number of agents'}"]
    if row.max_agents:
        terms.append(f"{row.max_agents} at one time")
    if row.scope:
        terms.append(f"which may claim {row.scope!r}")
    if row.networks:
        terms.append(f"from {', '.join(row.networks)}")
    if row.approve:
        terms.append("each after an operator's approval")
    return ", ".join(terms)


def _shown(row: TokenRow) -> api.Token:
    return api.Token(
        id=row.id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        uses=row.uses,
        max_uses=row.max_uses,
        labels=row.labels,
        revoked=row.revoked,
        author=row.author,
        description=row.description,
        max_agents=row.max_agents,
        scope=row.scope,
        networks=row.networks,
        approve=row.approve,
    )
