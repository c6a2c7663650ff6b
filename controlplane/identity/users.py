"""People and programs that use the management API: made, listed, revoked, and each known by one thing.

That is a token of their own, of which only the hash is kept, or a subject: whom a certificate names, whom a trusted
proxy names, or a group of whoever that names. A name is what events and revisions show as the author. A revoked or
expired user is refused from that moment on, by every control plane, since each call looks it up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta

from controlplane.identity import roles
from controlplane.identity.proxies import LONGEST
from controlplane.identity.secret import Kind, mint, take_apart
from controlplane.model import Topic, UserRow
from controlplane.state.store import Store
from headrace import api
from headrace.config import did_you_mean
from headrace.errors import ConflictError, InvalidError, NotFoundError, UnauthenticatedError
from headrace.names import validate_name
from headrace.types import KnownBy, Role

_MAPPED = (KnownBy.CERTIFICATE, KnownBy.HEADER, KnownBy.GROUP)
_LONGEST_TTL_S = 10 * 366 * 24 * 3600
_LONGEST_TEXT = 4096
_UNKNOWN = "the token is not known here; ask an admin of this control plane for one (`headrace user create`)"


class Users:
    """The rules of users; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def create(self, request: api.CreateUserRequest, *, author: str) -> api.CreateUserResponse:
        """A user and the token, which is in this answer only. Raises InvalidError, ConflictError."""
        name, now = validate_name(request.name, "user name"), self._clock()
        if request.role is None:
            raise InvalidError(f"user {name!r} needs a role: {', '.join(roles.ORDER)}")
        if request.ttl_seconds > _LONGEST_TTL_S:
            raise InvalidError(f"user {name!r}: a token lives for at most {_LONGEST_TTL_S} s")
        if len(request.description) > _LONGEST_TEXT:
            raise InvalidError(f"user {name!r}: the description has more than {_LONGEST_TEXT} characters")
        known_by = request.known_by or KnownBy.TOKEN
        _check_subject(name, known_by, request.subject)
        token, token_hash = mint(Kind.USER, name) if known_by is KnownBy.TOKEN else ("", "")
        row = UserRow(
            name=name,
            role=request.role,
            token_hash=token_hash,
            author=author,
            description=request.description,
            created_at=now,
            expires_at=now + timedelta(seconds=request.ttl_seconds) if request.ttl_seconds else None,
            known_by=known_by,
            subject=request.subject,
        )
        async with self._store.write() as tx:
            before = await tx.get(UserRow, name)
            if before is not None and not _why_not(before, now):
                raise ConflictError(f"there is a user {name!r} already; revoke it first, for a new token or role")
            if row.subject:
                for other in await tx.find(UserRow, known_by=known_by, subject=row.subject):
                    if other.name != name and not _why_not(other, now):
                        raise ConflictError(f"{known_by.value} {row.subject!r} is user {other.name!r} already")
            await tx.put(row)
            tx.log(Topic.TOKEN, f"user/{name}")
            tx.event("user.created", f"user {name}, role {row.role.value}, known by {_by(row)}", actor=author)
        return api.CreateUserResponse(user=_shown(row), token=token)

    async def list(self) -> tuple[api.User, ...]:
        """All that ever were, without their tokens."""
        async with self._store.read() as reader:
            return tuple(map(_shown, await reader.find(UserRow)))

    async def any_may_enter(self) -> bool:
        """Whether there is anybody who is known here now."""
        now = self._clock()
        async with self._store.read() as reader:
            return any(not _why_not(row, now) for row in await reader.find(UserRow))

    async def revoke(self, name: str, *, author: str) -> None:
        """Its token is good for nothing from this commit on. Raises NotFoundError."""
        async with self._store.write() as tx:
            row = await tx.get(UserRow, name)
            if row is None:
                names = [each.name for each in await tx.find(UserRow)]
                raise NotFoundError(f"there is no user {name!r}{did_you_mean(name, names)}")
            if row.revoked:
                return
            await tx.put(replace(row, revoked=True))
            tx.log(Topic.TOKEN, f"user/{name}")
            tx.event("user.revoked", f"user {name}, role {row.role.value}", actor=author)

    async def known_by(self, token: str) -> tuple[str, Role]:
        """Name and role of whoever has this token. Raises UnauthenticatedError."""
        secret = take_apart(token, Kind.USER)
        async with self._store.read() as reader:
            row = await reader.get(UserRow, secret.id)
        if row is None or row.known_by is not KnownBy.TOKEN or not secret.opens(row.token_hash):
            raise UnauthenticatedError(_UNKNOWN)
        if why := _why_not(row, self._clock()):
            raise UnauthenticatedError(f"the token of user {row.name!r} {why}; ask an admin for another one")
        return row.name, row.role

    async def known_as(self, kind: KnownBy, subject: str, *, groups: Collection[str] = ()) -> tuple[str, Role]:
        """Name and role of whom a certificate or a header names; else, by their groups, the subject and what they may.

        Who was named and may not any more is refused, whatever their groups may. Raises UnauthenticatedError.
        """
        now = self._clock()
        async with self._store.read() as reader:
            named = await reader.find(UserRow, known_by=kind, subject=subject)
            grouped = await reader.find(UserRow, known_by=KnownBy.GROUP, subject=list(groups)) if groups else []
        for row in named:
            if not _why_not(row, now):
                return row.name, row.role
        if named:
            raise UnauthenticatedError(f"user {named[0].name!r}, {kind.value} {subject!r}, {_why_not(named[0], now)}")
        allowed = [row.role for row in grouped if not _why_not(row, now)]
        if not allowed:
            raise UnauthenticatedError(
                f"{kind.value} {subject!r} is no user here; ask an admin of this control plane "
                f"(`headrace user create NAME --role ROLE --{kind.value} {subject!r}`)"
            )
        return subject, max(allowed, key=roles.ORDER.index)


def _check_subject(name: str, known_by: KnownBy, subject: str) -> None:
    """Raises InvalidError."""
    if known_by is KnownBy.TOKEN:
        if subject:
            raise InvalidError(f"user {name!r} is known by a token, so there is nobody that a certificate names")
        return
    if known_by not in _MAPPED:
        raise InvalidError(f"user {name!r} cannot be known by {known_by.value!r} here")
    if not 1 <= len(subject) <= LONGEST or not subject.isprintable() or subject != subject.strip():
        raise InvalidError(
            f"user {name!r}: whom a {known_by.value} names has 1 to {LONGEST} printable characters, as ann@example.com"
        )


def _by(row: UserRow) -> str:
    return f"{row.known_by.value} {row.subject!r}" if row.subject else f"a {row.known_by.value}"


def _why_not(row: UserRow, now: datetime) -> str:
    if row.revoked:
        return "was revoked"
    if row.expires_at is not None and row.expires_at <= now:
        return f"expired at {row.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    return ""


def _shown(row: UserRow) -> api.User:
    return api.User(
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked=row.revoked,
        author=row.author,
        description=row.description,
        known_by=row.known_by,
        subject=row.subject,
    )
