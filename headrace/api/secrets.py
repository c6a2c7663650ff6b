"""Secrets of pipelines: their names and versions; no message gives a value back."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretInfo:
    """A secret without its value: which version, which pipelines name it, and (`problem`) why it cannot be used."""

    name: str
    version: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    author: str = ""
    pipelines: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecretRequest:
    """Asks for `SetSecret`."""

    name: str
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSecretResponse:
    """Answers `SetSecret`."""

    secret: SecretInfo
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecretsRequest:
    """Asks for `ListSecrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSecretsResponse:
    """Answers `ListSecrets`."""

    secrets: tuple[SecretInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecretRequest:
    """Asks for `DeleteSecret`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteSecretResponse:
    """Answers `DeleteSecret`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeySecretsRequest:
    """Asks for `RekeySecrets`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RekeySecretsResponse:
    """Answers `RekeySecrets`."""

    changed: int = 0
