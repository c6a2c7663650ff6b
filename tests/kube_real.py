"""A real Kubernetes API server for tests, where one is given; without one they are skipped, and say so.

`KUBEBUILDER_ASSETS` names a folder with `kube-apiserver` and `etcd` (or `etcd` is on PATH): both are started, on
loopback alone, for the tests of this worker. No controller runs beside them, so a namespace that is deleted stays
`Terminating`, and a DaemonSet gets no pods.

Else `KUBECONFIG` names a cluster by its current context. Tests change it: each makes a namespace `headrace-test-…` with
what is in it, and cluster-wide objects of that name, and takes both away again.
"""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.cli.kubeconfig import access
from headrace.cli.kubernetes import tls_context
from tests import processes
from tests.certificates import LOOPBACK, Issuer
from tests.processes import Program
from tests.servers import free_port

_WANTED = (
    "no Kubernetes API server is given, by KUBEBUILDER_ASSETS (a folder with kube-apiserver and etcd) or by KUBECONFIG "
    "(a cluster that tests may change)"
)
_CORE, _APPS, _RBAC = "/api/v1", "/apis/apps/v1", "/apis/rbac.authorization.k8s.io/v1"
_PLURALS = {
    "Namespace": (_CORE, "namespaces", False),
    "ServiceAccount": (_CORE, "serviceaccounts", True),
    "ConfigMap": (_CORE, "configmaps", True),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims", True),
    "Event": (_CORE, "events", True),
    "Pod": (_CORE, "pods", True),
    "Secret": (_CORE, "secrets", True),
    "Service": (_CORE, "services", True),
    "DaemonSet": (_APPS, "daemonsets", True),
    "Deployment": (_APPS, "deployments", True),
    "RoleBinding": (_RBAC, "rolebindings", True),
    "ClusterRole": (_RBAC, "clusterroles", False),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings", False),
}
"""Group and version, plural, and whether it has a namespace."""


@pytest.fixture(scope="session")
def kubernetes_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKubernetes]:
    """Whatever is given; skips the test when nothing is."""
    assets, given = os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("KUBECONFIG")
    if assets:
        with _api_server(Path(assets), tmp_path_factory.mktemp("kubernetes")) as path:
            yield RealKubernetes(str(path))
    elif given:
        yield RealKubernetes(given)
    else:
        pytest.skip(_WANTED)


@pytest.fixture
def real_kubernetes(kubernetes_server: RealKubernetes) -> Iterator[RealKubernetes]:
    """The server, with a namespace for this test alone, which is taken away at its end."""
    kubernetes_server.begin()
    try:
        yield kubernetes_server
    finally:
        kubernetes_server.end()


