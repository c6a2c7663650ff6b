"""How an agent gets its identity: a bootstrap token in exchange for an id and a credential of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from agent.rotation import identity_of
from agent.settings import SettingsError
from agent.state import State
from headrace.errors import HeadraceError
from headrace.messages import EnrollRequest, EnrollResponse
from headrace.types import Facts

log = structlog.get_logger(__name__)

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 60.0


class Enrolment:
    """Asks until there is an identity; an answer that cannot be is logged once per try, and tried again ever later.

    `call` is `headrace.client.enroll` with its target bound. `token` is asked anew for each try, so a renewed token
    file is found. `account` gives a service account's token, which takes the place of a bootstrap token where there is
    none. `request` makes the certificate request for the agent's key.
    """

    def __init__(
        self,
        state: State,
        *,
        token: Callable[[], str],
        facts: Callable[[], Facts],
        call: Callable[[EnrollRequest], Awaitable[EnrollResponse]],
        now: Callable[[], datetime],
        roll: Callable[[], float],
        request: Callable[[], bytes] = bytes,
        account: Callable[[], str] = str,
    ) -> None:
        self._state = state
        self._token = token
        self._facts = facts
        self._call = call
        self._now = now
        self._roll = roll
        self._request = request
        self._account = account
        self._waits = False

    async def until_enrolled(self) -> None:
        """Returns once there is an identity on disk; at once if there is one."""
        delay = FIRST_DELAY_S
        while self._state.identity is None:
            wait = await self._try()
            if wait is None:
                return
            await asyncio.sleep(wait or delay * (0.5 + 0.5 * self._roll()))
            delay = min(delay * 2, LONGEST_DELAY_S)

    async def renew(self) -> bool:
        """A new identity in place of one that is refused, if there is a token that may get it."""
        return await self._try() is None

    async def _try(self) -> float | None:
        """None when it is done, else how many seconds to wait; 0 when nobody said."""
        try:
            token = self._token()
            account = "" if token else self._account()
            if not (token or account):
                raise SettingsError("there is no identity and no bootstrap token; give one by --token-file")
            previous = self._state.identity
            claims = {"credential": previous.credential} if previous else {}  # what proves who this was
            if account:
                claims["kubernetes"] = account
            request = EnrollRequest(token=token, facts=self._facts(), csr=self._request(), claims=claims)
            response = await self._call(request)
        except HeadraceError as error:
            log.error("enrolment failed", reason=error.message)
            return 0.0
        if response.pending_until is not None:
            if not self._waits:
                log.warning("an operator has to approve of this agent; it waits", name=request.facts.name)
            self._waits = True
            return min(LONGEST_DELAY_S, max(1.0, (response.pending_until - self._now()).total_seconds()))
        identity = identity_of(response, self._now())
        self._state.save_identity(identity)
        self._state.save_next(None)
        log.info("enrolled", agent=identity.agent_id)
        return None
