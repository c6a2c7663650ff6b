"""The agents' door: what `headrace.server` asks of a host, answered by identity, observed, fleet and the reconciler."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import structlog

from controlplane.fleet import Fleet
from controlplane.identity import Authority, Claimed, Claims, Enrolment
from controlplane.identity.enrolment import check_facts
from controlplane.identity.ownership import Verdict
from controlplane.identity.scope import check_claims
from controlplane.metrics.intake import MetricIntake
from controlplane.model import CommandRow
from controlplane.observed import History, Intake
from controlplane.reconciler import Reconciler
from controlplane.sessions import Session, Sessions
from controlplane.view import View
from headrace.digests import workloads_digest
from headrace.errors import ForbiddenError, InvalidError, UnavailableError
from headrace.messages import (
    Answer,
    EnrollRequest,
    EnrollResponse,
    Goodbye,
    Hello,
    Proof,
    ReportRequest,
    ReportResponse,
    Welcome,
    Workloads,
)
from headrace.server import Link
from headrace.session import CloseError
from headrace.types import CloseReason, Facts

_DUPLICATE_RETRY_MS = 300_000
_BUSY_RETRY_MS = 5_000
_LONGEST_BOOT_ID = 64

log = structlog.get_logger(__name__)


class ChannelEdge:
    """A `headrace.server.ChannelHandler`; the calls for one link come one at a time."""

    def __init__(
        self,
        *,
        view: View,
        sessions: Sessions,
        authority: Authority,
        enrolment: Enrolment,
        claims: Claims,
        intake: Intake,
        metrics: MetricIntake | None,
        history: History,
        fleet: Fleet,
        reconciler: Reconciler,
        heartbeat_s: float,
        sample_s: float,
        monotonic: Callable[[], float],
        rng: random.Random,
        certificate_port: Callable[[], int],
        clock: Callable[[], datetime],
    ) -> None:
        self._view = view
        self._sessions = sessions
        self._authority = authority
        self._enrolment = enrolment
        self._claims = claims
        self._intake = intake
        self._metrics = metrics
        self._history = history
        self._fleet = fleet
        self._reconciler = reconciler
        self._heartbeat_ms = round(heartbeat_s * 1000)
        self._sample_ms = round(sample_s * 1000)
        self._monotonic = monotonic
        self._rng = rng
        self._certificate_port = certificate_port
        self._clock = clock
        self._opening: dict[str, tuple[Hello, tuple[CommandRow, ...]]] = {}
        self._left: set[str] = set()

    async def enroll(self, request: EnrollRequest, peer: str) -> EnrollResponse:
        """See `Enrolment`."""
        response = await self._enrolment.enroll(request, peer=peer)
        return replace(response, certificate_port=self._certificate_port()) if response.certificate else response

    async def renew(self, agent_id: str, request: EnrollRequest) -> EnrollResponse:
        """See `renewal`."""
        response = await self._enrolment.renew(agent_id, request)
        return replace(response, certificate_port=self._certificate_port()) if response.certificate else response

    async def authenticate(self, credential: str, peer: str, certificate: bytes = b"") -> str:
        """See `Authority`."""
        return await self._authority.authenticate(credential, certificate)

    async def open(self, link: Link, hello: Hello) -> Welcome:
        """Claims the session; the session of the same agent that is held here ends."""
        if not 0 < len(link.boot_id) <= _LONGEST_BOOT_ID or not link.boot_id.isprintable():
            raise CloseError(CloseReason.PROTOCOL, f"a boot id has 1 to {_LONGEST_BOOT_ID} printable characters")
        try:
            claimed = await self._claims.claim(
                agent_id=link.agent_id,
                session_id=link.session_id,
                boot_id=link.boot_id,
                session_number=link.session_number,
                shown=link.shown,
            )
            _check(claimed)
            if link.agent_id not in self._view.agents:
                await self._reconciler.follow()
            if hello.instance_id == self._view.plane.instance_id and hello.epoch > self._view.plane.epoch:
                await self._history.reach(hello.epoch, agent_id=link.agent_id)
                await self._reconciler.follow()
        except UnavailableError as error:
            retry_ms = round(self._rng.uniform(0.5, 1.5) * _BUSY_RETRY_MS)
            raise CloseError(CloseReason.OVERLOADED, error.message, retry_ms) from error
        session = Session(link)
        session.resume(claimed.observed)
        older = self._sessions.put(session)
        if older is not None:
            older.link.close(CloseReason.SUPERSEDED, "a newer session took over")
        self._opening[link.session_id] = (hello, claimed.commands)
        plane, agent = self._view.plane, self._view.agents.get(link.agent_id)
        return Welcome(
            session_id=link.session_id,
            instance_id=plane.instance_id,
            epoch=plane.epoch,
            heartbeat_ms=self._heartbeat_ms,
            want_facts=agent is None or hello.facts_digest != agent.digest,
            want_workloads=hello.workloads_digest != workloads_digest(session.workloads.values()),
            metrics=self._metrics is not None,
            at=self._clock(),
            sample_interval_ms=self._sample_ms,
        )

    async def opened(self, link: Link) -> None:
        """All that differs is posted."""
        session = self._session(link)
        opening = self._opening.pop(link.session_id, None)
        if session is None or opening is None:
            return
        self._reconciler.admit(session, *opening)
        await self._want_catalogues(link.agent_id)

    async def receive(self, link: Link, message: Facts | Workloads | Answer | Goodbye | Proof) -> None:
        """Reports are taken in memory and written soon; everything else is in the store when this returns."""
        match message:
            case Workloads():
                if (session := self._session(link)) is not None:
                    self._intake.take(session, message)
            case Facts():
                await self._record(link, message)
            case Answer():
                await self._fleet.commands.answer(link.agent_id, message)
            case Goodbye():
                self._left.add(link.session_id)
            case Proof():
                raise CloseError(CloseReason.PROTOCOL, "no proof was asked for")

    async def closed(self, link: Link, why: str) -> None:
        """Gives the session back, so that another process need not wait for its lease."""
        log.debug("session ended", agent=link.agent_id, session=link.session_id, why=why)
        self._opening.pop(link.session_id, None)
        left = link.session_id in self._left
        self._left.discard(link.session_id)
        session = self._session(link)
        if session is not None and self._sessions.drop(session):
            silence_s = self._monotonic() - link.last_heard
            self._claims.release(link.agent_id, link.session_id, silence_s=silence_s, left=left)

    async def get_blob(self, agent_id: str, sha256: str) -> bytes:
        """See `Blobs`."""
        return await self._fleet.blobs.get(agent_id, sha256)

    async def expect_blob(self, agent_id: str, sha256: str) -> None:
        """See `Blobs`."""
        await self._fleet.blobs.expect(agent_id, sha256)

    async def put_blob(self, agent_id: str, sha256: str, data: bytes) -> None:
        """See `Blobs`."""
        await self._fleet.blobs.put(agent_id, sha256, data)

    async def report(self, agent_id: str, request: ReportRequest) -> ReportResponse:
        """See `MetricIntake`; where there are no metrics Welcome said so, and no agent should try."""
        if self._metrics is None:
            raise UnavailableError("this control plane keeps no metrics; Welcome said so")
        return await self._metrics.report(agent_id, request)

    async def _record(self, link: Link, facts: Facts) -> None:
        try:
            check_facts(facts)
            if (agent := self._view.agents.get(link.agent_id)) is not None:
                check_claims(agent.row.scope, facts.labels, f"agent {facts.name!r}")
        except (InvalidError, ForbiddenError) as error:
            await self._enrolment.record_refusal(facts.name, link.peer, error)
            raise CloseError(CloseReason.PROTOCOL, error.message) from error
        await self._fleet.agents.record_facts(link.agent_id, facts)
        await self._reconciler.follow()
        session = self._session(link)
        if session is not None and session.live:
            await self._want_catalogues(link.agent_id)

    async def _want_catalogues(self, agent_id: str) -> None:
        agent = self._view.agents.get(agent_id)
        if agent is not None:
            await self._fleet.uploads.want(agent)

    def _session(self, link: Link) -> Session | None:
        session = self._sessions.get(link.agent_id)
        return session if session is not None and session.link is link else None


def _check(claimed: Claimed) -> None:
    """Raises CloseError for a claim that was not granted."""
    match claimed.verdict:
        case Verdict.GRANTED:
            return
        case Verdict.STALE:
            raise CloseError(CloseReason.SUPERSEDED, "a newer session of this process is open")
        case Verdict.DUPLICATE:
            raise CloseError(
                CloseReason.DUPLICATE_IDENTITY,
                f"another process ({claimed.owner.boot_id}) uses this identity; stop one of them",
                _DUPLICATE_RETRY_MS,
            )
