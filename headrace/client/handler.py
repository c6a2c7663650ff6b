"""What a host of `AgentChannel` implements, and the small facts that pass between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from headrace.errors import HeadraceError
from headrace.messages import (
    Answer,
    Authorities,
    Command,
    Complete,
    Desired,
    Remove,
    ReportRequest,
    Secrets,
    Variables,
    Welcome,
)
from headrace.session import PlaneSeen
from headrace.types import Facts, Observed


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who an agent is, and the secret that shows it; where TLS reaches the control plane, a certificate does too.

    `certificate_port`, when it is not 0, is where the control plane's host lets agents in by certificate and key (PEM).
    """

    agent_id: str
    credential: str
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    certificate_port: int = 0
    sign: Callable[[bytes], bytes] | None = field(default=None, repr=False)
    """Signs with the agent's key; None for an agent without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelState:
    """How the channel is doing.

    While it is not connected, `error` is the last failure in words, and `retry_in_s` what it waits from then on.
    """

    connected: bool
    since: datetime
    error: str = ""
    retry_in_s: float = 0.0


class Backlog(Protocol):
    """Metrics that wait for the control plane's store, in order of their sequence; the host keeps them.

    Sequences are never used twice, not by another process either. After a broken stream a batch is sent again; points
    are the same by series and time, so whoever stores them stores them once.
    """

    def pending(self) -> Sequence[ReportRequest]:
        """The oldest that are not stored, a bounded number; each defines the series of its own samples."""

    async def arrived(self) -> None:
        """Returns as soon as something is pending."""

    def acknowledge(self, sequence: int) -> None:
        """Everything up to this sequence is stored and may be forgotten; lower ones than before say nothing."""

    def refuse(self, sequence: int) -> None:
        """This batch will never be taken; drop it, and say so."""


OnTime = Callable[[datetime, float], None]
"""Hears the control plane's time, and how many seconds ago at most it was that; called at once when it comes."""


class AgentHandler(Protocol):
    """What an agent does with what it is told.

    `on_*` calls come in order and never concurrently, except `on_command`. What is stale (older generations, removals
    by an older plane) never comes here. An exception ends the session, is logged, and the channel connects anew.
    """

    def identity(self) -> Identity:
        """Asked for before every connection."""

    def facts(self) -> Facts:
        """As they are now; changes are announced by `AgentChannel.notify_facts`."""

    def observed(self) -> Mapping[str, Observed]:
        """All workloads by pipeline, as they are now; what is no longer in it is gone from this agent."""

    def plane(self) -> PlaneSeen:
        """What the last `on_welcome` said, from disk."""

    async def on_welcome(self, welcome: Welcome) -> None:
        """A session is open. Persist (instance_id, epoch) before returning; the epoch never goes back."""

    async def on_desired(self, desired: Desired) -> None:
        """Persist before returning; may repeat. An empty payload is fetched by `AgentChannel.get_blob`."""

    async def on_remove(self, remove: Remove) -> None:
        """Persist before returning; may repeat."""

    async def on_variables(self, variables: Variables) -> None:
        """All of them, each time."""

    async def on_secrets(self, secrets: Secrets) -> None:
        """All of them, each time."""

    async def on_authorities(self, authorities: Authorities) -> None:
        """By whom certificates are known now, and whether this agent's is to be renewed; may repeat."""

    async def on_complete(self, complete: Complete) -> None:
        """All that was desired at this fleet revision has come."""

    async def on_command(self, command: Command) -> Answer:
        """Runs beside everything else, a few at a time, at most once per id, until its deadline."""

    async def on_refused(self, error: HeadraceError) -> bool:
        """The control plane will not have this agent; true when a new identity is at hand, so try again now.

        UnauthenticatedError: the credential is unknown or expired. ForbiddenError: revoked. ConflictError: another
        process with this identity took over. ProtocolError: versions do not overlap. False waits some minutes.
        """
