"""Tokens: what lets agents in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bootstrap token without its secret; `max_uses` and `max_agents` 0 are without limit."""

    id: str
    created_at: datetime | None = None
    expires_at: datetime | None = None
    uses: int = 0
    max_uses: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    revoked: bool = False
    author: str = ""
    description: str = ""
    max_agents: int = 0
    scope: str = ""
    networks: tuple[str, ...] = ()
    approve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenRequest:
    """Asks for `CreateToken`."""

    ttl_seconds: int = 0
    max_uses: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    max_agents: int = 0
    scope: str = ""
    networks: tuple[str, ...] = ()
    approve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateTokenResponse:
    """Answers `CreateToken`."""

    token: Token
    secret: str = ""
    channel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokensRequest:
    """Asks for `ListTokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokensResponse:
    """Answers `ListTokens`."""

    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokenRequest:
    """Asks for `RevokeToken`."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeTokenResponse:
    """Answers `RevokeToken`."""
