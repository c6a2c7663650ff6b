"""Catalogues that agents name and this instance lacks: each is asked of one agent at a time, until it is there."""

from __future__ import annotations

import math
from collections.abc import Callable

from controlplane.catalogue import Catalogues
from controlplane.fleet.commands import Commands
from controlplane.view import AgentView
from headrace.types import CommandKind

_PATIENCE_S = 60.0


class Uploads:
    """Asks for catalogues; call `want` for whoever is connected, as often as you like."""

    def __init__(self, *, commands: Commands, catalogues: Catalogues, monotonic: Callable[[], float]) -> None:
        self._commands = commands
        self._catalogues = catalogues
        self._monotonic = monotonic
        self._quiet_until: dict[str, float] = {}
        """By sha256; for ever, for what is known."""

    async def want(self, agent: AgentView) -> None:
        """Asks this agent for what nobody has given yet and nobody is being asked for. Raises UnavailableError."""
        now = self._monotonic()
        named = {info.catalogue_sha256 for info in agent.row.facts.engines} - {""}
        unknown = {sha256 for sha256 in named if self._quiet_until.get(sha256, 0.0) <= now}
        if not unknown:
            return
        known = await self._catalogues.of(unknown)
        asked = sorted(unknown - known.keys())
        self._quiet_until |= dict.fromkeys(known, math.inf) | dict.fromkeys(asked, now + _PATIENCE_S)
        for sha256 in asked:
            await self._commands.post([agent.row.id], CommandKind.UPLOAD, sha256=sha256, timeout_s=_PATIENCE_S)
