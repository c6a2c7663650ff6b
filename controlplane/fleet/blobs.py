"""Blobs of agents: contents that their own desired set names, out; what they were asked for, in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controlplane.catalogue import Catalogues
from controlplane.changes import follow
from controlplane.fleet.commands import Commands
from controlplane.model import BlobRow
from controlplane.state.store import Store
from controlplane.view import View
from headrace import content
from headrace.errors import NotFoundError


class Blobs:
    """Serves and takes agents' blobs; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        view: View,
        commands: Commands,
        catalogues: Catalogues,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._view = view
        self._commands = commands
        self._catalogues = catalogues
        self._clock = clock

    async def get(self, agent_id: str, sha256: str) -> bytes:
        """Raises NotFoundError for anything that the agent is not to run: a hash is no permission."""
        async with self._store.read() as reader:
            if not self._names(agent_id, sha256):
                await follow(self._view, reader)  # another replica may have told the agent before this one heard
            row = await reader.get(BlobRow, sha256) if self._names(agent_id, sha256) else None
        if row is None:
            raise NotFoundError(f"no pipeline of agent {agent_id!r} has content {sha256[:12]}")
        return row.data

    async def expect(self, agent_id: str, sha256: str) -> None:
        """Raises NotFoundError for what was not asked for."""
        await self._commands.asked_upload(agent_id, sha256)

    async def put(self, agent_id: str, sha256: str, data: bytes) -> None:
        """Stores a catalogue, or (asked for with a pipeline) a content.

        Raises NotFoundError for what was not asked for, InvalidError and ProtocolError for what it is not.
        """
        asked = await self._commands.asked_upload(agent_id, sha256)
        content.check(data, sha256=sha256, what="upload")
        if asked.pipeline:
            content.parse(data)
        else:
            self._catalogues.add(data)
        async with self._store.write() as tx:
            await tx.put(BlobRow(sha256=sha256, data=data, at=self._clock()))

    def _names(self, agent_id: str, sha256: str) -> bool:
        agent = self._view.agents.get(agent_id)
        return agent is not None and any(
            view.row.sha256 == sha256 and view.matches(agent) for view in self._view.pipelines.values()
        )
