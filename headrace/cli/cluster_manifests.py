"""What runs agents in a cluster: namespace, service account, token, settings, and the DaemonSet. Pure.

Root reads the nodes' logs, with nothing else that root has; nothing in the cluster may be asked by the agent.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = "headrace-agent"
ENROL = "headrace-enrol"
SELECTOR = f"app={NAME}"
OURS = {"app.kubernetes.io/managed-by": "headrace"}
"""What `--uninstall` takes away with all that is in it."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What differs from cluster to cluster."""

    cluster: str
    server: str
    namespace: str
    image: str
    ca: bytes = b""
    tls: bool = True
    variables: Mapping[str, str] = field(default_factory=dict)
    """More of the agent's environment, such as HTTPS_PROXY."""
    logs: str = "/var/log"


def namespace(layout: Layout) -> Document:
    """Of its own."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": layout.namespace, "labels": _labels(layout)}}


def secret(layout: Layout, token: str = "") -> Document:
    """What agents enrol with; a file in their pods, which follows it."""
    data = {"token": base64.b64encode(token.encode()).decode("ascii")}
    return _object(layout, "v1", "Secret", ENROL, type="Opaque", data=data)


def workloads(layout: Layout) -> list[Document]:
    """All but the namespace and the token, in the order in which they are made."""
    account = _object(layout, "v1", "ServiceAccount", NAME, automountServiceAccountToken=False)
    settings = _object(layout, "v1", "ConfigMap", NAME, data=_environment(layout))
    return [account, settings, _daemon_set(layout)]


def _environment(layout: Layout) -> dict[str, str]:
    own = {"HEADRACE_AGENT_SERVER": layout.server, "HEADRACE_AGENT_TOKEN_FILE": "/enrol/token"}
    if layout.ca:
        own["HEADRACE_AGENT_TLS_CA_DATA"] = base64.b64encode(layout.ca).decode("ascii")
    elif layout.tls:
        own["HEADRACE_AGENT_TLS"] = "true"
    else:
        own["HEADRACE_AGENT_CHANNEL_INSECURE"] = "true"
    return {**own, "HEADRACE_AGENT_LOG_FORMAT": "json", **layout.variables}


def _daemon_set(layout: Layout) -> Document:
    mounts = [
        {"name": "data", "mountPath": "/var/lib/headrace"},
        {"name": "enrol", "mountPath": "/enrol", "readOnly": True},
        {"name": "logs", "mountPath": layout.logs, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    container = {
        "name": "agent",
        "image": layout.image,
        "envFrom": [{"configMapRef": {"name": NAME}}],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    volumes = [
        {"name": "data", "hostPath": {"path": f"/var/lib/{NAME}", "type": "DirectoryOrCreate"}},
        {"name": "enrol", "secret": {"secretName": ENROL}},
        {"name": "logs", "hostPath": {"path": layout.logs}},
        {"name": "tmp", "emptyDir": {}},
    ]
    pod = {
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": volumes,
    }
    labels = {"app": NAME, **_labels(layout)}
    # Other settings make other pods; of the environment alone nobody would take notice.
    digest = hashlib.sha256(json.dumps(_environment(layout), sort_keys=True).encode()).hexdigest()[:16]
    spec = {
        "selector": {"matchLabels": {"app": NAME}},
        "template": {"metadata": {"labels": labels, "annotations": {"headrace.io/settings": digest}}, "spec": pod},
    }
    return _object(layout, "apps/v1", "DaemonSet", NAME, spec=spec)


def _object(layout: Layout, version: str, kind: str, name: str, **more: Any) -> Document:
    metadata = {"name": name, "namespace": layout.namespace, "labels": _labels(layout)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def _labels(layout: Layout) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": "headrace", "headrace.io/cluster": layout.cluster, **OURS}
