"""The fields of Kubernetes objects that our manifests use, by Kubernetes' API reference (v1.30), and a strict check.

A field that is not here is refused, as an API server does with fieldValidation=Strict; another one is added from the
reference. `{"*": X}` is a map, `[X]` a list, a set is a choice, a type is that type, a tuple is any of its own.
"""

from __future__ import annotations

from typing import Any

_STRINGS = {"*": str}
_QUANTITIES = {"*": (str, int)}
_PORT = (str, int)
_METADATA = {
    "name": str, "namespace": str, "labels": _STRINGS, "annotations": _STRINGS,
}  # fmt: skip
_SECURITY = {
    "runAsUser": int, "runAsGroup": int, "runAsNonRoot": bool, "allowPrivilegeEscalation": bool,
    "readOnlyRootFilesystem": bool, "privileged": bool, "capabilities": {"drop": [str], "add": [str]},
    "seccompProfile": {"type": {"RuntimeDefault", "Unconfined", "Localhost"}, "localhostProfile": str},
}  # fmt: skip
_POD_SECURITY = {
    "runAsUser": int, "runAsGroup": int, "runAsNonRoot": bool, "fsGroup": int,
    "seccompProfile": _SECURITY["seccompProfile"],
}  # fmt: skip
_REFERENCE = {"name": str, "optional": bool}
_PROBE = {
    "grpc": {"port": int, "service": str}, "httpGet": {"path": str, "port": _PORT, "scheme": {"HTTP", "HTTPS"}},
    "periodSeconds": int, "initialDelaySeconds": int, "timeoutSeconds": int, "failureThreshold": int,
}  # fmt: skip
_CONTAINER = {
    "name": str, "image": str, "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "command": [str], "args": [str], "workingDir": str,
    "env": [{
        "name": str, "value": str,
        "valueFrom": {
            "fieldRef": {"fieldPath": str, "apiVersion": str},
            "secretKeyRef": {**_REFERENCE, "key": str},
            "configMapKeyRef": {**_REFERENCE, "key": str},
        },
    }],
    "envFrom": [{"prefix": str, "configMapRef": _REFERENCE, "secretRef": _REFERENCE}],
    "ports": [{"name": str, "containerPort": int, "protocol": {"TCP", "UDP"}, "hostPort": int}],
    "resources": {"requests": _QUANTITIES, "limits": _QUANTITIES},
    "readinessProbe": _PROBE, "livenessProbe": _PROBE, "startupProbe": _PROBE,
    "securityContext": _SECURITY,
    "volumeMounts": [{"name": str, "mountPath": str, "subPath": str, "readOnly": bool}],
}  # fmt: skip
_VOLUME = {
    "name": str, "emptyDir": {"medium": str, "sizeLimit": (str, int)},
    "hostPath": {"path": str, "type": {"Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", ""}},
    "secret": {"secretName": str, "defaultMode": int, "optional": bool},
    "configMap": {**_REFERENCE, "defaultMode": int},
    "persistentVolumeClaim": {"claimName": str, "readOnly": bool},
    "projected": {
        "defaultMode": int,
        "sources": [{"serviceAccountToken": {"audience": str, "path": str, "expirationSeconds": int}}],
    },
}  # fmt: skip
_POD = {
    "serviceAccountName": str, "automountServiceAccountToken": bool, "terminationGracePeriodSeconds": int,
    "securityContext": _POD_SECURITY, "containers": [_CONTAINER], "initContainers": [_CONTAINER],
    "volumes": [_VOLUME], "nodeSelector": _STRINGS, "priorityClassName": str, "hostNetwork": bool,
    "tolerations": [{"key": str, "operator": {"Exists", "Equal"}, "value": str, "effect": str}],
}  # fmt: skip
_TEMPLATE = {"metadata": _METADATA, "spec": _POD}
_SELECTOR = {"matchLabels": _STRINGS}

