"""Who calls the management API: by a token, else by what a trusted proxy says, else by a certificate.

Whoever sends a token is known by that or not at all. A call of a web page is refused whatever it shows: a browser adds
certificates and a proxy's cookies by itself, also for pages from elsewhere. Each refusal is an event, as long as those
of its source are few; a source with many in a minute is told to wait, and who shows who it is gets in all the same.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime

from controlplane.attribution import Attribution
from controlplane.hosts import Hosts
from controlplane.identity.cluster import Cluster
from controlplane.identity.proxies import Proxies, check_name
from controlplane.identity.scope import source_of
from controlplane.identity.secret import Kind
from controlplane.identity.throttle import FAILURES, Throttle
from controlplane.identity.users import Users
from controlplane.state.store import Store
from headrace.errors import ForbiddenError, OverloadedError, UnauthenticatedError, UnavailableError
from headrace.server import Caller, Shown
from headrace.types import KnownBy, Role, Severity


class People:
    """Tells callers apart; safe to use from many tasks of one loop."""

    def __init__(
        self,
        *,
        store: Store,
        users: Users,
        token: str,
        owner: str,
        hosts: Hosts,
        proxies: Proxies,
        cluster: Cluster | None = None,
        clock: Callable[[], datetime],
    ) -> None:
        """`token` is the plane's own, which the account of its `owner` alone can read."""
        self._store = store
        self._users = users
        self._token = token.encode()
        self._owner = owner
        self._hosts = hosts
        self._proxies = proxies
        self._cluster = cluster
        self._clock = clock
        self._refusals = Throttle()
        self._strangers = Throttle()
        self._forbidden = Throttle()

    async def known(self, shown: Shown) -> Caller:
        """Whoever makes this call.

        Raises UnauthenticatedError, OverloadedError after many of those, UnavailableError when the cluster is silent.
        """
        source = source_of(shown.peer)
        wait = self._refusals.wait(source, self._clock())
        try:
            return await self._known(shown, source, waiting=wait > 0)
        except UnauthenticatedError as error:
            if wait:
                raise OverloadedError(
                    f"too many calls from {source} did not show who makes them; the next one is looked at in "
                    f"{wait:.0f} s, and this one failed too: {error.message}"
                ) from None
            await self._record("user.unauthenticated", error.message, source, self._refusals)
            raise

    async def refused(self, caller: Caller, error: ForbiddenError) -> None:
        """Records that somebody tried what their role does not allow."""
        await self._record("user.refused", error.message, caller.source, self._forbidden, caller)

    async def _known(self, shown: Shown, source: str, *, waiting: bool) -> Caller:
        origins = [value for key, value in shown.headers if key == "origin"]
        if not all(map(self._hosts.takes_origin, origins)):
            raise UnauthenticatedError("a web page from elsewhere may not use the management API")
        if shown.credential:
            return await self._by_token(shown, source, waiting=waiting)
        if self._proxies.networks and self._proxies.named(shown.headers):
            if source not in self._proxies:
                await self._record("user.header_ignored", _IGNORED.format(source), source, self._strangers)
            elif self._proxies.user_of(shown.headers):
                return await self._by_header(shown, source)
        if shown.subject:
            subject = check_name(shown.subject, "the certificate")
            name, role = await self._users.known_as(KnownBy.CERTIFICATE, subject)
            return _caller(shown, name, role, KnownBy.CERTIFICATE, source)
        nothing = "the management API needs a token"
        if source in self._proxies:
            nothing = f"the proxy at {source} says nothing of who calls in {self._proxies.user}, and there is no token"
        raise UnauthenticatedError(f"{nothing}; {_WHERE}")

    async def _by_token(self, shown: Shown, source: str, *, waiting: bool) -> Caller:
        if shown.credential.startswith(f"{Kind.USER.value}_"):
            name, role = await self._users.known_by(shown.credential)
            return _caller(shown, name, role, KnownBy.TOKEN, source)
        if hmac.compare_digest(shown.credential.encode(), self._token):
            return _caller(shown, self._owner, Role.ADMIN, KnownBy.LOCAL, source)
        if self._cluster is not None:
            try:
                name, role = await self._cluster.known_by(shown.credential, waiting=waiting)
            except UnavailableError as error:
                await self._record("user.unauthenticated", error.message, source, self._strangers)
                raise
            return _caller(shown, name, role, KnownBy.KUBERNETES, source)
        raise UnauthenticatedError(f"the management token is wrong; {_WHERE}")

    async def _by_header(self, shown: Shown, source: str) -> Caller:
        user = self._proxies.user_of(shown.headers)
        groups = self._proxies.groups_of(shown.headers)
        name, role = await self._users.known_as(KnownBy.HEADER, user, groups=groups)
        via = self._proxies.caller_of(shown.headers)
        return _caller(shown, name, role, KnownBy.HEADER, f"{via} through {source}" if via else source)

    async def _record(
        self, kind: str, message: str, source: str, counts: Throttle, caller: Caller | None = None
    ) -> None:
        """An event for each of the first of a source, or of a caller, in a minute."""
        whose = f"{caller.known_by} {caller.name}" if caller is not None else source
        times = counts.failed(whose, self._clock())
        if times > FAILURES:
            return
        what = "user" if caller is not None else "source"
        more = f"; further ones of this {what} are not recorded for a minute" if times == FAILURES else ""
        attribution = Attribution(known_by=caller.known_by if caller is not None else None, source=source)
        async with self._store.write() as tx:
            tx.event(
                kind,
                message + more,
                actor=caller.name if caller is not None else "",
                severity=Severity.WARNING,
                attribution=attribution,
            )


_IGNORED = "a header said who calls, and {} is no trusted proxy; --trusted-proxy makes it one"
_WHERE = "on the control plane's host its user's commands find it, elsewhere set HEADRACE_TOKEN"


def _caller(shown: Shown, name: str, role: Role, known_by: KnownBy, source: str) -> Caller:
    return Caller(name=name, peer=shown.peer, role=role, known_by=known_by, source=source)
