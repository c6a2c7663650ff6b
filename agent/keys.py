"""The agent's own key, by which a credential or a data folder that was copied without it is known to be a copy.

It is made once, is EC P-256, and lies in the data folder, readable by its owner only. It never leaves the host. What
needs cryptography is imported where it is used: an agent that comes by its certificate needs none of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.state import replace_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

KEY = "agent.key"


class AgentKeyError(AgentError):
    """The key cannot be made or read."""

    code = "conflict"


def request(folder: Path) -> bytes:
    """A certificate request (PKCS#10, DER) for the folder's key, made if there is none. Raises AgentKeyError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path = folder / KEY
    try:
        if not path.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            replace_file(path, made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except OSError as error:
        raise AgentKeyError(
            f"the agent's key {path} cannot be written: {error.strerror}; free some space, or mend the folder's rights"
        ) from error
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_load(path), hashes.SHA256()).public_bytes(Encoding.DER)


def sign(folder: Path, text: bytes) -> bytes:
    """An ECDSA signature with SHA-256, in DER. Raises AgentKeyError."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return _load(folder / KEY).sign(text, ec.ECDSA(hashes.SHA256()))


def read(folder: Path) -> bytes:
    """The key in PEM; empty when there is none."""
    try:
        return (folder / KEY).read_bytes()
    except OSError:
        return b""


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("it is not EC")
    except OSError as error:
        raise AgentKeyError(f"the agent's key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AgentKeyError(
            f"{path} holds no key of an agent: {error}; move it away, and the agent enrols anew"
        ) from error
    return key
