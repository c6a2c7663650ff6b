"""Authorities: who signs agents' certificates, and who else is trusted while that changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateAuthority:
    """One that agents' certificates are known by, without its key.

    `agents` use a certificate by it; `last_expires_at`, of the last one that is good, is None when there is none.
    """

    fingerprint: str
    certificate: bytes = b""
    subject: str = ""
    signs: bool = False
    has_key: bool = False
    added_at: datetime | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    agents: int = 0
    connected: int = 0
    last_expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAuthoritiesRequest:
    """Asks for `ListAuthorities`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAuthoritiesResponse:
    """Answers `ListAuthorities`; the one that signs comes first."""

    authorities: tuple[CertificateAuthority, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateAuthorityRequest:
    """Asks for `RotateAuthority`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateAuthorityResponse:
    """Answers `RotateAuthority`."""

    authority: CertificateAuthority


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRotationRequest:
    """Asks for `FinishRotation`; `force` cuts off agents that have no newer certificate yet."""

    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRotationResponse:
    """Answers `FinishRotation`."""

    ended: tuple[CertificateAuthority, ...] = ()
