"""A Kubernetes API server for tests that knows TokenReview and SubjectAccessReview, and nothing else.

As a real one does:

- it speaks TLS, and answers 401 to a caller whose own token it does not know, 403 to one that may not ask
  (`delegates=False`), each with a `Status`;
- it answers 201 to a review that it takes, 400 to a body that is none, 404 to every other path;
- a TokenReview of a token that it knows is `authenticated`, with username, uid, groups (`system:authenticated` is one)
  and extra; of another one it says `authenticated: false` and an error, which is no failure of the request;
- a SubjectAccessReview needs a user or groups, else 422; it is allowed by what is bound to the user or to one of the
  groups, in that namespace or in all, on that group, resource and verb alone; `allowed: false` is said, never omitted.

`grants` are (user or group, verb) pairs on `pipelines.headrace.dev` in namespace `headrace`. `asked` counts the reviews
by kind. `silent` makes it take requests and never answer, `heard` is set by the first of those; `close` takes it away.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from controlplane.identity.cluster import ClusterAddress
from tests.certificates import LOOPBACK, Issuer, key_of

OWN = "token-of-the-control-plane"


class KubernetesAccess:
    """An async context manager; `address` is what a pod in it would find."""

    def __init__(self, folder: Path) -> None:
        self.tokens: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.grants: set[tuple[str, str]] = set()
        self.delegates = True
        self.silent = False
        self.heard = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.reviewed: list[Mapping[str, Any]] = []
        self._folder = folder
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        issuer = Issuer("kubernetes")
        certificate, key = issuer.issue("kube-apiserver", LOOPBACK)
        self._folder.mkdir()
        for name, data in (("ca.crt", issuer.certificate), ("namespace", b"headrace"), ("token", OWN.encode())):
            (self._folder / name).write_bytes(data)
        path = self._folder / "server.pem"
        path.write_bytes(certificate)
        key_of(path).write_bytes(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path, key_of(path))
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        port = self._server.sockets[0].getsockname()[1]
        self.address = ClusterAddress(url=f"https://127.0.0.1:{port}", folder=self._folder)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Nobody listens any more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if self.silent:
                    self.heard.set()
                    await reader.read()
                    return
                status, document = self._answer(first.split(" ")[1], headers.get("authorization", ""), body)
                data = json.dumps(document).encode()
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, path: str, authorization: str, body: bytes) -> tuple[int, Mapping[str, Any]]:
        if authorization != f"Bearer {OWN}":
            return 401, _status(401, "Unauthorized")
        if not self.delegates:
            return 403, _status(403, "tokenreviews.authentication.k8s.io is forbidden")
        try:
            review = json.loads(body)
            kind, spec = review["kind"], review["spec"]
        except (ValueError, KeyError, TypeError):
            return 400, _status(400, "the object provided is unrecognized")
        known = {
            "/apis/authentication.k8s.io/v1/tokenreviews": ("TokenReview", self._token),
            "/apis/authorization.k8s.io/v1/subjectaccessreviews": ("SubjectAccessReview", self._access),
        }
        if path not in known or known[path][0] != kind:
            return 404, _status(404, "the server could not find the requested resource")
        self.asked[kind] += 1
        self.reviewed.append(spec)
        if kind == "SubjectAccessReview" and not (spec.get("user") or spec.get("groups")):
            return 422, _status(422, "at least one of user or group must be specified")
        return 201, {**review, "status": known[path][1](spec)}

    def _token(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        if spec["token"] not in self.tokens:
            return {"authenticated": False, "user": {}, "error": "[invalid bearer token, token lookup failed]"}
        name, groups = self.tokens[spec["token"]]
        user = {
            "username": name,
            "uid": f"uid-of-{name}",
            "groups": [*groups, "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["X509SHA256=1"]},
        }
        return {"authenticated": True, "user": user, "audiences": ["https://kubernetes.default.svc.cluster.local"]}

    def _access(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = spec["resourceAttributes"]
        ours = (wanted.get("group"), wanted.get("resource"), wanted.get("namespace")) == (
            "headrace.dev",
            "pipelines",
            "headrace",
        )
        names = (spec.get("user"), *spec.get("groups", ()))
        return {"allowed": ours and any((name, wanted.get("verb")) in self.grants for name in names)}


def _status(code: int, message: str) -> Mapping[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
