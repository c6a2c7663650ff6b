"""Proof that an agent has the key that it enrolled with, where no client certificate shows it.

At the start of a session such an agent is challenged, and signs a nonce with what makes the session that one. Its
other calls, which any replica takes without a memory, carry a credential that it signs with the time: a copy of one is
soon good for nothing, and a copy of the credential that enrolment gave is so at once. An agent without a key is asked
for nothing.
"""

from __future__ import annotations

import base64
import secrets

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from controlplane.model import AgentRow
from controlplane.state.store import Store
from controlplane.view import View
from headrace.errors import UnauthenticatedError
from headrace.proofs import is_call_credential

_NONCE_BYTES = 32


class Possession:
    """A `headrace.server.Possession`; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View) -> None:
        self._store = store
        self._view = view

    async def challenge(self, agent_id: str) -> bytes:
        """A nonce to sign; empty for an agent that has shown no key."""
        return secrets.token_bytes(_NONCE_BYTES) if await self._key(agent_id) else b""

    async def prove(self, agent_id: str, text: bytes, signature: bytes) -> None:
        """Raises UnauthenticatedError unless the agent's key signed the text."""
        if not verifies(await self._key(agent_id), text, signature):
            raise UnauthenticatedError(
                f"agent {agent_id!r} did not prove that it has the key that it enrolled with; a copy of its credential "
                "is not enough: enrol it with a bootstrap token"
            )

    async def check_call(self, agent_id: str, credential: str) -> None:
        """Raises UnauthenticatedError for a call of an agent with a key that its key did not sign."""
        if not is_call_credential(credential) and await self._key(agent_id):
            raise UnauthenticatedError(
                f"agent {agent_id!r} has a key, and its calls are signed by it; a copy of its credential is not enough"
            )

    async def _key(self, agent_id: str) -> str:
        viewed = self._view.agents.get(agent_id)
        if viewed is not None:
            return viewed.row.public_key
        async with self._store.read() as reader:
            row = await reader.get(AgentRow, agent_id)
        return row.public_key if row is not None else ""


def verifies(public_key: str, text: bytes, signature: bytes) -> bool:
    """Whether the key (SubjectPublicKeyInfo in base64) signed the text."""
    try:
        key = load_der_public_key(base64.b64decode(public_key))
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return False
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