class RealKubernetes:
    """One API server, as an administrator of it; `namespace` is the test's own."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = ""
        self._access = access("", {**os.environ, "KUBECONFIG": kubeconfig})
        self.url = self._access.server
        self.ca = self._access.ca
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls_context(self._access))
        )
        self._made: list[str] = []

    def begin(self) -> None:
        self.namespace = f"headrace-test-{uuid.uuid4().hex[:8]}"

    def end(self) -> None:
        for path in reversed(self._made):
            self.call("DELETE", path, missing_ok=True)
        self._made.clear()
        self.call("DELETE", self.path("Namespace", self.namespace), missing_ok=True)

    def make(self, kind: str, name: str, *, labels: Mapping[str, str] | None = None, **more: Any) -> None:
        """An object of the test's namespace, or a cluster-wide one that goes with the test."""
        group, _, namespaced = _PLURALS[kind]
        version = group.removeprefix("/api/").removeprefix("/apis/")
        metadata = {"name": name, "labels": labels or {}}
        self.call("POST", self.path(kind), {"apiVersion": version, "kind": kind, "metadata": metadata, **more})
        if not namespaced:
            self._made.append(self.path(kind, name))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.call("GET", self.path(kind, name))

    def path(self, kind: str, name: str = "") -> str:
        """Of all of a kind, or of one; what has a namespace, in the test's."""
        group, plural, namespaced = _PLURALS[kind]
        where = f"{group}/namespaces/{self.namespace}/{plural}" if namespaced else f"{group}/{plural}"
        return f"{where}/{name}" if name else where

    def would_take(self, document: Mapping[str, Any]) -> None:
        """That it is valid here, by an apply that changes nothing; what has a namespace is taken as of the test's."""
        namespaced = _PLURALS[document["kind"]][2]
        metadata = {**document["metadata"], **({"namespace": self.namespace} if namespaced else {})}
        query = "dryRun=All&fieldManager=tests&fieldValidation=Strict&force=true"
        path = self.path(document["kind"], metadata["name"])
        self.call(
            "PATCH", f"{path}?{query}", {**document, "metadata": metadata}, content="application/apply-patch+yaml"
        )

    def token(self, account: str, *audiences: str, pod: str = "") -> str:
        """Of a service account of the namespace, as the kubelet has one made for a pod; for the API, without any."""
        bound = {"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod}} if pod else {}
        found = self.call(
            "POST",
            f"{self.path('ServiceAccount', account)}/token",
            {
                "apiVersion": "authentication.k8s.io/v1",
                "kind": "TokenRequest",
                "spec": {"audiences": list(audiences) or None, "expirationSeconds": 600, **bound},
            },
        )
        return str(found["status"]["token"])

    def call(
        self,
        method: str,
        path: str,
        document: Mapping[str, Any] | None = None,
        *,
        missing_ok: bool = False,
        content: str = "application/json",
    ) -> dict[str, Any]:
        """What the server answers; its refusal fails the test."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"content-type": content},
        )
        if self._access.authorization:
            request.add_header("authorization", self._access.authorization)
        try:
            with self._opener.open(request, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace")
            if missing_ok and error.code in (404, 409):  # gone, or on its way
                return {}
            raise AssertionError(f"{method} {path}: {error.code}: {said}") from None


@contextmanager
def _api_server(assets: Path, folder: Path) -> Iterator[Path]:
    """Starts etcd and kube-apiserver; gives the kubeconfig of an administrator."""
    issuer = Issuer("kubernetes")
    certificate, key = issuer.issue("kube-apiserver", LOOPBACK)
    token = uuid.uuid4().hex
    files = {
        "server.pem": certificate,
        "server.key": key,
        "tokens.csv": f'{token},admin,admin,"system:masters"\n'.encode(),
        "kubeconfig": yaml.safe_dump(_kubeconfig(port := free_port(), issuer.certificate, token)).encode(),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    etcd = assets / "etcd"
    store = [
        etcd if etcd.exists() else "etcd",
        *("--data-dir", folder / "etcd", "--unsafe-no-fsync"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    ]
    server = [
        assets / "kube-apiserver",
        *(f"--etcd-servers={client}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
        *(f"--tls-cert-file={folder / 'server.pem'}", f"--tls-private-key-file={folder / 'server.key'}"),
        # Its one pair signs the tokens of accounts too.
        *(f"--service-account-signing-key-file={folder / 'server.key'}", "--authorization-mode=RBAC"),
        *(f"--service-account-key-file={folder / 'server.pem'}", "--service-cluster-ip-range=10.0.0.0/24"),
        *("--service-account-issuer=https://kubernetes.default.svc", f"--token-auth-file={folder / 'tokens.csv'}"),
        # Makers of accounts and endpoints, which need what does not run here.
        *("--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none"),
    ]
    with Program(store, folder=folder, name="etcd") as etcd_program, Program(server, folder=folder) as program:
        lasting = {etcd_program.pid, program.pid}
        processes.LASTING.update(lasting)
        try:
            found = RealKubernetes(str(folder / "kubeconfig"))
            program.wait_for(lambda: _is_ready(found), timeout=90, what="the API server is ready")
            yield folder / "kubeconfig"
        finally:
            processes.LASTING.difference_update(lasting)


def _kubeconfig(port: int, ca: bytes, token: str) -> dict[str, Any]:
    data = base64.b64encode(ca).decode()
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": data}
    return {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
    }


def _is_ready(server: RealKubernetes) -> bool:
    """It has its own roles, which it makes after it has begun to answer."""
    try:
        server.get("ClusterRole", "system:auth-delegator")
        server.get("Namespace", "default")
    except (AssertionError, OSError):
        return False
    return True
