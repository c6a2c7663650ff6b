"""Enrolment: a bootstrap token and an agent's facts against an id and a credential of its own.

A refused enrolment makes no agent; it is an event, as long as refusals of its source are few. A source with many in a
minute is told to wait, and costs no write; a good token is good from there all the same, so that whoever floods from
behind an ingress locks out nobody. An agent that shows its previous credential keeps its id, and that credential ends.
Where an operator has to approve, one that is not known yet waits for that, and is no agent until then (`approvals`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from controlplane.identity import approvals, credentials, renewal
from controlplane.identity.approvals import DeniedError
from controlplane.identity.authorities import Authorities
from controlplane.identity.certificates import public_key_of
from controlplane.identity.denials import revoke_certificates
from controlplane.identity.scope import check_claims, source_of
from controlplane.identity.secret import Kind, mint, new_id, take_apart
from controlplane.identity.service_accounts import CLAIM, ServiceAccounts
from controlplane.identity.throttle import FAILURES, Throttle
from controlplane.identity.tokens import Applicant, check, check_room, redeem
from controlplane.labels import check_labels
from controlplane.model import AgentRow, TokenRow, Topic, Verdict
from controlplane.state.store import Reader, Store, Transaction
from headrace.errors import ForbiddenError, HeadraceError, InvalidError, OverloadedError, UnauthenticatedError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import AgentState, Facts, Severity

_LONGEST_NAME = 253
_LONGEST_FACT = 200
_MOST_ENGINES, _MOST_CAPABILITIES = 16, 64
_Refusal = (UnauthenticatedError, ForbiddenError, InvalidError)


class Enrolment:
    """Gives identities to agents; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Callable[[], datetime],
        authorities: Authorities | None = None,
        approve: bool = False,
        accounts: ServiceAccounts | None = None,
    ) -> None:
        """Without authorities it issues no certificates, and keeps agents' keys all the same.

        With `approve` an operator has to approve of each agent, whatever its token says; one that `accounts` knows was
        approved of by that.
        """
        self._approve = approve
        self._accounts = accounts
        self._store = store
        self._ca = authorities
        self._clock = clock
        self._throttle = Throttle()

    async def enroll(self, request: EnrollRequest, *, peer: str) -> EnrollResponse:
        """With a claim `enrol: check` it only says whether it would.

        Raises UnauthenticatedError and ForbiddenError for the token, InvalidError for the facts, OverloadedError.
        """
        source = source_of(peer)
        wait = self._throttle.wait(source, self._clock())
        try:
            check_facts(request.facts)
            if request.claims.get("enrol") == "check":
                if await self._terms(request) is None:
                    async with self._store.read() as reader:
                        await check(reader, request.token, _applicant(request, source, None), self._clock())
                return EnrollResponse()
            key = public_key_of(request.csr) if request.csr else ""
            terms = await self._terms(request)
            if terms is not None:
                async with self._store.write() as tx:
                    previous = _same(await _claimed(tx, request), key)
                    return await self._let_in(tx, request, source, key, terms, previous, new_id("a-"))
            if wait:
                async with self._store.read() as reader:
                    if await approvals.pending(reader, request, key, self._clock()):
                        wait = 0.0
                    else:
                        applicant = _applicant(request, source, _same(await _claimed(reader, request), key))
                        await check(reader, request.token, applicant, self._clock())
            async with self._store.write() as tx:
                return await self._enroll(tx, request, source, key)
        except DeniedError:
            raise  # an event already
        except _Refusal as error:
            if wait:
                raise OverloadedError(
                    f"too many enrolments from {source} failed; the next one is looked at in {wait:.0f} s, "
                    f"and this one failed too: {error.message}"
                ) from None
            await self.record_refusal(request.facts.name, peer, error)
            raise

    async def _terms(self, request: EnrollRequest) -> TokenRow | None:
        """By which an agent enrols that shows a service account's token; None for one with a bootstrap token."""
        if request.token or CLAIM not in request.claims:
            return None
        if self._accounts is None:
            raise UnauthenticatedError(
                "this control plane knows no service accounts: start it with --kubernetes-agents, or give the agent a "
                "bootstrap token"
            )
        return await self._accounts.terms(request.claims[CLAIM], request.facts)

    async def renew(self, agent_id: str, request: EnrollRequest) -> EnrollResponse:
        """One step of a renewal by an agent that was authenticated. Raises what `renewal` does, and InvalidError."""
        key = public_key_of(request.csr)
        async with self._store.write() as tx:
            match request.claims.get("renew"):
                case "begin" if self._ca is not None:
                    return await renewal.begin(tx, agent_id, request, key, ca=self._ca, now=self._clock())
                case "commit":
                    return await renewal.commit(tx, agent_id, request, key, now=self._clock())
        raise InvalidError("a renewal begins, where there is an authority of certificates, and is committed")

    async def _enroll(self, tx: Transaction, request: EnrollRequest, source: str, key: str) -> EnrollResponse:
        now = self._clock()
        application = await approvals.pending(tx, request, key, now)
        if application is not None and application.verdict is Verdict.WAITING:
            return EnrollResponse(pending_until=now + approvals.AGAIN)
        if application is not None:
            previous, token = await approvals.take_up(tx, application)
            check_claims(token.scope, request.facts.labels, f"agent {request.facts.name!r}")
            await check_room(tx, token, _applicant(request, source, previous))
            return await self._let_in(tx, request, source, key, token, previous, application.id)
        known = await _claimed(tx, request)
        previous = _same(known, key)
        token = await redeem(tx, request.token, _applicant(request, source, previous), now)
        if previous is None and (token.approve or self._approve):
            claimed = known.id if known else ""
            await approvals.apply(tx, request, key, token=token, source=source, claimed=claimed, now=now)
            return EnrollResponse(pending_until=now + approvals.AGAIN)
        return await self._let_in(tx, request, source, key, token, previous, new_id("a-"))

    async def _let_in(
        self,
        tx: Transaction,
        request: EnrollRequest,
        source: str,
        key: str,
        token: TokenRow,
        previous: AgentRow | None,
        fresh_id: str,
    ) -> EnrollResponse:
        now = self._clock()
        identifier = previous.id if previous else fresh_id
        credential, credential_hash = mint(Kind.AGENT, identifier)
        agent = AgentRow(
            id=identifier,
            name=request.facts.name,
            state=previous.state if previous else AgentState.PENDING,
            facts=request.facts,
            token_labels=token.labels,
            credential_hash=credential_hash,
            token_id=token.id,
            enrolled_at=now,
            state_since=now,
            scope=token.scope,
        )
        if previous:
            agent = replace(
                agent,
                operator_labels=previous.operator_labels,
                last_seen=previous.last_seen,
                state_since=previous.state_since,
            )
        plane = await tx.plane()
        issued = None
        if self._ca is not None and key:
            await revoke_certificates(tx, identifier, now=now, reason="replaced by a newer one")
            issued = await self._ca.issue(tx, request.csr, agent_id=identifier, instance_id=plane.instance_id, now=now)
        agent = replace(agent, public_key=key, serial=issued.serial if issued else "")
        await tx.put(agent)
        tx.log(Topic.AGENT, identifier)
        tx.event(
            "agent.enrolled",
            f"{agent.name} from {source} with {_named(token)}" + (", keeping its id" if previous else ""),
            agent_id=identifier,
        )
        return EnrollResponse(
            agent_id=identifier,
            credential=credential,
            instance_id=plane.instance_id,
            certificate=issued.certificate if issued else b"",
            ca_bundle=issued.bundle if issued else b"",
            certificate_until=issued.expires_at if issued else None,
        )

    async def record_refusal(self, name: str, peer: str, error: HeadraceError) -> None:
        """An event for each of the first refusals of a source in a minute, so that a flood of them fills no disk."""
        failures = self._throttle.failed(source_of(peer), self._clock())
        if failures > FAILURES:
            return
        shown = name[:_LONGEST_NAME] if name.isprintable() else "?"
        more = "; further refusals of this source are not recorded for a minute" if failures == FAILURES else ""
        async with self._store.write() as tx:
            message = f"{shown or '?'} at {peer}: {error.message}{more}"
            tx.event("agent.refused", message, severity=Severity.WARNING)


