"""A control plane that serves: everything in one task group, and one way to stop.

Start: state, view, background work, doors; then the ready file. Stop, in reverse: agents are asked to move where there
is somewhere to move to, doors close, what agents reported is written, background work ends, the state is closed. Told
twice, it goes the same way and waits for nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from controlplane.changes import follow
from controlplane.metrics import MetricStore, open_metric_store
from controlplane.parts import Parts
from controlplane.sessions import Sessions
from controlplane.settings import Settings
from controlplane.state import open_store
from controlplane.state.store import Store
from controlplane.stopping import Stop
from controlplane.view import View
from headrace import local
from headrace.security import parse_address

if TYPE_CHECKING:
    from controlplane.kubernetes_reviews import KubernetesReviews

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What the ready file says: bound addresses, which instance, and which process."""

    http: str
    grpc: str
    channel: str
    instance_id: str
    pid: int
    channel_mtls: str = ""
    grpc_mtls: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A control plane that serves; `token` is for its management API."""

    ready: Ready
    token: str
    sessions: Sessions
    view: View


async def serve(settings: Settings, stop: Stop) -> None:
    """Serves until told to stop. Raises HeadraceError when it cannot."""
    async with control_plane(settings, stop) as running:
        log.info("ready", **asdict(running.ready))
        await stop.asked.wait()
        log.info("stopping", sessions=len(running.sessions))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """A store for as long as the block lasts."""
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def control_plane(settings: Settings, stop: Stop | None = None) -> AsyncIterator[Running]:
    """A control plane that serves for as long as the block lasts; enter and leave it in one task."""
    stop = stop or Stop()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with opened(settings.state_url) as store, _metrics(settings) as metric_store, _cluster(settings) as reviews:
        parts = Parts(settings, store, metric_store, reviews)
        if parts.authorities is not None:
            await parts.authorities.start()
        async with store.read() as reader:
            await follow(parts.view, reader)
        await parts.secrets.check()
        await parts.check_people()
        async with asyncio.TaskGroup() as tasks:
            background = [tasks.create_task(work, name=name) for name, work in parts.background().items()]
            try:
                async with AsyncExitStack() as doors:
                    running = await _opened_doors(parts, doors, stop)
                    await parts.say("plane.started")
                    yield running
                await stop.patiently(parts.last_words(), "last words to the state")
            finally:
                for task in background:
                    task.cancel()


@asynccontextmanager
async def _metrics(settings: Settings) -> AsyncIterator[MetricStore | None]:
    """The metric store that is asked for, open for as long as the block lasts."""
    store = open_metric_store(settings.metrics, data_dir=settings.data_dir)
    if store is None:
        yield None
        return
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _cluster(settings: Settings) -> AsyncIterator[KubernetesReviews | None]:
    """The Kubernetes cluster that people and agents are known by, for as long as the block lasts."""
    address = settings.cluster or settings.accounts_of
    if address is None:
        yield None
        return
    from controlplane.kubernetes_reviews import KubernetesReviews

    async with aclosing(KubernetesReviews(address)) as reviews:
        yield reviews


async def _opened_doors(parts: Parts, stack: AsyncExitStack, stop: Stop) -> Running:
    """Binds, then says so: the token for this machine's user, and the ready file."""
    settings, doors = parts.settings, parts.doors
    ready_file = settings.data_dir / "ready.json"
    ready_file.unlink(missing_ok=True)
    await doors.open(stack, stop)
    port = parse_address(doors.grpc.address).port
    local.write_token(port, parts.token)
    stack.callback(local.remove_token, port, parts.token)
    ready = Ready(**doors.addresses, instance_id=parts.view.plane.instance_id, pid=os.getpid())
    _write(ready_file, json.dumps(asdict(ready)))
    stack.callback(ready_file.unlink, missing_ok=True)
    return Running(ready=ready, token=parts.token, sessions=parts.sessions, view=parts.view)


def _write(path: Path, text: str) -> None:
    """At once or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
    Path(temporary).replace(path)
