"""The composition root: every part of a control plane, built once, in the order in which one needs the other."""

from __future__ import annotations

import asyncio
import getpass
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import structlog
from prometheus_client import generate_latest

from controlplane.catalogue import Catalogues
from controlplane.changes import Changes
from controlplane.doors import Doors
from controlplane.fleet import Fleet
from controlplane.fleet.lifecycle import Lifecycle
from controlplane.hosts import Hosts, check_people
from controlplane.identity import Approvals, Authorities, Authority, Claims, Enrolment, People, Tokens, Users
from controlplane.identity.authority_files import AuthorityFiles, Folder, Given
from controlplane.identity.cluster import Cluster
from controlplane.identity.possession import Possession
from controlplane.identity.service_accounts import ServiceAccounts
from controlplane.metrics import MetricStore
from controlplane.metrics.buffer import Buffer
from controlplane.metrics.export import FleetExport
from controlplane.metrics.intake import MetricIntake
from controlplane.metrics.meters import MetricMeters
from controlplane.metrics.reading import MetricReader
from controlplane.observed import History, Intake
from controlplane.reconciler import Reconciler
from controlplane.rpc.channel import ChannelEdge
from controlplane.rpc.management import About, ManagementEdge
from controlplane.secrets import Secrets
from controlplane.sessions import Sessions
from controlplane.settings import Settings
from controlplane.state.metered import MeteredStore
from controlplane.state.store import Store
from controlplane.telemetry import Meters
from controlplane.upkeep import Upkeep
from controlplane.view import View
from headrace.errors import UnavailableError
from headrace.keyring import KeyFile
from headrace.security import parse_address

if TYPE_CHECKING:
    from controlplane.kubernetes_reviews import KubernetesReviews

_LAST_WORDS_S = 5.0

log = structlog.get_logger(__name__)


