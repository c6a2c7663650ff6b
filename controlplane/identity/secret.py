"""The form of tokens and credentials: `hrb_<id>.<secret>` bootstraps, `hra_<id>.<secret>` is an agent's own,
`hru_<name>.<secret>` a user's of the management API.

Only the hash of the secret is kept. The secret has 256 bits of chance, so a plain hash is enough: there is nothing to
guess that salt or stretching would slow down.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import StrEnum

from headrace.errors import UnauthenticatedError


class Kind(StrEnum):
    """What a secret is for, by its first letters."""

    BOOTSTRAP = "hrb"
    AGENT = "hra"
    USER = "hru"


_WHAT = {Kind.BOOTSTRAP: "a bootstrap token", Kind.AGENT: "an agent's credential", Kind.USER: "a user's token"}


@dataclass(frozen=True, slots=True)
class Secret:
    """One that was taken apart; it never shows its secret half."""

    kind: Kind
    id: str
    hash: str

    def opens(self, expected_hash: str) -> bool:
        """Whether it is the one with this hash, in constant time."""
        return hmac.compare_digest(self.hash, expected_hash)


def new_id(prefix: str) -> str:
    """An id that nobody else has: the prefix and 50 bits."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    return prefix + "".join(secrets.choice(alphabet) for _ in range(10))


def mint(kind: Kind, identifier: str) -> tuple[str, str]:
    """A fresh secret in its outer form, and the hash to keep."""
    secret = secrets.token_urlsafe(32)
    return f"{kind.value}_{identifier}.{secret}", _hash(secret)


def take_apart(text: str, kind: Kind) -> Secret:
    """Raises UnauthenticatedError for what is not of this kind."""
    head, underscore, rest = text.partition("_")
    identifier, dot, secret = rest.partition(".")
    if head != kind.value or not (underscore and dot and secret and identifier and identifier.isprintable()):
        raise UnauthenticatedError(f"that is not {_WHAT[kind]}: one looks like {kind.value}_<id>.<secret>")
    return Secret(kind, identifier, _hash(secret))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
