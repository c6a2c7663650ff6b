"""What an agent signs with its key, byte for byte, on both ends. Pure; who signs and who checks is not here.

Each text begins with its purpose, and its parts cannot run into each other, so a signature for one thing is good for no
other. A signature is ECDSA over P-256 with SHA-256, in DER.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from headrace.errors import UnauthenticatedError
from headrace.messages import Hello

_CALL = "hrp_"


def session_text(nonce: bytes, hello: Hello) -> bytes:
    """To open this one session, as the answer to this one challenge."""
    return _joined("headrace session", nonce, hello.agent_id, hello.boot_id, str(hello.session_number))


def call_text(agent_id: str, at_ms: int) -> bytes:
    """To make calls at about this time."""
    return _joined("headrace call", agent_id, str(at_ms))


@dataclass(frozen=True, slots=True)
class CallCredential:
    """A credential that is good for moments: `hrp_<agent>.<milliseconds since 1970>.<signature>`."""

    agent_id: str
    at_ms: int
    signature: bytes

    def __str__(self) -> str:
        signature = base64.urlsafe_b64encode(self.signature).decode("ascii").rstrip("=")
        return f"{_CALL}{self.agent_id}.{self.at_ms}.{signature}"


def is_call_credential(text: str) -> bool:
    """Whether a bearer's text is of this kind."""
    return text.startswith(_CALL)


def read_call_credential(text: str) -> CallCredential:
    """Raises UnauthenticatedError for what is none."""
    agent_id, _, rest = text.removeprefix(_CALL).partition(".")
    at, _, signature = rest.partition(".")
    try:
        if not (agent_id and agent_id.isprintable() and at.isascii() and at.isdecimal() and len(at) <= 15):
            raise ValueError("it has other parts")
        decoded = base64.b64decode(signature + "=" * (-len(signature) % 4), altchars=b"-_", validate=True)
        if not decoded:
            raise ValueError("it has no signature")
    except (ValueError, binascii.Error):
        raise UnauthenticatedError(
            "that is not a signed credential: one looks like hrp_<agent>.<milliseconds>.<signature>"
        ) from None
    return CallCredential(agent_id, int(at), decoded)


def _joined(*parts: str | bytes) -> bytes:
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
