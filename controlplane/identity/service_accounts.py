"""Agents in the control plane's own Kubernetes cluster enrol with no secret: by a token of their service account.

The token is one that the cluster projects for our audience, so that it is good for nothing else there and another one
is good for nothing here. Which accounts may enrol is a setting, `namespace:name` each. The cluster says which pod and
node the token is bound to; the agent carries that as labels, which it cannot choose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from controlplane.identity.scope import check_claims
from controlplane.model import TokenRow
from headrace.errors import ForbiddenError, InvalidError, UnauthenticatedError
from headrace.names import validate_label_value
from headrace.types import Facts

AUDIENCE = "headrace"
CLAIM = "kubernetes"
"""The claim of an enrolment that carries the token."""
_USER = "system:serviceaccount:"
_EXTRA = "authentication.kubernetes.io/"
_LABELS = {"pod-name": "headrace.dev/pod", "node-name": "headrace.dev/node"}
_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a cluster says of a token, with the audiences that it and the question have in common."""

    authenticated: bool
    name: str = ""
    audiences: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)
    error: str = ""


class TokenReviews(Protocol):
    """What is asked of a cluster; raises UnavailableError when it does not answer, or does not let us ask."""

    async def review(self, token: str, audience: str) -> Review:
        """Whose token this is, if it is for this audience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRules:
    """Which service accounts enrol agents, for which audience, and which labels their agents may claim (a scope)."""

    accounts: tuple[str, ...]
    audience: str = AUDIENCE
    scope: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidError."""
        for account in self.accounts:
            if account.count(":") != 1 or not all(account.split(":")):
                raise InvalidError(f"--kubernetes-agents {account!r} is not NAMESPACE:SERVICEACCOUNT")


class ServiceAccounts:
    """Knows agents by their service accounts; safe to use from many tasks of one loop."""

    def __init__(self, reviews: TokenReviews, rules: AccountRules, *, clock: Callable[[], datetime]) -> None:
        self._reviews = reviews
        self._rules = rules
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def terms(self, token: str, facts: Facts) -> TokenRow:
        """What an agent with this token may enrol by, as a bootstrap token would say it.

        Raises UnauthenticatedError, ForbiddenError, each by its own reason, and UnavailableError.
        """
        async with self._places:
            review = await self._reviews.review(token, self._rules.audience)
        account = self._account(review)
        check_claims(self._rules.scope, facts.labels, f"agent {facts.name!r}")
        return TokenRow(
            id=f"kubernetes/{account}",
            secret_hash="",
            created_at=self._clock(),
            expires_at=self._clock(),
            max_uses=0,
            labels={"headrace.dev/namespace": account.partition(":")[0], **_labels(review.extra)},
            scope=self._rules.scope,
        )

    def _account(self, review: Review) -> str:
        audience = self._rules.audience
        if not review.authenticated:
            wrong = "audience" in review.error
            what = (
                f"wrong audience: it is not for {audience!r}" if wrong else "not authenticated: it is not known there"
            )
            raise UnauthenticatedError(
                f"{what}, says the cluster of the service-account token ({review.error or 'without a reason'}); "
                f"project one with audience {audience!r}"
            )
        if audience not in review.audiences:
            raise UnauthenticatedError(
                f"wrong audience: the cluster does not say that the token of {review.name!r} is for {audience!r}; "
                f"project one with that audience"
            )
        account = review.name.removeprefix(_USER)
        if not review.name.startswith(_USER):
            raise ForbiddenError(f"wrong account: {review.name!r} is no service account, and agents enrol by one")
        if account not in self._rules.accounts:
            raise ForbiddenError(
                f"wrong account: service account {account!r} enrols no agents here, only "
                f"{', '.join(self._rules.accounts)} do; see --kubernetes-agents"
            )
        return account


def _labels(extra: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Those that fit: a pod's name may be longer than a label."""
    found = {}
    for name, label in _LABELS.items():
        for value in extra.get(_EXTRA + name, ())[:1]:
            try:
                found[label] = validate_label_value(value)
            except InvalidError:
                continue
    return found
