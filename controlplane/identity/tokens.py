"""Bootstrap tokens: made, listed, revoked, and redeemed once for each agent that enrols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from controlplane.identity.secret import Kind, mint, new_id, take_apart
from controlplane.labels import check_labels
from controlplane.model import TokenRow, Topic
from controlplane.state.store import Store, Transaction
from controlplane.words import some
from headrace import api
from headrace.errors import InvalidError, NotFoundError, UnauthenticatedError

_DEFAULT_TTL_S = 3600
_LONGEST_TTL_S = 366 * 24 * 3600


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
            max_uses=request.max_uses or 1,
            labels=dict(request.labels),
            author=author,
            description=request.description,
        )
        async with self._store.write() as tx:
            await tx.put(row)
            tx.log(Topic.TOKEN, row.id)
            tx.event("token.created", f"token {row.id}, good for {some(row.max_uses, 'agent')}", actor=author)
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


async def redeem(tx: Transaction, token: str, now: datetime) -> TokenRow:
    """Takes one use of a token. Raises UnauthenticatedError that says why it is not good."""
    secret = take_apart(token, Kind.BOOTSTRAP)
    row = await tx.get(TokenRow, secret.id)
    if row is None or not secret.opens(row.secret_hash):
        raise UnauthenticatedError("the bootstrap token is not known here; make one with `headrace token create`")
    for bad, why in (
        (row.revoked, "was revoked"),
        (row.expires_at <= now, f"expired at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC"),
        (0 < row.max_uses <= row.uses, f"has been used {some(row.uses, 'time')}, which is all it was good for"),
    ):
        if bad:
            raise UnauthenticatedError(f"bootstrap token {row.id} {why}; make one with `headrace token create`")
    used = replace(row, uses=row.uses + 1)
    await tx.put(used)
    tx.log(Topic.TOKEN, row.id)
    return used


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
    )
