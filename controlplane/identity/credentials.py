"""Which agent a credential stands for. Answers come from the view; the store is asked where the view knows better not.

An unknown or wrong credential may be one that another replica gave out a moment ago, so only the store may refuse it.
"""

from __future__ import annotations

from controlplane.identity.secret import Kind, Secret, take_apart
from controlplane.model import AgentRow
from controlplane.state.store import Store
from controlplane.view import View
from headrace.errors import ForbiddenError, UnauthenticatedError
from headrace.types import AgentState


class Authority:
    """Checks agents' credentials; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View) -> None:
        self._store = store
        self._view = view

    async def authenticate(self, credential: str) -> str:
        """The agent's id. Raises UnauthenticatedError, and ForbiddenError for one that was revoked."""
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


def check(secret: Secret, agent: AgentRow | None) -> AgentRow:
    """The agent, if the secret opens it. Raises UnauthenticatedError, ForbiddenError."""
    if agent is None or not secret.opens(agent.credential_hash):
        # Which of the two it is would tell a stranger which ids exist.
        raise UnauthenticatedError(f"agent {secret.id!r} has no such credential here; enrol it with a bootstrap token")
    if agent.state is AgentState.REVOKED:
        raise ForbiddenError(f"agent {secret.id!r} ({agent.name}) was revoked; enrol it with a bootstrap token")
    return agent
