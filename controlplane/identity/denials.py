"""Which certificates are good for nothing before they expire: a list by serial number, in the store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controlplane.model import CertificateRow
from controlplane.state.store import Transaction


async def revoke_certificates(tx: Transaction, agent_id: str, *, now: datetime, reason: str, keep: str = "") -> None:
    """All that an agent has but one; those that have expired are forgotten, since nobody takes them anyway."""
    for row in await tx.find(CertificateRow, agent_id=agent_id):
        if row.expires_at <= now:
            await tx.delete(CertificateRow, row.serial)
        elif row.revoked_at is None and row.serial != keep:
            await tx.put(replace(row, revoked_at=now, reason=reason))
