"""Commands: what agents are asked to do at most once, before a deadline, and how it ended.

A command is a row, so that whichever replica holds the agent's session sends it, and whichever takes the answer writes
it; who asked waits on the change log. A row goes when its answer has been read, or when its time is over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from controlplane.changes import Changes
from controlplane.model import CommandRow, Topic
from controlplane.state.store import Store
from headrace.errors import NotFoundError
from headrace.messages import Answer
from headrace.types import CommandKind

_OVERDUE = timedelta(minutes=1)
_LARGEST_OUTPUT = 1 << 20


class Commands:
    """Asks, and takes answers; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, changes: Changes, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._changes = changes
        self._clock = clock

    async def ask(
        self,
        agent_ids: Sequence[str],
        kind: CommandKind,
        *,
        pipeline: str = "",
        lines: int = 0,
        sha256: str = "",
        timeout_s: float = 10.0,
    ) -> Mapping[str, CommandRow]:
        """Asks every agent and waits for their answers; a row that is not `done` was not answered in time."""
        ids = await self.post(agent_ids, kind, pipeline=pipeline, lines=lines, sha256=sha256, timeout_s=timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await self._until_done(ids)
        except TimeoutError:
            pass
        async with self._store.write() as tx:
            rows = await tx.find(CommandRow, id=ids)
            for row in rows:
                await tx.delete(CommandRow, row.id)
        return {row.agent_id: row for row in rows}

    async def post(
        self,
        agent_ids: Sequence[str],
        kind: CommandKind,
        *,
        pipeline: str = "",
        lines: int = 0,
        sha256: str = "",
        timeout_s: float = 60.0,
    ) -> list[str]:
        """Asks and does not wait; returns the commands' ids."""
        deadline = self._clock() + timedelta(seconds=timeout_s)
        rows = [
            CommandRow(
                id=f"c-{secrets.token_hex(8)}",
                agent_id=agent_id,
                kind=kind,
                pipeline=pipeline,
                lines=lines,
                sha256=sha256,
                deadline=deadline,
            )
            for agent_id in agent_ids
        ]
        if rows:
            async with self._store.write() as tx:
                await tx.put(*rows)
                tx.log(Topic.COMMAND, *(row.id for row in rows))
        return [row.id for row in rows]

    async def answer(self, agent_id: str, answer: Answer) -> None:
        """Takes an agent's answer; one that nobody waits for any more is dropped."""
        async with self._store.write() as tx:
            row = await tx.get(CommandRow, answer.command_id)
            if row is None or row.agent_id != agent_id or row.done:
                return
            await tx.put(_answered(row, answer))
            tx.log(Topic.COMMAND, row.id)

    async def asked_upload(self, agent_id: str, sha256: str) -> CommandRow:
        """What this agent was asked to upload under this hash. Raises NotFoundError when it was not."""
        async with self._store.read() as reader:
            for row in await reader.find(CommandRow, agent_id=agent_id, sha256=sha256):
                if row.kind is CommandKind.UPLOAD:
                    return row
        raise NotFoundError(f"blob {sha256[:12]} was not asked for")

    async def collect(self) -> None:
        """Deletes what nobody waits for any more."""
        over = self._clock() - _OVERDUE
        async with self._store.read() as reader:
            overdue = [row.id for row in await reader.find(CommandRow) if row.deadline < over]
        if overdue:
            async with self._store.write() as tx:
                for identifier in overdue:
                    await tx.delete(CommandRow, identifier)

    async def _until_done(self, ids: Sequence[str]) -> None:
        while True:
            revision = self._changes.revision
            async with self._store.read() as reader:
                if not await reader.find(CommandRow, id=list(ids), done=False):
                    return
            await self._changes.changed(revision)


def _answered(row: CommandRow, answer: Answer) -> CommandRow:
    return CommandRow(
        id=row.id,
        agent_id=row.agent_id,
        kind=row.kind,
        pipeline=row.pipeline,
        lines=row.lines,
        sha256=row.sha256,
        deadline=row.deadline,
        done=True,
        ok=answer.ok,
        message=answer.message[:4096].replace("\0", "�"),  # which no store holds
        output=answer.output[-_LARGEST_OUTPUT:],
    )
