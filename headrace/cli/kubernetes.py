"""A cluster's API, as far as a command needs it: read, apply on the server's side, delete. It blocks.

Without a library: the usual one is 74 MB, for four calls. An object is the document that people write. Errors are
HeadraceErrors that say which object, and what the cluster said.
"""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.cli.kubeconfig import Access
from headrace.errors import (
    ConflictError,
    ForbiddenError,
    HeadraceError,
    InvalidError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from headrace.location import parse_location

MANAGER = "headrace"
_TIMEOUT_S = 30.0
_PATHS: Mapping[tuple[str, str], tuple[str, str, bool]] = {
    ("v1", "Namespace"): ("api/v1", "namespaces", False),
    ("v1", "ServiceAccount"): ("api/v1", "serviceaccounts", True),
    ("v1", "Secret"): ("api/v1", "secrets", True),
    ("v1", "ConfigMap"): ("api/v1", "configmaps", True),
    ("v1", "Pod"): ("api/v1", "pods", True),
    ("apps/v1", "DaemonSet"): ("apis/apps/v1", "daemonsets", True),
}
_ERRORS: Mapping[int, type[HeadraceError]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidError,
}
Object = Mapping[str, Any]


def name_of(target: Object) -> str:
    """For people: `daemonset/headrace-agent`."""
    return f"{target['kind'].lower()}/{target['metadata'].get('name', '')}"


class Cluster:
    """One cluster, with the access of one context."""

    def __init__(self, access: Access) -> None:
        self._access = access
        location = parse_location(access.server)
        handlers: list[urllib.request.BaseHandler] = []
        if location.tls:
            handlers.append(urllib.request.HTTPSHandler(context=tls_context(access)))
        if access.proxy:
            handlers.append(urllib.request.ProxyHandler({"https": access.proxy, "http": access.proxy}))
        elif location.address.is_local:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, target: Object) -> dict[str, Any] | None:
        """As it is there; None where it is not."""
        try:
            return self._call("GET", target)
        except NotFoundError:
            return None

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """With these labels."""
        target = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace}}
        found = self._call("GET", target, labelSelector=selector)
        return list(found.get("items") or ())

    def apply(self, target: Object, *, force: bool = False) -> dict[str, Any]:
        """Makes it so, on the server's side: what others manage is a ConflictError, unless it is taken from them."""
        more = {"force": "true"} if force else {}
        return self._call("PATCH", target, body=target, fieldManager=MANAGER, fieldValidation="Strict", **more)

    def delete(self, target: Object) -> bool:
        """Whether it was there."""
        try:
            self._call("DELETE", target, body={"propagationPolicy": "Foreground"})
        except NotFoundError:
            return False
        return True

    def _call(self, method: str, target: Object, *, body: object = None, **query: str) -> dict[str, Any]:
        metadata = target["metadata"]
        root, plural, is_namespaced = _PATHS[target["apiVersion"], target["kind"]]
        parts = [root, *(["namespaces", metadata["namespace"]] if is_namespaced else []), plural]
        path = "/".join([*parts, metadata["name"]] if "name" in metadata else parts)
        request = urllib.request.Request(
            f"{self._access.server}/{path}" + (f"?{urllib.parse.urlencode(query)}" if query else ""),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json"},
        )
        if body is not None:
            kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
            request.add_header("Content-Type", kind)
        if self._access.authorization:
            request.add_unredirected_header("Authorization", self._access.authorization)
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error.read(), target) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                f"context {self._access.context!r}: {self._access.server} cannot be reached: {reason}"
            ) from error

    def _refusal(self, code: int, body: bytes, target: Object) -> HeadraceError:
        try:
            said = str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            said = f"HTTP {code}"
        text = f"context {self._access.context!r}, {name_of(target)}: {said}"
        match code:
            case 401:
                text += "; the context's credential is not good there (any more)"
            case 409 if "conflict" in said:
                text += "; somebody else manages that; --force takes it over"
        return _ERRORS.get(code, UnavailableError)(text)


def tls_context(access: Access) -> ssl.SSLContext:
    """Whom it trusts, and what it shows. Raises InvalidError."""
    try:
        context = ssl.create_default_context(cadata=access.ca.decode("ascii") if access.ca else None)
        if not access.verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if access.certificate:
            with tempfile.TemporaryDirectory(
                prefix="headrace-"
            ) as folder:  # OpenSSL takes files only; the folder is 0700
                path = Path(folder) / "client.pem"
                path.write_bytes(access.certificate.rstrip() + b"\n" + access.key)
                context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidError(f"context {access.context!r}: its certificates cannot be used: {error}") from error
    return context
