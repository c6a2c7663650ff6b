"""Which agent a credential or a certificate stands for. Answers come from the view; the store is asked where the view
knows better not.

An unknown or wrong credential may be one that another replica gave out a moment ago, so only the store may refuse it.
Where a call comes with both, both must name the same agent.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from controlplane.identity.authorities import Authorities
from controlplane.identity.certificates import Shown
from controlplane.identity.possession import verifies
from controlplane.identity.secret import Kind, Secret, take_apart
from controlplane.model import AgentRow, CertificateRow
from controlplane.state.store import Store
from controlplane.view import View
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.proofs import CallCredential, call_text, is_call_credential, read_call_credential
from headrace.types import AgentState

CALL_CREDENTIAL_S = 60
"""For how long a credential that an agent signed is good, and by how much clocks may differ."""


class Authority:
    """Checks who agents are; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        authorities: Authorities | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._clock = clock
        self._view = view
        self._authorities = authorities

    async def authenticate(self, credential: str, certificate: bytes = b"") -> str:
        """The agent's id. Raises UnauthenticatedError, and ForbiddenError for one that was revoked."""
        if not certificate:
            return await self._by_credential(credential)
        shown = await self._authorities.read(certificate) if self._authorities else None
        if shown is None:
            raise UnauthenticatedError("wrong CA: this control plane gave out no such certificate to an agent")
        agent_id = await self._by_certificate(shown)
        if credential and (other := await self._by_credential(credential)) != agent_id:
            raise UnauthenticatedError(
                f"the certificate is that of agent {agent_id!r} and the credential that of {other!r}; "
                "a call comes from one agent"
            )
        return agent_id

    async def _by_credential(self, credential: str) -> str:
        if is_call_credential(credential):
            return await self._by_signature(read_call_credential(credential))
        secret = take_apart(credential, Kind.AGENT)
        viewed = self._view.agents.get(secret.id)
        if viewed is not None and viewed.row.state is not AgentState.REVOKED and _opens(secret, viewed.row):
            return secret.id
        async with self._store.read() as reader:
            return check(secret, await reader.get(AgentRow, secret.id)).id

    async def _by_signature(self, credential: CallCredential) -> str:
        viewed = self._view.agents.get(credential.agent_id)
        agent = viewed.row if viewed is not None else None
        if agent is None or agent.state is AgentState.REVOKED:
            async with self._store.read() as reader:
                agent = await reader.get(AgentRow, credential.agent_id)
        text = call_text(credential.agent_id, credential.at_ms)
        if agent is None or not verifies(agent.public_key, text, credential.signature):
            raise UnauthenticatedError(f"agent {credential.agent_id!r} did not sign this credential with its key")
        if agent.state is AgentState.REVOKED:
            raise ForbiddenError(f"agent {agent.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
        age = self._clock().timestamp() - credential.at_ms / 1000
        if abs(age) > CALL_CREDENTIAL_S:
            raise UnauthenticatedError(
                f"replayed: the signed credential of agent {agent.id!r} is {age:.0f} s old, and is good for "
                f"{CALL_CREDENTIAL_S} s; an agent signs a new one for each call"
            )
        return agent.id

    async def _by_certificate(self, shown: Shown) -> str:
        viewed = self._view.agents.get(shown.agent_id)
        if viewed is not None and viewed.row.state is not AgentState.REVOKED and _is_current(shown, viewed.row):
            self._check_instance(shown)
            return shown.agent_id
        async with self._store.read() as reader:
            agent = await reader.get(AgentRow, shown.agent_id)
            row = await reader.get(CertificateRow, shown.serial)
        self._check_instance(shown)
        what = f"the certificate {shown.serial} of agent {shown.agent_id!r}"
        if agent is None or row is None or row.agent_id != shown.agent_id:
            raise UnauthenticatedError(f"{what} is not known here; enrol the agent with a bootstrap token")
        if agent.state is AgentState.REVOKED:
            raise ForbiddenError(f"agent {agent.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
        if row.revoked_at is not None:
            raise UnauthenticatedError(
                f"{what} was revoked at {row.revoked_at:%Y-%m-%d %H:%M:%S} UTC: {row.reason}; "
                "enrol the agent with a bootstrap token"
            )
        if agent.public_key != shown.public_key:
            raise UnauthenticatedError(f"{what} is for another key than the one that the agent enrolled with")
        return agent.id

    def _check_instance(self, shown: Shown) -> None:
        if shown.instance_id != self._view.plane.instance_id:
            raise UnauthenticatedError(
                f"the certificate of agent {shown.agent_id!r} is of instance {shown.instance_id}, and this is "
                f"{self._view.plane.instance_id}; enrol the agent with a bootstrap token"
            )


def _is_current(shown: Shown, agent: AgentRow) -> bool:
    serials = {agent.serial, agent.next_serial} - {""}
    return shown.serial in serials and shown.public_key == agent.public_key


def _opens(secret: Secret, agent: AgentRow) -> bool:
    """Whether it is the agent's credential, or the one that is to take over."""
    return secret.opens(agent.credential_hash) or (bool(agent.next_hash) and secret.opens(agent.next_hash))


def check(secret: Secret, agent: AgentRow | None) -> AgentRow:
    """The agent, if the secret opens it. Raises UnauthenticatedError, ForbiddenError."""
    if agent is None or not _opens(secret, agent):
        # Which of the two it is would tell a stranger which ids exist.
        raise UnauthenticatedError(f"agent {secret.id!r} has no such credential here; enrol it with a bootstrap token")
    if agent.state is AgentState.REVOKED:
        raise ForbiddenError(f"agent {secret.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
    return agent
