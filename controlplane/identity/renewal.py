"""A credential and a certificate take over from older ones only when the agent has shown that it has them.

`begin` gives out the next pair beside the one in use; both are good. `commit` is the agent saying, over a connection
that the next pair opened, that it keeps it; only then do the older ones end. Either may be repeated, and whatever is
lost in between, the agent has one that is good.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from controlplane.identity.authorities import Authorities
from controlplane.identity.denials import revoke_certificates
from controlplane.identity.secret import Kind, mint, take_apart
from controlplane.model import AgentRow, Topic
from controlplane.state.store import Transaction
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import AgentState


async def begin(
    tx: Transaction, agent_id: str, request: EnrollRequest, key: str, *, ca: Authorities, now: datetime
) -> EnrollResponse:
    """The next credential and certificate of an agent that was authenticated. Raises UnauthenticatedError."""
    agent = await _known(tx, agent_id, key)
    plane = await tx.plane()
    credential, credential_hash = mint(Kind.AGENT, agent.id)
    if agent.next_serial:
        await revoke_certificates(tx, agent.id, now=now, reason="never taken over", keep=agent.serial)
    issued = await ca.issue(tx, request.csr, agent_id=agent.id, instance_id=plane.instance_id, now=now)
    await tx.put(replace(agent, next_hash=credential_hash, next_key=key, next_serial=issued.serial))
    tx.log(Topic.AGENT, agent.id)
    return EnrollResponse(
        agent_id=agent.id,
        credential=credential,
        instance_id=plane.instance_id,
        certificate=issued.certificate,
        ca_bundle=issued.bundle,
        certificate_until=issued.expires_at,
    )


async def commit(tx: Transaction, agent_id: str, request: EnrollRequest, key: str, *, now: datetime) -> EnrollResponse:
    """The next pair is the only one from now on. Raises UnauthenticatedError for a credential that is not the next."""
    agent = await _known(tx, agent_id, key)
    plane = await tx.plane()
    secret = take_apart(request.claims.get("credential", ""), Kind.AGENT)
    answer = EnrollResponse(agent_id=agent.id, instance_id=plane.instance_id)
    if secret.opens(agent.credential_hash):
        return answer  # it was told before, and did not hear the answer
    if not agent.next_hash or not secret.opens(agent.next_hash):
        raise UnauthenticatedError(f"agent {agent.id!r} was not given this credential; it goes on with the one it has")
    await revoke_certificates(tx, agent.id, now=now, reason="replaced by a newer one", keep=agent.next_serial)
    await tx.put(
        replace(
            agent,
            credential_hash=agent.next_hash,
            serial=agent.next_serial,
            next_hash="",
            next_key="",
            next_serial="",
        )
    )
    tx.log(Topic.AGENT, agent.id)
    tx.event("agent.renewed", f"{agent.name} has a new certificate, {agent.next_serial}", agent_id=agent.id)
    return answer


async def _known(tx: Transaction, agent_id: str, key: str) -> AgentRow:
    agent = await tx.get(AgentRow, agent_id)
    if agent is None:
        raise UnauthenticatedError(f"agent {agent_id!r} is not known here; enrol it with a bootstrap token")
    if agent.state is AgentState.REVOKED:
        raise ForbiddenError(f"agent {agent.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
    if not key or key != agent.public_key:
        raise UnauthenticatedError(f"agent {agent.id!r} enrolled with another key; enrol it with a bootstrap token")
    return agent
