"""The one wake-up of this process, and how a view follows the change log.

A hint of the store, or a look every second, tells how far the log is; readers wait in `changed` and then read what is
there. A lost hint costs a second, never a change. There is one loop; everything here belongs to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

import structlog

from controlplane.model import (
    AUTHORITIES_KEY,
    SECRET_KEY,
    AgentRow,
    AuthorityRow,
    BlobRow,
    CertificateRow,
    ChangeRow,
    PipelineRow,
    SecretRow,
    Topic,
    VariableRow,
)
from controlplane.state.store import Reader, Store
from controlplane.view import Batch, Trust, View
from headrace.errors import UnavailableError

_PAGE = 1000
_VIEWED = (Topic.PIPELINE, Topic.AGENT, Topic.VARIABLE, Topic.COMMAND, Topic.PLANE)

log = structlog.get_logger(__name__)


class Changes:
    """How far the change log is, and who waits for more."""

    def __init__(self, store: Store, *, poll_s: float = 1.0) -> None:
        self._store = store
        self._poll_s = poll_s
        self._revision = 0
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def revision(self) -> int:
        """The newest fleet revision that this process has heard of."""
        return self._revision

    async def changed(self, after: int) -> int:
        """Waits until the log goes past a revision; returns how far it goes."""
        while self._revision <= after:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)
        return self._revision

    async def run(self) -> None:
        """Listens for hints and looks for itself every second, until cancelled."""
        stop = self._store.on_commit(self._heard)
        try:
            while True:
                await self._look()
                await asyncio.sleep(self._poll_s)
        finally:
            stop()

    async def _look(self) -> None:
        try:
            async with self._store.read() as reader:
                plane = await reader.plane()
        except UnavailableError as error:
            log.warning("state store unavailable", error=error.message)
        else:
            self._heard(plane.fleet_revision)

    def _heard(self, revision: int) -> None:
        if revision <= self._revision:
            return
        self._revision = revision
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


async def follow(view: View, reader: Reader) -> None:
    """Brings a view to the reader's moment, unless it is there already. Inside a write transaction that is now."""
    plane = await reader.plane()
    if view.is_at(plane):
        return
    view.apply(await (_changed if await _reaches_back(view, reader) else _everything)(view, reader))


async def _reaches_back(view: View, reader: Reader) -> bool:
    """Whether the log has every change since the view's moment. A new epoch may have cut the history before it."""
    seen, plane = view.plane, await reader.plane()
    if (seen.instance_id, seen.epoch) != (plane.instance_id, plane.epoch):
        return False
    first = await reader.scan(ChangeRow, after=seen.fleet_revision, limit=1)
    return bool(first) and first[0].revision == seen.fleet_revision + 1


async def _everything(view: View, reader: Reader) -> Batch:
    pipelines = tuple(await reader.find(PipelineRow))
    return Batch(
        plane=await reader.plane(),
        pipelines=pipelines,
        contents=await _contents(pipelines, reader),
        agents=tuple(await reader.find(AgentRow)),
        variables=_by_precedence(await reader.find(VariableRow)),
        secrets=tuple(await reader.find(SecretRow)),
        authorities=await _trust(reader),
        everything=True,
    )


async def _changed(view: View, reader: Reader) -> Batch:
    keys: dict[str, set[str]] = {topic: set() for topic in _VIEWED}
    cursor = view.plane.fleet_revision
    while True:
        page = await reader.scan(ChangeRow, after=cursor, limit=_PAGE, topic=_VIEWED)
        for change in page:
            keys[change.topic].add(change.key)
        if len(page) < _PAGE:
            break
        cursor = page[-1].revision
    names = sorted(keys[Topic.PIPELINE])
    pipelines = [row for part in pieces(names) for row in await reader.find(PipelineRow, name=part)]
    ids = sorted(keys[Topic.AGENT])
    agents = [row for part in pieces(ids) for row in await reader.find(AgentRow, id=part)]
    secrets = {key for key in keys[Topic.VARIABLE] if key.startswith(SECRET_KEY)}
    variables = keys[Topic.VARIABLE] - secrets
    return Batch(
        plane=await reader.plane(),
        pipelines=tuple(pipelines),
        contents=await _contents(pipelines, reader),
        agents=tuple(agents),
        missing_agents=frozenset(ids) - {agent.id for agent in agents},
        variables=_by_precedence(await reader.find(VariableRow)) if variables else None,
        secrets=tuple(await reader.find(SecretRow)) if secrets else None,
        commands=frozenset(keys[Topic.COMMAND]),
        authorities=await _trust(reader) if AUTHORITIES_KEY in keys[Topic.PLANE] else None,
    )


async def _trust(reader: Reader) -> Trust:
    authorities = tuple(sorted(await reader.find(AuthorityRow), key=lambda row: row.number))
    if len(authorities) < 2:
        return Trust(authorities)
    first, *others = (row.fingerprint for row in authorities[:-1])
    older = await reader.find(CertificateRow, authority=["", first, *others], revoked_at=None)
    return Trust(authorities, {row.serial: row.authority or first for row in older})


async def _contents(pipelines: Sequence[PipelineRow], reader: Reader) -> dict[str, bytes]:
    wanted = sorted({row.sha256 for row in pipelines if not row.deleted})
    return {blob.sha256: blob.data for part in pieces(wanted, 50) for blob in await reader.find(BlobRow, sha256=part)}


def _by_precedence(rows: Sequence[VariableRow]) -> tuple[VariableRow, ...]:
    """The most specific selector last, so that it wins; among equals the later in the alphabet."""
    return tuple(sorted(rows, key=lambda row: (row.selector.count(","), row.selector not in ("", "*"), row.selector)))


def pieces(keys: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    """Keys in lists of at most `size`, for backends that bound the parameters of a statement."""
    remaining = iter(keys)
    while part := list(islice(remaining, size)):
        yield part
