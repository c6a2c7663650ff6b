"""Watches: first what is, then every change, for as long as the caller listens. Built on the change log alone.

A watcher of a pipeline keeps the rows that it has shown and reads only those that changed. It shows the newest state,
not every state: while a fleet takes a change, what happens within a moment is shown together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from controlplane.changes import Changes, follow, pieces
from controlplane.fleet.queries import Queries, shown
from controlplane.model import ChangeRow, EventRow, ObservedRow, Topic
from controlplane.state.store import Reader, Store
from controlplane.view import View
from headrace import api

_PAGE = 1000
_TOGETHER_S = 0.05
"""Least time between two answers; a watcher of a large fleet waits as long as an answer took to make, twice over."""


class Watches:
    """Streams of changes; safe to use from many tasks of one loop."""

    def __init__(self, *, store: Store, view: View, changes: Changes, queries: Queries) -> None:
        self._store = store
        self._view = view
        self._changes = changes
        self._queries = queries

    async def pipeline(self, name: str) -> AsyncIterator[api.Pipeline]:
        """A pipeline whenever something about it changed; after its deletion, until its last workload is gone.

        Raises NotFoundError for one that is not there and that nobody runs.
        """
        loop = asyncio.get_running_loop()
        async with self._store.read() as reader:
            await follow(self._view, reader)
            rows = {found.agent_id: found for found in await reader.find(ObservedRow, pipeline=name)}
            viewed = self._view.pipelines.get(name)
            row = viewed.row if viewed and rows else self._queries.known(name)
            seen = (await reader.plane()).fleet_revision
            current = await self._queries.described(reader, row, rows.values())
        while True:
            yield current
            if self._view.pipelines[name].row.deleted and not current.workloads:
                return
            relevant = False
            while not relevant:
                await self._changes.changed(seen)
                started = loop.time()
                async with self._store.read() as reader:
                    await follow(self._view, reader)
                    plane = await reader.plane()
                    agents, others = await _touched(reader, name, after=seen)
                    seen = plane.fleet_revision
                    relevant = bool(agents) or others
                    for part in pieces(sorted(agents)):
                        found = {
                            row.agent_id: row for row in await reader.find(ObservedRow, agent_id=part, pipeline=name)
                        }
                        for agent_id in part:
                            rows.pop(agent_id, None)
                        rows |= found
                    if relevant:
                        current = await self._queries.described(reader, self._view.pipelines[name].row, rows.values())
                await asyncio.sleep(max(_TOGETHER_S, 2 * (loop.time() - started)))

    async def events(self, request: api.WatchEventsRequest) -> AsyncIterator[api.Event]:
        """Events after a revision, or from now on. Raises NotFoundError for an unknown agent."""
        async with self._store.read() as reader:
            await follow(self._view, reader)
            seen = request.after or (await reader.plane()).fleet_revision
        where = self._queries.where(request.pipeline, request.agent)
        while True:
            async with self._store.read() as reader:
                upto = (await reader.plane()).fleet_revision
                page = await reader.scan(EventRow, after=seen, limit=_PAGE, **where)
            for row in page:
                yield shown(row)
            if len(page) == _PAGE:
                seen = page[-1].revision
                continue
            seen = max(seen, upto)
            await self._changes.changed(seen)


async def _touched(reader: Reader, pipeline: str, *, after: int) -> tuple[set[str], bool]:
    """The agents whose workload of this pipeline changed, and whether the pipeline or any agent did."""
    agents: set[str] = set()
    others = False
    while True:
        topics = (Topic.OBSERVED, Topic.PIPELINE, Topic.AGENT)
        page = await reader.scan(ChangeRow, after=after, limit=_PAGE, topic=topics)
        for change in page:
            if change.topic is Topic.OBSERVED:
                agent_id, _, name = change.key.partition("/")
                if name == pipeline:
                    agents.add(agent_id)
            elif change.topic is Topic.AGENT:
                agents.add(change.key)
                others = True
            else:
                others = others or change.key == pipeline
        if len(page) < _PAGE:
            return agents, others
        after = page[-1].revision
