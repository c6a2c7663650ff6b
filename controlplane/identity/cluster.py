"""People whom a Kubernetes cluster knows: by a token that it takes, and with the role that its RBAC gives them.

A role is a verb on `pipelines.headrace.dev`, a resource that is nowhere but in RBAC; the highest that is allowed
counts. Answers are kept for a short time, refusals too, so that a call costs the cluster nothing and a change there is
known soon. What the cluster does not answer lets in nobody. Sources that are told to wait share one place in the queue.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from controlplane.identity import roles
from controlplane.identity.proxies import check_name
from headrace.errors import InvalidError, UnauthenticatedError
from headrace.types import Role

GROUP, RESOURCE = "headrace.dev", "pipelines"
_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
KEPT_S = 30.0
"""For how long an answer of the cluster counts."""
_MOST_KEPT = 1024
_AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterAddress:
    """Where a cluster's API is, and the files by which a pod trusts it and is known to it."""

    url: str
    folder: Path = _FOLDER

    @classmethod
    def of_this_pod(cls) -> ClusterAddress:
        """Raises InvalidError outside of a cluster."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise InvalidError(
                "--kubernetes-… options are for a control plane in Kubernetes, and KUBERNETES_SERVICE_HOST is not set"
            )
        return cls(url=f"https://{f'[{host}]' if ':' in host else host}:{port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a token is of, as the cluster says it, to ask it what they may."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Reviews(Protocol):
    """What is asked of a cluster; raises UnavailableError when it does not answer, or does not let us ask."""

    async def subject_of(self, token: str) -> Subject | None:
        """Whom it knows by a token; None when nobody."""

    async def allows(self, subject: Subject, verb: str) -> bool:
        """Whether they may do this with `pipelines.headrace.dev`."""


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    name: str
    role: Role | None


class Cluster:
    """Knows people by a cluster; safe to use from many tasks of one loop."""

    def __init__(self, reviews: Reviews, *, monotonic: Callable[[], float]) -> None:
        self._reviews = reviews
        self._monotonic = monotonic
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._last_place = asyncio.Semaphore(1)

    async def known_by(self, token: str, *, waiting: bool = False) -> tuple[str, Role]:
        """Name and role of whoever has this token; `waiting` says that its source is told to wait.

        Raises UnauthenticatedError, and UnavailableError when the cluster does not answer.
        """
        key = hashlib.sha256(token.encode()).hexdigest()
        kept = self._kept.get(key)
        if kept is None or kept.until <= self._monotonic():
            async with self._last_place if waiting else self._places:
                kept = await self._ask(token)
            self._keep(key, kept)
        if not kept.name:
            raise UnauthenticatedError("the token is neither one of this control plane nor of its Kubernetes cluster")
        if kept.role is None:
            raise UnauthenticatedError(
                f"{kept.name!r} is known to the Kubernetes cluster and has no role here; an admin of it gives one by a "
                f"binding of ClusterRole headrace-read, -edit, -deploy or -admin"
            )
        return kept.name, kept.role

    async def _ask(self, token: str) -> _Kept:
        subject, role = await self._reviews.subject_of(token), None
        if subject is not None:
            check_name(subject.name, "the Kubernetes cluster")
            for candidate in reversed(roles.ORDER):
                if await self._reviews.allows(subject, candidate.value):
                    role = candidate
                    break
        return _Kept(self._monotonic() + KEPT_S, subject.name if subject is not None else "", role)

    def _keep(self, key: str, kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
