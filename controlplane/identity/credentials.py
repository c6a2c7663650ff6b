"""Which agent a credential or a certificate stands for. Answers come from the view; the store is asked where the view
knows better not.

An unknown or wrong credential may be one that another replica gave out a moment ago, so only the store may refuse it.
Where a call comes with both, both must name the same agent.
"""

from __future__ import annotations

from controlplane.identity.certificates import CertificateAuthority, Shown
from controlplane.identity.secret import Kind, Secret, take_apart
from controlplane.model import AgentRow, CertificateRow
from controlplane.state.store import Store
from controlplane.view import View
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.types import AgentState


class Authority:
    """Checks who agents are; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View, certificates: CertificateAuthority | None = None) -> None:
        self._store = store
        self._view = view
        self._certificates = certificates

    async def authenticate(self, credential: str, certificate: bytes = b"") -> str:
        """The agent's id. Raises UnauthenticatedError, and ForbiddenError for one that was revoked."""
        shown = self._certificates.read(certificate) if certificate and self._certificates else None
        if shown is None:
            return await self._by_credential(credential)
        agent_id = await self._by_certificate(shown)
        if credential and (other := await self._by_credential(credential)) != agent_id:
            raise UnauthenticatedError(
                f"the certificate is that of agent {agent_id!r} and the credential that of {other!r}; "
                "a call comes from one agent"
            )
        return agent_id

    async def _by_credential(self, credential: str) -> str:
        secret = take_apart(credential, Kind.AGENT)
        viewed = self._view.agents.get(secret.id)
        if (
            viewed is not None
            and viewed.row.state is not AgentState.REVOKED
            and secret.opens(viewed.row.credential_hash)
        ):
            return secret.id
        async with self._store.read() as reader:
            return check(secret, await reader.get(AgentRow, secret.id)).id

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
    return bool(agent.serial) and shown.serial == agent.serial and shown.public_key == agent.public_key


def check(secret: Secret, agent: AgentRow | None) -> AgentRow:
    """The agent, if the secret opens it. Raises UnauthenticatedError, ForbiddenError."""
    if agent is None or not secret.opens(agent.credential_hash):
        # Which of the two it is would tell a stranger which ids exist.
        raise UnauthenticatedError(f"agent {secret.id!r} has no such credential here; enrol it with a bootstrap token")
    if agent.state is AgentState.REVOKED:
        raise ForbiddenError(f"agent {secret.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
    return agent