SCHEMAS: dict[tuple[str, str], tuple[dict[str, Any], tuple[str, ...]]] = {
    ("v1", "Namespace"): ({}, ()),
    ("v1", "ServiceAccount"): ({"automountServiceAccountToken": bool}, ()),
    ("v1", "Secret"): ({"type": str, "data": _STRINGS, "stringData": _STRINGS, "immutable": bool}, ()),
    ("v1", "ConfigMap"): ({"data": _STRINGS, "binaryData": _STRINGS, "immutable": bool}, ()),
    ("v1", "Service"): (
        {
            "spec": {
                "selector": _STRINGS, "type": {"ClusterIP", "NodePort", "LoadBalancer"}, "clusterIP": str,
                "ports": [{"name": str, "port": int, "targetPort": _PORT, "protocol": str, "appProtocol": str}],
            }
        },
        ("spec.ports",),
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): (
        {"rules": [{"apiGroups": [str], "resources": [str], "resourceNames": [str], "verbs": [str]}]},
        ("rules",),
    ),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (
        {
            "roleRef": {"apiGroup": {"rbac.authorization.k8s.io"}, "kind": {"ClusterRole"}, "name": str},
            "subjects": [{"kind": {"User", "Group", "ServiceAccount"}, "name": str, "namespace": str, "apiGroup": str}],
        },
        ("roleRef",),
    ),
    ("v1", "PersistentVolumeClaim"): (
        {"spec": {"accessModes": [str], "storageClassName": str, "resources": {"requests": _QUANTITIES}}},
        ("spec.accessModes", "spec.resources"),
    ),
    ("apps/v1", "Deployment"): (
        {
            "spec": {
                "replicas": int, "strategy": {"type": {"Recreate", "RollingUpdate"}},
                "selector": _SELECTOR, "template": _TEMPLATE,
            }
        },
        ("spec.selector", "spec.template.spec.containers"),
    ),
    ("apps/v1", "DaemonSet"): (
        {"spec": {"selector": _SELECTOR, "template": _TEMPLATE, "minReadySeconds": int}},
        ("spec.selector", "spec.template.spec.containers"),
    ),
    ("networking.k8s.io/v1", "Ingress"): (
        {
            "spec": {
                "ingressClassName": str, "tls": [{"hosts": [str], "secretName": str}],
                "rules": [{
                    "host": str,
                    "http": {"paths": [{
                        "path": str, "pathType": {"Exact", "Prefix", "ImplementationSpecific"},
                        "backend": {"service": {"name": str, "port": {"name": str, "number": int}}},
                    }]},
                }],
            }
        },
        ("spec.rules",),
    ),
    ("gateway.networking.k8s.io/v1", "Gateway"): (
        {
            "spec": {
                "gatewayClassName": str,
                "listeners": [{
                    "name": str, "hostname": str, "port": int, "protocol": {"HTTP", "HTTPS", "TLS", "TCP", "UDP"},
                    "tls": {"mode": {"Terminate", "Passthrough"}, "certificateRefs": [{"name": str, "kind": str}]},
                }],
            }
        },
        ("spec.gatewayClassName", "spec.listeners"),
    ),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): (
        {
            "spec": {
                "parentRefs": [{"name": str, "sectionName": str, "namespace": str}], "hostnames": [str],
                "rules": [{
                    "matches": [{"method": {"type": {"Exact", "RegularExpression"}, "service": str, "method": str}}],
                    "backendRefs": [{"name": str, "port": int, "weight": int}],
                }],
            }
        },
        ("spec.rules",),
    ),
}  # fmt: skip


def faults(document: Any) -> list[str]:
    """What an API server would refuse in a document, with its place; empty where it takes it."""
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) not in SCHEMAS:
        return ["no object of a kind that is known"]
    schema, required = SCHEMAS[document["apiVersion"], document["kind"]]
    whole = {"apiVersion": str, "kind": str, "metadata": _METADATA, **schema}
    return [
        *_faults(document, whole, ""),
        *(f"{path}: is missing" for path in (*required, "metadata.name") if not _at(document, path)),
    ]


def _at(value: Any, path: str) -> Any:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _faults(value: Any, schema: Any, path: str) -> list[str]:
    match schema:
        case dict():
            if not isinstance(value, dict):
                return [f"{path}: is no object"]
            found = []
            for key, item in value.items():
                below = schema.get(key, schema.get("*"))
                place = f"{path}.{key}".lstrip(".")
                found += [f"{place}: unknown field"] if below is None else _faults(item, below, place)
            return found
        case list():
            if not isinstance(value, list):
                return [f"{path}: is no list"]
            return [fault for index, item in enumerate(value) for fault in _faults(item, schema[0], f"{path}[{index}]")]
        case set():
            return [] if value in schema else [f"{path}: {value!r} is none of {sorted(schema)}"]
        case _:
            kinds = schema if isinstance(schema, tuple) else (schema,)
            return (
                [] if type(value) in kinds else [f"{path}: {value!r} is not {' or '.join(k.__name__ for k in kinds)}"]
            )
