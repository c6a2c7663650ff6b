"""Events: who did what, and what happened where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace.types import KnownBy, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, at a fleet revision; without a severity it is mere information.

    `source` is the address that whoever did it called from.
    """

    revision: int = 0
    at: datetime | None = None
    kind: str = ""
    severity: Severity | None = None
    actor: str = ""
    pipeline: str = ""
    agent_id: str = ""
    generation: int = 0
    message: str = ""
    actor_known_by: KnownBy | None = None
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEventsRequest:
    """Asks for `ListEvents`."""

    pipeline: str
    agent: str = ""
    limit: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEventsResponse:
    """Answers `ListEvents`."""

    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEventsRequest:
    """Asks for `WatchEvents`."""

    after: int = 0
    pipeline: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEventsResponse:
    """Answers `WatchEvents`."""

    event: Event
