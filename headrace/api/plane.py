"""The control plane itself: how it is, and a copy of what it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatusRequest:
    """Asks for `GetStatus`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatusResponse:
    """Answers `GetStatus`."""

    instance_id: str = ""
    epoch: int = 0
    fleet_revision: int = 0
    generation: int = 0
    version: str = ""
    replica: str = ""
    state: str = ""
    metrics: str = ""
    started_at: datetime | None = None
    agents: Mapping[str, int] = field(default_factory=dict)
    pipelines: int = 0
    sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """Asks for `Backup`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupResponse:
    """Answers `Backup`."""

    data: bytes = b""
