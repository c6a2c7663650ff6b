"""The Kubernetes API server of `kube_access`, which also knows projected tokens of service accounts.

As a real one does:

- a token is for its audiences alone: a TokenReview that names none of them is `authenticated: false`, and its error
  names both lists; one that names some has those in `status.audiences`;
- every other token is for the cluster's own API, and a TokenReview that does not name that one knows nobody by it;
- the user of a service account is `system:serviceaccount:<namespace>:<name>`, in the groups of all of them and of its
  namespace, and `extra` says to which pod and node the token is bound.

`knows_audiences=False` makes it a server of old, which ignores `spec.audiences` and says none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kube_access import KubernetesAccess

_EXTRA = "authentication.kubernetes.io/"


class KubernetesReviewing(KubernetesAccess):
    """`project` makes a token, as the kubelet has one made for a pod."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.knows_audiences = True
        self._projected: dict[str, tuple[str, tuple[str, ...], Mapping[str, list[str]]]] = {}

    def project(self, account: str, *audiences: str, pod: str = "pod-1", node: str = "node-1") -> str:
        """A token of `namespace:name`."""
        token = f"projected-{len(self._projected)}"
        extra = {f"{_EXTRA}pod-name": [pod], f"{_EXTRA}pod-uid": ["u-1"], f"{_EXTRA}node-name": [node]}
        self._projected[token] = (account, audiences, extra)
        return token

    def _token(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if spec["token"] not in self._projected:
            found = super()._token(spec)
            wanted = spec.get("audiences") or found.get("audiences", ())
            is_for_others = found["authenticated"] and not {*wanted} & {*found["audiences"]}
            return {"authenticated": False, "user": {}} if is_for_others else found
        account, audiences, extra = self._projected[spec["token"]]
        common = [audience for audience in spec.get("audiences") or () if audience in audiences]
        if self.knows_audiences and not common:
            ours, asked = json.dumps(list(audiences)), json.dumps(spec.get("audiences") or [])
            error = f"[invalid bearer token, token audiences {ours} is invalid for the target audiences {asked}]"
            return {"authenticated": False, "user": {}, "error": error}
        groups = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{account.partition(':')[0]}",
            "system:authenticated",
        ]
        user = {"username": f"system:serviceaccount:{account}", "uid": "u-2", "groups": groups, "extra": extra}
        said = {"audiences": common} if self.knows_audiences else {}
        return {"authenticated": True, "user": user, **said}