class Parts:
    """Everything, built in the order in which it is needed."""

    def __init__(
        self, settings: Settings, store: Store, metric_store: MetricStore | None, reviews: KubernetesReviews | None
    ) -> None:
        def clock() -> datetime:
            return datetime.now(UTC)

        self.meters = meters = Meters()
        store = MeteredStore(
            store,
            reading=lambda: meters.store.labels("read").time(),
            writing=lambda: meters.store.labels("write").time(),
        )
        self.settings = settings
        self.store = store
        rng = random.Random()
        self.replica = replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        lease_s = settings.timings.lost
        self.view = View(limits=settings.limits)
        self.sessions = Sessions()
        meters.sessions.set_function(lambda: len(self.sessions))
        self.changes = Changes(store)
        self.catalogues = Catalogues(store=store)
        self.claims = Claims(store=store, replica=replica, lease_s=lease_s, clock=clock)
        self.intake = Intake(
            store=store, view=self.view, clock=clock, rng=rng, meters=self.meters, limits=settings.limits
        )
        metric_meters = MetricMeters(self.meters.registry)
        self.metric_store = metric_store
        self.metric_buffer: Buffer | None = None
        metric_intake: MetricIntake | None = None
        if metric_store is not None:
            self.metric_buffer = Buffer(metric_store, meters=metric_meters, monotonic=time.monotonic, rng=rng)
            metric_intake = MetricIntake(
                self.metric_buffer, view=self.view, meters=metric_meters, labels=settings.metric_labels, clock=clock
            )
        keys = KeyFile(settings.secrets_key or settings.data_dir.absolute() / "secrets.key")
        self.secrets = Secrets(store=store, view=self.view, keys=keys, clock=clock)
        self.fleet = Fleet.over(
            store=store,
            view=self.view,
            changes=self.changes,
            catalogues=self.catalogues,
            secrets=self.secrets,
            clock=clock,
            monotonic=time.monotonic,
            limits=settings.limits,
            confirm_floor=settings.confirm_floor,
        )
        self.reconciler = Reconciler(
            store=store,
            view=self.view,
            changes=self.changes,
            sessions=self.sessions,
            intake=self.intake,
            secrets=self.secrets,
            meters=self.meters,
            clock=clock,
            rng=rng,
        )
        files = _authority_files(settings, clock)
        self.authorities = Authorities(store=store, view=self.view, files=files, clock=clock) if files else None
        approvals = Approvals(store=store, clock=clock)
        accounts = ServiceAccounts(reviews, settings.accounts, clock=clock) if reviews and settings.accounts else None
        self.upkeep = Upkeep(
            sessions=self.sessions,
            claims=self.claims,
            lifecycle=Lifecycle(
                store=store,
                view=self.view,
                timings=settings.timings,
                lease_s=lease_s,
                retention_s=settings.retention_s,
                clock=clock,
            ),
            commands=self.fleet.commands,
            uploads=self.fleet.uploads,
            authorities=self.authorities,
            approvals=approvals,
            view=self.view,
            renew_s=settings.heartbeat_s,
            sweep_s=min(5.0, settings.timings.suspect / 6),
            monotonic=time.monotonic,
        )
        channel = ChannelEdge(
            view=self.view,
            sessions=self.sessions,
            authority=Authority(store=store, view=self.view, authorities=self.authorities, clock=clock),
            enrolment=Enrolment(
                store=store, clock=clock, authorities=self.authorities, approve=settings.approve, accounts=accounts
            ),
            claims=self.claims,
            intake=self.intake,
            metrics=metric_intake,
            history=History(store=store),
            fleet=self.fleet,
            reconciler=self.reconciler,
            heartbeat_s=settings.heartbeat_s,
            sample_s=settings.sample_s,
            monotonic=time.monotonic,
            rng=rng,
            certificate_port=lambda: (
                parse_address(self.doors.channel_mtls.address).port if self.doors.channel_mtls else 0
            ),
            clock=clock,
        )
        self.users = Users(store=store, clock=clock)
        possession = Possession(store=store, view=self.view)
        self.token = settings.management_token or secrets.token_urlsafe(32)
        owner = getpass.getuser()
        management = ManagementEdge(
            user=owner,
            people=People(
                store=store,
                users=self.users,
                token=self.token,
                owner=owner,
                hosts=Hosts.of(parse_address(settings.grpc.address), settings.public_hosts),
                proxies=settings.proxies,
                cluster=Cluster(reviews, monotonic=time.monotonic) if reviews and settings.cluster else None,
                clock=clock,
            ),
            about=About(
                version=version("headrace"),
                replica=replica,
                state=store.description,
                started_at=clock(),
            ),
            view=self.view,
            sessions=self.sessions,
            fleet=self.fleet,
            tokens=Tokens(store=store, clock=clock),
            channel=lambda: self.doors.channel.address,
            metrics=MetricReader(
                metric_store,
                view=self.view,
                meters=metric_meters,
                labels=settings.metric_labels,
                clock=clock,
                sample_s=settings.sample_s,
                trouble=lambda: self.metric_buffer.trouble if self.metric_buffer is not None else "",
            ),
            secrets=self.secrets,
            users=self.users,
            authorities=self.authorities,
            approvals=approvals,
            backup=self.backup,
        )
        self.doors = Doors(
            settings,
            management=management,
            channel=channel,
            possession=possession,
            authorities=self.authorities,
            ready=self._why_not_ready,
            metrics=partial(generate_latest, self.meters.registry),
            fleet=self._fleet_text(metric_store, clock),
        )

    async def check_people(self) -> None:
        """Raises InvalidError where people off loopback could not be told apart."""
        doors = {"--http": parse_address(self.doors.http.address), "--grpc": parse_address(self.doors.grpc.address)}
        users = "users" if await self.users.any_may_enter() else ""
        check_people(doors, known_by=(*self.settings.people_known_by, users))

    def _fleet_text(
        self, store: MetricStore | None, clock: Callable[[], datetime]
    ) -> Callable[[], Awaitable[bytes]] | None:
        settings = self.settings
        if store is None or not settings.fleet_metrics:
            return None
        return FleetExport(
            store,
            view=self.view,
            labels=settings.metric_labels,
            clock=clock,
            monotonic=time.monotonic,
            window_s=max(60.0, 3 * settings.sample_s),
        ).text

    def background(self) -> dict[str, Coroutine[None, None, None]]:
        """What runs beside the doors, by the name of its task."""
        metrics: dict[str, Coroutine[None, None, None]] = {}
        if self.metric_store is not None and self.metric_buffer is not None:
            metrics = {"metric store": self.metric_store.run(), "writer of metrics": self.metric_buffer.run()}
        return {
            **metrics,
            "change log": self.changes.run(),
            "reconciler": self.reconciler.run(),
            "writer of reports": self.intake.run(),
            "writer of claims": self.claims.claiming.run(),
            "writer of releases": self.claims.releasing.run(),
            "writer of facts": self.fleet.agents.facts.run(),
            "upkeep": self.upkeep.run(),
            "embedded catalogue": self.catalogues.ask_embedded(),
        }

    async def say(self, kind: str) -> None:
        """An event of this replica; one that starts without having stopped was killed."""
        async with self.store.write() as tx:
            tx.event(kind, f"{self.replica}, version {version('headrace')}")

    async def backup(self, author: str) -> AsyncGenerator[bytes, None]:
        """The whole state as of one moment, once it is recorded who takes it away."""
        async with self.store.write() as tx:
            tx.event("plane.backed_up", "the whole state, with what is encrypted or hashed in it", actor=author)
        async with aclosing(self.store.dump()) as pieces:
            async for piece in pieces:
                yield piece

    async def last_words(self) -> None:
        """Writes what agents reported and gave back; a store that is away does not keep the process."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self.intake.flush()
                await self.claims.releasing.rest()
                await self.say("plane.stopped")
        except TimeoutError:
            log.warning("not everything was written; agents will report it again", store=self.store.description)

    async def _why_not_ready(self) -> str:
        try:
            async with self.store.read() as reader:
                await reader.plane()
        except UnavailableError as error:
            return error.message
        return ""


def _authority_files(settings: Settings, clock: Callable[[], datetime]) -> AuthorityFiles | None:
    """Who has the keys of agents' certificates; None where that cannot be known."""
    if settings.ca_cert is not None and settings.ca_key is not None:
        return Given(settings.ca_cert, settings.ca_key, lifetime_s=settings.certificate_s)
    if settings.issues_certificates:
        return Folder(settings.data_dir, lifetime_s=settings.certificate_s, clock=clock)
    log.warning(
        "agents get no certificates: several control planes may share this state, and all of them must know agents by "
        "one authority; give its files by --ca-cert and --ca-key"
    )
    return None
