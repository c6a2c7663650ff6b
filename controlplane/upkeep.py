"""What has to be done every now and then: leases renewed, silent agents judged, old records and commands removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from controlplane.fleet.commands import Commands
from controlplane.fleet.lifecycle import Lifecycle
from controlplane.fleet.uploads import Uploads
from controlplane.identity import Approvals, Authorities, Claims
from controlplane.sessions import Sessions
from controlplane.view import View
from headrace.errors import UnavailableError
from headrace.types import CloseReason

_TRIM_S = 600.0

log = structlog.get_logger(__name__)


class Upkeep:
    """Periodic work of one replica; `run` it in a task of its own."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        claims: Claims,
        lifecycle: Lifecycle,
        commands: Commands,
        uploads: Uploads,
        authorities: Authorities | None,
        approvals: Approvals,
        view: View,
        renew_s: float,
        sweep_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._claims = claims
        self._lifecycle = lifecycle
        self._commands = commands
        self._uploads = uploads
        self._authorities = authorities
        self._approvals = approvals
        self._view = view
        self._renew_s = renew_s
        self._sweep_s = sweep_s
        self._monotonic = monotonic

    async def run(self) -> None:
        """Works until cancelled; what an outage of the store prevents is done the next time."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_every(self._renew_s, self.renew, "renewal of leases"), name="renewal of leases")
            tasks.create_task(_every(self._sweep_s, self.sweep, "sweep of agents"), name="sweep of agents")
            tasks.create_task(_every(self._renew_s, self.complete, "missing catalogues"), name="missing catalogues")
            tasks.create_task(_every(_TRIM_S, self._lifecycle.trim, "trim of logs"), name="trim of logs")

    async def renew(self) -> None:
        """Keeps our sessions ours, and lets go of those that are not any more."""
        held = {session.agent_id: session for session in self._sessions}
        for agent_id in await self._claims.renew((key, held[key].link.session_id) for key in held):
            held[agent_id].link.close(CloseReason.SUPERSEDED, "another session took over")

    async def complete(self) -> None:
        """Asks again for catalogues that an agent was asked for and did not give."""
        for session in self._sessions:
            agent = self._view.agents.get(session.agent_id)
            if session.live and agent is not None:
                await self._uploads.want(agent)

    async def sweep(self) -> None:
        """Judges every agent by its silence, and ends what nobody needs any more."""
        now = self._monotonic()
        await self._lifecycle.sweep({session.agent_id: now - session.link.last_heard for session in self._sessions})
        await self._commands.collect()
        if self._authorities is not None:
            await self._authorities.sweep()
        await self._approvals.sweep()


async def _every(seconds: float, action: Callable[[], Awaitable[None]], what: str) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await action()
        except UnavailableError as error:
            log.warning("state store unavailable", waiting=what, error=error.message)
