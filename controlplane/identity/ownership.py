"""Which process of an agent owns its session: a comparison of what is stored with who asks. Pure.

One boot id is one process. Its newer session replaces its older one; a new process replaces an old one; an old process
that comes back while the new one is alive is a second process with the same identity, which is the one case to alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from controlplane.model import SessionRow

_REMEMBERED = 8


class Verdict(StrEnum):
    """How a claim ends."""

    GRANTED = "granted"
    STALE = "stale"
    """A session of the same process that is not newer than the one there is."""
    DUPLICATE = "duplicate"
    """A process that was replaced, while its replacement is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A process that asks for its agent's session, through a replica."""

    agent_id: str
    session_id: str
    boot_id: str
    session_number: int
    replica: str
    shown: str = ""
    """By what it showed who it is."""


def judge(owner: SessionRow | None, claim: Claim, *, now: datetime) -> Verdict:
    """Whether the claim replaces the owner; one whose lease has run out keeps only its own older sessions away."""
    if owner is None:
        return Verdict.GRANTED
    if claim.boot_id == owner.boot_id:
        return Verdict.GRANTED if claim.session_number > owner.session_number else Verdict.STALE
    if claim.boot_id in owner.superseded and owner.lease_until > now:
        return Verdict.DUPLICATE
    return Verdict.GRANTED


def granted(owner: SessionRow | None, claim: Claim, *, now: datetime, lease_until: datetime) -> SessionRow:
    """The new owner, remembering the processes that were replaced."""
    superseded: tuple[str, ...] = () if owner is None else owner.superseded
    if owner is not None and owner.boot_id != claim.boot_id:
        superseded = (*(boot for boot in superseded if boot != claim.boot_id), owner.boot_id)[-_REMEMBERED:]
    return SessionRow(
        agent_id=claim.agent_id,
        session_id=claim.session_id,
        boot_id=claim.boot_id,
        session_number=claim.session_number,
        replica=claim.replica,
        lease_until=lease_until,
        opened_at=now,
        superseded=superseded,
        shown=claim.shown,
    )


def released(owner: SessionRow, *, until: datetime) -> SessionRow:
    """The owner after its link ended; until then its place is kept from processes that it replaced."""
    return replace(owner, lease_until=until)
