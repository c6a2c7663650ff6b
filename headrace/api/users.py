"""Users: people and programs that may call the management API, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from headrace.types import KnownBy, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who uses the management API, without the token; without `expires_at` it does not end.

    `subject` is whom a certificate or a header names, where they are known by that.
    """

    name: str
    role: Role | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    author: str = ""
    description: str = ""
    known_by: KnownBy | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUserRequest:
    """Asks for `CreateUser`."""

    name: str
    role: Role | None = None
    ttl_seconds: int = 0
    description: str = ""
    known_by: KnownBy | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUserResponse:
    """Answers `CreateUser`."""

    user: User
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersRequest:
    """Asks for `ListUsers`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsersResponse:
    """Answers `ListUsers`."""

    users: tuple[User, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeUserRequest:
    """Asks for `RevokeUser`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeUserResponse:
    """Answers `RevokeUser`."""
