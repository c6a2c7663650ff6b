"""The agent's credential and certificate are renewed in time, and no step of that can leave it without one.

At two thirds of the certificate's life, or when the control plane says that its authority signs no more, a next pair is
asked for and written beside the one in use. The channel then opens its next session with it; when that is open, the
control plane is told to keep it, and only then it takes the old one's place on disk. A next pair that is refused is
dropped. Killed at any step, the agent goes on from what is on disk: the old pair, both, or the new one, each of which
the control plane takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from agent.model import Identity
from agent.state import State
from headrace.errors import HeadraceError, UnauthenticatedError
from headrace.messages import Authorities, EnrollRequest, EnrollResponse
from headrace.types import Facts

log = structlog.get_logger(__name__)

LONGEST_WAIT_S = 60.0
_DUE = 2 / 3
_SPREAD = 0.1


class Rotation:
    """`run` it beside the channel. `call` asks over the open session, `move` has the channel open the next one.

    `roll` (a chance in [0, 1)) spreads the renewals of agents that enrolled together.
    """

    def __init__(
        self,
        state: State,
        *,
        facts: Callable[[], Facts],
        request: Callable[[], bytes],
        call: Callable[[EnrollRequest], Awaitable[EnrollResponse]],
        move: Callable[[], None],
        now: Callable[[], datetime],
        roll: Callable[[], float],
    ) -> None:
        self._state = state
        self._facts = facts
        self._request = request
        self._call = call
        self._move = move
        self._now = now
        self._roll = roll
        self._chance = roll()
        self._asked = False
        self._spread_s = 0.0
        self._told = asyncio.Event()

    def tell(self, authorities: Authorities) -> None:
        """Takes by whom certificates are known now; one that is by another than who signs is renewed."""
        identity, bundle = self._state.identity, authorities.ca_bundle.decode(errors="replace")
        if identity is None or not identity.certificate:
            return
        if _first(bundle) == _first(identity.ca_bundle):
            if bundle != identity.ca_bundle:
                self._state.save_identity(replace(identity, ca_bundle=bundle))
        elif authorities.renew_within_ms:
            log.info("another authority signs certificates from now on; this agent's is renewed")
            self._asked = True
            self._spread_s = authorities.renew_within_ms / 1000 * self._roll()
            self._told.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._wait_s()):
                    await self._told.wait()
            except TimeoutError:
                pass
            else:
                self._told.clear()
                await asyncio.sleep(self._spread_s)
            try:
                await self.step()
            except HeadraceError as error:
                log.warning("the certificate is not renewed yet", reason=error.message)

    async def step(self) -> None:
        """What is due now, if anything is. Raises HeadraceError; then it is tried again soon."""
        due = self._due()
        if self._state.next_identity is not None:
            self._move()  # a session that it opens ends in `commit`
        elif due is not None and due <= self._now():
            await self._begin()

    async def commit(self) -> None:
        """Has the control plane keep the next pair, and keeps it here; a pair that it does not know is dropped.

        To be called once a session was opened with it. Raises HeadraceError; then both are good still.
        """
        following = self._state.next_identity
        if following is None:
            return
        try:
            await self._ask("commit", following.credential)
        except UnauthenticatedError as error:
            log.warning("the next certificate was refused; the old one stays", reason=error.message)
            self._state.save_next(None)
            return
        self._state.save_identity(following)
        self._state.save_next(None)
        self._asked = False
        log.info("certificate renewed", until=following.certificate_until and following.certificate_until.isoformat())

    async def _begin(self) -> None:
        identity = self._state.identity
        assert identity is not None
        response = await self._ask("begin", identity.credential)
        self._state.save_next(identity_of(response, self._now()))
        self._move()

    async def _ask(self, what: str, credential: str) -> EnrollResponse:
        claims = {"renew": what, "credential": credential}
        return await self._call(EnrollRequest(token="", facts=self._facts(), csr=self._request(), claims=claims))

    def _due(self) -> datetime | None:
        """When the certificate is to be renewed; None for an agent that has none."""
        identity = self._state.identity
        if identity is None or identity.certificate_from is None or identity.certificate_until is None:
            return None
        life = identity.certificate_until - identity.certificate_from
        due = identity.certificate_from + life * (_DUE - _SPREAD * self._chance)
        return min(due, self._now()) if self._asked else due

    def _wait_s(self) -> float:
        identity, due = self._state.identity, self._due()
        if identity is None or due is None or identity.certificate_until is None:
            return LONGEST_WAIT_S
        soon = (identity.certificate_until - due) / timedelta(seconds=10)  # a tenth of what is left, once it is due
        return min(LONGEST_WAIT_S, max((due - self._now()).total_seconds(), soon))


def _first(bundle: str) -> str:
    """Who signs: the first of a bundle. An identity keeps the bundle that came with its certificate."""
    return bundle.partition("-----END CERTIFICATE-----")[0].strip()


def identity_of(response: EnrollResponse, now: datetime) -> Identity:
    """What an answer to Enroll gives."""
    return Identity(
        agent_id=response.agent_id,
        credential=response.credential,
        instance_id=response.instance_id,
        certificate=response.certificate.decode(errors="replace"),
        ca_bundle=response.ca_bundle.decode(errors="replace"),
        certificate_from=now if response.certificate else None,
        certificate_until=response.certificate_until,
        certificate_port=response.certificate_port,
    )