def check_facts(facts: Facts) -> None:
    """Raises InvalidError for what nothing could select or show, and for more than an agent has to say."""
    if not facts.name or len(facts.name) > _LONGEST_NAME or not facts.name.isprintable() or " " in facts.name:
        raise InvalidError(f"an agent's name has 1 to {_LONGEST_NAME} printable characters without spaces")
    check_labels(facts.labels, f"labels of agent {facts.name!r}")
    if len(facts.engines) > _MOST_ENGINES or len(facts.capabilities) > _MOST_CAPABILITIES:
        raise InvalidError(
            f"agent {facts.name!r}: at most {_MOST_ENGINES} engines and {_MOST_CAPABILITIES} capabilities can be told"
        )
    texts = [facts.version, facts.os, facts.arch, *facts.capabilities]
    texts += [text for info in facts.engines for text in (info.version, info.catalogue_sha256)]
    if any(len(text) > _LONGEST_FACT or not text.isprintable() for text in texts):
        raise InvalidError(
            f"agent {facts.name!r}: versions, capabilities and such have at most {_LONGEST_FACT} printable characters"
        )


def _applicant(request: EnrollRequest, source: str, previous: AgentRow | None) -> Applicant:
    return Applicant(
        name=request.facts.name,
        source=source,
        labels=request.facts.labels,
        agent_id=previous.id if previous else "",
    )


def _named(token: TokenRow) -> str:
    if not token.secret_hash:
        return f"the service account {token.id.removeprefix('kubernetes/')}"
    return f"token {token.id}, use {token.uses} of {token.max_uses or 'any number'}"


async def _claimed(reader: Reader, request: EnrollRequest) -> AgentRow | None:
    """The agent whose credential the claims show; claims that prove nothing are as good as none."""
    claimed = request.claims.get("credential")
    if not claimed:
        return None
    try:
        secret = take_apart(claimed, Kind.AGENT)
        return credentials.check(secret, await reader.get(AgentRow, secret.id))
    except (UnauthenticatedError, ForbiddenError):
        return None


def _same(known: AgentRow | None, key: str) -> AgentRow | None:
    """The agent, if this is it: who once showed a key is only known by that key, and without it by an operator."""
    return known if known is not None and known.public_key in ("", key) else None
