"""The kubernetes_events input: reads the list of events, page by page, then watches what comes after it.

A watch that ends is begun again where it was; when the server does not know that version any more (410), the list is
read anew, and what was handed over before is left out. Events are known as delivered when the outputs have them.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from agent.engine.config import INTEGER, STRING, TIME, included, option
from agent.engine.database import DatabaseOptions
from agent.engine.http_client import ProtocolError
from agent.engine.inputs.kubernetes_events.events import Event, Gone, Lines, NotUnderstood, read_line, read_page
from agent.engine.inputs.kubernetes_events.known import Known
from agent.engine.kubernetes import KubernetesOptions, Server, split_url
from agent.engine.pace import interval
from agent.engine.plugin import Context, Inlet
from agent.engine.record import NANOSECONDS, Batch
from agent.engine.registry import inputs

DEADLINE = 60.0
"""Seconds that the server has for a page of the list, and for ending a watch whose time is over."""
LARGEST = 100_000_000
"""Bytes of a page."""
FORGETS_EVERY = 60 * NANOSECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesEventsConfig:
    """What the kubernetes_events input takes. Times are seconds."""

    server: KubernetesOptions = included(KubernetesOptions)
    interval_sec: int = option(INTEGER, 0, help="seconds before the next try when the server cannot be had")
    interval_nsec: int = option(INTEGER, 500_000_000, help="nanoseconds of it, added to the seconds")
    kube_watch_timeout: float = option(TIME, 600, help="how long one watch lasts; 0 means no end")
    kube_request_limit: int = option(INTEGER, 0, help="events on a page of the list; 0 means all on one")
    kube_retention_time: float = option(TIME, 3600, help="leave out events that are older")
    kube_namespace: str | None = option(STRING, help="namespace to look at; without it all of them")
    db: str | None = option(STRING, help="database of what is delivered, so that a restart does not give it again")
    database: DatabaseOptions = included(DatabaseOptions)


@inputs.register("kubernetes_events", KubernetesEventsConfig, refused=("listen", "host", "port", "tls.debug"))
class KubernetesEvents:
    """Follows the events of a Kubernetes cluster."""

    def __init__(self, config: KubernetesEventsConfig, context: Context) -> None:
        scheme, host, port = split_url(config.server.kube_url)
        self._config = config
        self._context = context
        self._server = Server(scheme, host, port, config.server, context.log, max_body=LARGEST)
        self._pause = interval(config.interval_sec, config.interval_nsec)
        namespace = f"namespaces/{quote(config.kube_namespace, safe='')}/" if config.kube_namespace else ""
        self._uri = f"/api/v1/{namespace}events"
        self._known: Known | None = None
        where = (str(Path(config.db).absolute()),) if config.db else ("in memory", context.name)
        self._key = ("kubernetes_events", *where)
        self._trouble = ""
        self._forgets_at = 0

    async def open(self) -> None:
        config = self._config
        self._server.open()
        self._known = self._context.resources.acquire(
            self._key,
            lambda: Known(
                Path(config.db) if config.db else None,
                sync=config.database.sync,
                journal_mode=config.database.journal_mode,
                locking=config.database.locking,
            ),
        )

    async def run(self, inlet: Inlet) -> None:
        assert self._known is not None
        known = self._known
        while True:
            try:
                if not known.version or known.uri != self._uri:
                    await self._list(known, inlet)
                await self._watch(known, inlet)
            except Gone:
                self._context.log.info("the server has forgotten version %d: listing anew", known.version)
                known.version = 0
            except (OSError, TimeoutError, EOFError, ProtocolError, NotUnderstood) as error:
                self._tell(str(error) or type(error).__name__)
            await asyncio.sleep(self._pause)

    async def close(self) -> None:
        if self._known is not None:
            self._known = None
            self._context.resources.release(self._key)

    async def _list(self, known: Known, inlet: Inlet) -> None:
        """Hand over all that the server has; then a watch can begin."""
        limit, token = self._config.kube_request_limit, ""
        while True:
            query = ([f"continue={quote(token, safe='')}"] if token else []) + ([f"limit={limit}"] if limit > 0 else [])
            uri = f"{self._uri}?{'&'.join(query)}" if query else self._uri
            async with asyncio.timeout(DEADLINE):
                response = await self._server.get(uri)
            self._check(response.status)
            page = read_page(response.body)
            await self._hand_over(page.events, known, inlet)
            token = page.token
            if not token:
                known.uri, known.version = self._uri, page.version
                return

    async def _watch(self, known: Known, inlet: Inlet) -> None:
        """Hand over what comes, until the watch ends."""
        lasts = self._config.kube_watch_timeout
        ends = f"&timeoutSeconds={lasts:.0f}" if lasts else ""
        async with asyncio.timeout(lasts + DEADLINE if lasts else None) as bound:
            async with self._server.stream(f"{self._uri}?watch=1&resourceVersion={known.version}{ends}") as answer:
                status, pieces = answer
                self._check(status)
                self._trouble = ""
                lines = Lines()
                async for piece in pieces:
                    read = [read_line(line) for line in lines.feed(piece)]
                    await self._hand_over([event for _, event in read if event is not None], known, inlet)
                    known.version = max([known.version, *(version for version, _ in read)])
                    if bound.when() is not None:
                        bound.reschedule(asyncio.get_running_loop().time() + lasts + DEADLINE)

    async def _hand_over(self, events: Iterable[Event], known: Known, inlet: Inlet) -> None:
        now = self._context.clock()
        oldest = now - int(self._config.kube_retention_time * NANOSECONDS)
        if now >= self._forgets_at:
            known.forget(oldest)
            self._forgets_at = now + FORGETS_EVERY
        timed = (event if event.time else replace(event, time=now) for event in events)
        new = [event for event in timed if event.time >= oldest and known.is_new(event)]
        if not new:
            return
        size = sum(len(str(event.record)) for event in new)
        confirm = known.hand_over(new)
        batch = Batch(self._context.tag, [event.time for event in new], [event.record for event in new], None, size)
        await inlet.push(batch, confirm if known.durable else None)

    def _check(self, status: int) -> None:
        if status == 410:
            raise Gone
        if status != 200:
            raise NotUnderstood(f"HTTP status={status}")

    def _tell(self, why: str) -> None:
        """Log trouble once, until it is over or another."""
        if why != self._trouble:
            self._trouble = why
            self._context.log.error("no events from %s%s: %s", self._server, self._uri, why)
