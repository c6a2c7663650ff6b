"""Who signs agents' certificates, who is trusted besides, and how that changes without an agent being cut off.

The store says which authorities there are, so that every control plane on it agrees: the newest signs, and nobody
signs with an older one from that commit on, whatever files it has. The older ones are trusted until no certificate by
them is good any more, or an operator ends that. Keys are in files (`authority_files`): a control plane without the key
of the one that signs issues nothing, says so, and lets in everybody all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

import structlog
from cryptography import x509

from controlplane.identity.authority_files import AuthorityFiles
from controlplane.identity.certificates import CertificateAuthority, Issued, Shown, read
from controlplane.model import AUTHORITIES_KEY, AgentRow, AuthorityRow, CertificateRow, Topic
from controlplane.state.store import Reader, Store, Transaction
from controlplane.view import ABSENT, View
from controlplane.words import some
from headrace import api
from headrace.errors import ConflictError, UnauthenticatedError, UnavailableError
from headrace.types import AgentState, Severity

_NAMED = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holders:
    """Of one authority: the names of the agents that use a certificate by it, and when its last good one expires."""

    connected: tuple[str, ...] = ()
    away: int = 0
    last_expires_at: datetime | None = None


class Authorities:
    """The rules of authorities; safe to use from many tasks of one loop, once `start` has returned."""

    def __init__(self, *, store: Store, view: View, files: AuthorityFiles, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._view = view
        self._files = files
        self._clock = clock
        self._pair: CertificateAuthority | None = None

    async def start(self) -> None:
        """Begins with what the files hold, where that is new here. Raises InvalidError, UnavailableError."""
        async with self._store.write() as tx:
            rows = await _known(tx)
            if not rows:
                await self._add(tx, rows, self._files.first())
            elif self._files.find(rows[-1].fingerprint) is None:
                await self._begin_anew(tx, rows)

    def bundle(self) -> bytes:
        """All that are trusted, in PEM, the one that signs first; may be asked for from any thread."""
        return _bundle(self._view.trust.authorities)

    async def read(self, pem: bytes) -> Shown | None:
        """Whom a certificate names. Raises UnauthenticatedError for one by nobody who is trusted."""
        try:
            return read(pem, _certificates(self._view.trust.trusted))
        except UnauthenticatedError:
            async with self._store.read() as reader:  # another replica may have begun with a new one
                rows = await _known(reader)
            return read(pem, _certificates(row for row in rows if row.ended_at is None))

    async def issue(self, tx: Transaction, csr: bytes, *, agent_id: str, instance_id: str, now: datetime) -> Issued:
        """A certificate, put into the store too. Raises InvalidError for a bad request, UnavailableError."""
        rows = await _known(tx)
        signing = rows[-1]
        pair = self._pair
        if pair is None or pair.fingerprint != signing.fingerprint:
            pair = self._pair = self._files.find(signing.fingerprint)
        if pair is None:
            log.error("this control plane lacks the key that signs", authority=signing.fingerprint)
            raise UnavailableError(
                f"this control plane has not the key of authority {_short(signing)}, which signs agents' certificates "
                f"since {signing.added_at:%Y-%m-%d %H:%M:%S} UTC; put it where --ca-cert and --ca-key say"
            )
        issued = pair.issue(csr, agent_id=agent_id, instance_id=instance_id, now=now)
        await tx.put(
            CertificateRow(
                serial=issued.serial,
                agent_id=agent_id,
                issued_at=now,
                expires_at=issued.expires_at,
                authority=signing.fingerprint,
            )
        )
        return replace(issued, bundle=_bundle(rows))

    async def all(self) -> tuple[api.CertificateAuthority, ...]:
        """Those that are trusted; the one that signs first."""
        async with self._store.read() as reader:
            rows = await _known(reader)
            holders = await self._holders(reader, rows)
        trusted = [row for row in reversed(rows) if row.ended_at is None]
        return tuple(self._shown(row, holders[row.fingerprint], signs=row is rows[-1]) for row in trusted)

    async def rotate(self, *, author: str) -> api.CertificateAuthority:
        """Another one signs from this commit on. Raises ConflictError, InvalidError."""
        async with self._store.write() as tx:
            rows = await _known(tx)
            pair = self._files.fresh({row.fingerprint for row in rows})
            row = await self._add(tx, rows, pair, why="an operator asked for it", author=author)
        return self._shown(row, _Holders(), signs=True)

    async def finish(self, *, author: str, force: bool) -> tuple[api.CertificateAuthority, ...]:
        """Nobody is known by the older ones from this commit on. Raises ConflictError while agents need them."""
        async with self._store.write() as tx:
            rows = await _known(tx)
            older = [row for row in rows[:-1] if row.ended_at is None]
            if not older:
                raise ConflictError("only one authority is trusted; `headrace ca rotate` begins with another")
            holders = await self._holders(tx, rows)
            connected = sorted(name for row in older for name in holders[row.fingerprint].connected)
            away = sum(holders[row.fingerprint].away for row in older)
            if connected and not force:
                more = f" and {len(connected) - _NAMED} more" if len(connected) > _NAMED else ""
                raise ConflictError(
                    f"{some(len(connected), 'connected agent')} ({', '.join(connected[:_NAMED])}{more}) and "
                    f"{some(away, 'agent')} that are away have certificates by older authorities only; those that are "
                    "connected renew by themselves: wait, or --force, and they come by their keys until they have"
                )
            for row in older:
                held = holders[row.fingerprint]
                await self._end(tx, row, f"{len(held.connected)} connected and {held.away} other agents used", author)
        for row in older:
            self._files.erase(row.fingerprint)
        return tuple(self._shown(row, holders[row.fingerprint], signs=False) for row in older)

    async def sweep(self) -> None:
        """Ends the older ones that no good certificate is by any more."""
        if len(self._view.trust.trusted) < 2:
            return
        async with self._store.read() as reader:
            if not await self._unused(reader):
                return
        async with self._store.write() as tx:
            ended = await self._unused(tx)
            for row in ended:
                await self._end(tx, row, "no agent has", "")
        for row in ended:
            self._files.erase(row.fingerprint)

    async def _begin_anew(self, tx: Transaction, rows: Sequence[AuthorityRow]) -> None:
        """The key of the one that signs is not here: the files hold another one, or it was lost."""
        known = {row.fingerprint for row in rows}
        try:
            pair = self._files.fresh(known)
        except ConflictError as error:
            log.error("agents get no certificates from this control plane", reason=error.message)
            return
        await self._add(tx, rows, pair, why="the key of the one before it is not here")

    async def _unused(self, reader: Reader) -> list[AuthorityRow]:
        """The trusted ones that do not sign and that no good certificate is by."""
        rows = await _known(reader)
        holders = await self._holders(reader, rows)
        return [row for row in rows[:-1] if row.ended_at is None and holders[row.fingerprint].last_expires_at is None]

    async def _add(
        self,
        tx: Transaction,
        rows: Sequence[AuthorityRow],
        pair: CertificateAuthority,
        *,
        why: str = "",
        author: str = "",
    ) -> AuthorityRow:
        row = AuthorityRow(
            fingerprint=pair.fingerprint,
            number=rows[-1].number + 1 if rows else 1,
            certificate=pair.bundle,
            added_at=self._clock(),
        )
        await tx.put(row)
        tx.log(Topic.PLANE, AUTHORITIES_KEY)
        if rows:
            before = f"{_short(rows[-1])} is trusted until its last certificate has ended"
            tx.event("ca.rotated", f"authority {_short(row)} signs, {why}; {before}", actor=author)
        return row

    async def _end(self, tx: Transaction, row: AuthorityRow, who: str, author: str) -> None:
        await tx.put(replace(row, ended_at=self._clock()))
        tx.log(Topic.PLANE, AUTHORITIES_KEY)
        message = f"authority {_short(row)} is trusted no more; {who} a good certificate by it"
        tx.event("ca.ended", message, actor=author, severity=Severity.WARNING if author else None)

    async def _holders(self, reader: Reader, rows: Sequence[AuthorityRow]) -> Mapping[str, _Holders]:
        now = self._clock()
        certificates = [row for row in await reader.find(CertificateRow, revoked_at=None) if row.expires_at > now]
        agents = {row.id: row for row in await reader.find(AgentRow) if row.state not in ABSENT}
        found = {}
        for authority in rows:
            signed = [row for row in certificates if (row.authority or rows[0].fingerprint) == authority.fingerprint]
            using = [agents[row.agent_id] for row in signed if _uses(agents.get(row.agent_id), row)]
            states = Counter(agent.state is AgentState.CONNECTED for agent in using)
            found[authority.fingerprint] = _Holders(
                connected=tuple(agent.name for agent in using if agent.state is AgentState.CONNECTED),
                away=states[False],
                last_expires_at=max((row.expires_at for row in signed), default=None),
            )
        return found

    def _shown(self, row: AuthorityRow, holders: _Holders, *, signs: bool) -> api.CertificateAuthority:
        certificate = _certificate(row.certificate)
        return api.CertificateAuthority(
            fingerprint=row.fingerprint,
            certificate=row.certificate,
            subject=certificate.subject.rfc4514_string(),
            signs=signs,
            has_key=self._files.find(row.fingerprint) is not None,
            added_at=row.added_at,
            valid_from=certificate.not_valid_before_utc,
            valid_until=certificate.not_valid_after_utc,
            agents=len(holders.connected) + holders.away,
            connected=len(holders.connected),
            last_expires_at=holders.last_expires_at,
        )


async def _known(reader: Reader) -> Sequence[AuthorityRow]:
    """All that ever were, oldest first."""
    return sorted(await reader.find(AuthorityRow), key=lambda row: row.number)


def _uses(agent: AgentRow | None, certificate: CertificateRow) -> bool:
    return agent is not None and agent.serial == certificate.serial


def _certificates(rows: Iterable[AuthorityRow]) -> list[x509.Certificate]:
    return [_certificate(row.certificate) for row in rows]


@lru_cache(maxsize=16)
def _certificate(pem: bytes) -> x509.Certificate:
    """Read once, since each session by a certificate is held against it."""
    return x509.load_pem_x509_certificate(pem)


def _bundle(rows: Sequence[AuthorityRow]) -> bytes:
    return b"".join(row.certificate for row in reversed(rows) if row.ended_at is None)


def _short(row: AuthorityRow) -> str:
    return row.fingerprint[:16]
