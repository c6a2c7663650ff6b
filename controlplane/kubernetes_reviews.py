"""The Kubernetes API as far as telling people and agents apart needs it: TokenReview and SubjectAccessReview.

Loaded only where somebody is known by a cluster. The control plane's own token is read for each question, since the
cluster renews its file; what cannot be asked, or is not answered in time, is an UnavailableError and lets in nobody.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any

import httpx2

from controlplane.identity.cluster import GROUP, RESOURCE, ClusterAddress, Subject
from controlplane.identity.service_accounts import Review
from headrace.errors import InvalidError, UnavailableError

_TIMEOUT_S = 5.0
_LONGEST_ERROR = 300


class KubernetesReviews:
    """The `controlplane.identity.cluster.Reviews` of a real cluster."""

    def __init__(self, address: ClusterAddress, *, timeout_s: float = _TIMEOUT_S) -> None:
        """Raises InvalidError where the pod has no service account."""
        try:
            self._namespace = (address.folder / "namespace").read_text().strip()
            trust = ssl.create_default_context(cafile=address.folder / "ca.crt")
            (address.folder / "token").read_bytes()
        except (OSError, ssl.SSLError) as error:
            raise InvalidError(
                f"{address.folder} cannot be read ({error}); a pod that asks its cluster needs a service account, "
                "and automountServiceAccountToken: true"
            ) from error
        self._address = address
        self._client = httpx2.AsyncClient(
            base_url=address.url,
            verify=trust,
            trust_env=False,
            timeout=timeout_s,
            limits=httpx2.Limits(max_connections=8),
        )

    async def aclose(self) -> None:
        """Ends the connections."""
        await self._client.aclose()

    async def subject_of(self, token: str) -> Subject | None:
        """Whom the cluster knows by a token that is for its API; None when nobody."""
        return _subject(await self._review("authentication.k8s.io", "TokenReview", {"token": token}))

    async def review(self, token: str, audience: str) -> Review:
        """Whose token this is, if it is for this audience."""
        status = await self._review("authentication.k8s.io", "TokenReview", {"token": token, "audiences": [audience]})
        subject = _subject(status)
        return Review(
            authenticated=subject is not None,
            name=subject.name if subject is not None else "",
            audiences=tuple(map(str, status.get("audiences") or ())),
            extra=subject.extra if subject is not None else {},
            error=str(status.get("error") or "")[:_LONGEST_ERROR],
        )

    async def allows(self, subject: Subject, verb: str) -> bool:
        """Whether RBAC allows it, in the namespace of this pod or in all of them."""
        attributes = {"group": GROUP, "resource": RESOURCE, "verb": verb, "namespace": self._namespace}
        spec = {
            "user": subject.name,
            "uid": subject.uid,
            "groups": list(subject.groups),
            "extra": dict(subject.extra),
            "resourceAttributes": attributes,
        }
        status = await self._review("authorization.k8s.io", "SubjectAccessReview", spec)
        return status.get("allowed") is True and status.get("denied") is not True

    async def _review(self, group: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            token = (self._address.folder / "token").read_text().strip()
            answer = await self._client.post(
                f"/apis/{group}/v1/{kind.lower()}s",
                content=json.dumps({"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}),
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            )
        except (httpx2.HTTPError, OSError) as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"{self._place} does not answer: {why}; {_UNTIL}") from error
        if answer.status_code in (401, 403):
            raise UnavailableError(
                f"{self._place} does not let this control plane ask who somebody is ({answer.status_code}); bind its "
                f"service account to ClusterRole system:auth-delegator; {_UNTIL}"
            )
        try:
            status = json.loads(answer.content)["status"] if answer.status_code < 300 else None
        except (ValueError, KeyError, TypeError):
            status = None
        if not isinstance(status, Mapping):
            raise UnavailableError(f"{self._place} answered a {kind} with {answer.status_code} and no status; {_UNTIL}")
        return status

    @property
    def _place(self) -> str:
        return f"the Kubernetes API at {self._address.url}"


def _subject(status: Mapping[str, Any]) -> Subject | None:
    """Whom a TokenReview names; None when nobody."""
    user = status.get("user")
    if status.get("authenticated") is not True or not isinstance(user, Mapping) or not user.get("username"):
        return None
    return Subject(
        name=str(user["username"]),
        uid=str(user.get("uid") or ""),
        groups=tuple(map(str, user.get("groups") or ())),
        extra=user.get("extra") or {},
    )


_UNTIL = "until it does, who is known by it cannot get in"
