"""An API server of Kubernetes in this process, as far as commands of ours talk to one, and the kubeconfig for it.

As the real one does, it
- answers 401 to whoever shows no known credential, 403 to what `denied` names, and each with a Status object;
- answers 404 for what is not there, and for anything but a namespace in a namespace that is not there;
- applies on the server's side: makes what is missing, merges maps, replaces lists of values, merges the lists that have
  a key by it; drops what its manager applied before and applies no longer; refuses, 409, to change what another manager
  set, unless forced; refuses, 400, unknown fields under fieldValidation=Strict; and refuses without a fieldManager;
- raises `metadata.generation` where a spec changes, and the uid and managers stay;
- keeps a deleted namespace as `Terminating` while `finalising`, and makes nothing in it: 403;
- runs DaemonSets: a pod on each of `nodes`, with what `waiting` says that keeps it, and observedGeneration.

It has no watch, no admission, no defaulting, and no other kinds than those.
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.kube_schema import faults

_KINDS = {
    "namespaces": ("v1", "Namespace"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "secrets": ("v1", "Secret"),
    "configmaps": ("v1", "ConfigMap"),
    "pods": ("v1", "Pod"),
    "daemonsets": ("apps/v1", "DaemonSet"),
}
_KEYS = {"containers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath", "envFrom": ""}
Key = tuple[str, str, str]


class _Refused(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class FakeKube:
    """One cluster; what it keeps may be looked at and changed between calls."""

    def __init__(self, *, nodes: tuple[str, ...] = ()) -> None:
        self.token = uuid.uuid4().hex
        self.objects: dict[Key, dict[str, Any]] = {}
        """By plural, namespace and name."""
        self.nodes = nodes
        self.waiting: dict[str, str] = {}
        """Why the pod of a node does not run."""
        self.denied: set[tuple[str, str]] = set()
        """(verb, plural), such as ("patch", "daemonsets")."""
        self.finalising = False
        self.calls: list[tuple[str, str]] = []
        """(method, path), in order."""
        self._managers: dict[Key, dict[str, set[tuple[Any, ...]]]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def serving(self, folder: Path, *, context: str = "far") -> Iterator[Path]:
        """Gives the kubeconfig, whose only context this is."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        path = folder / "kubeconfig"
        document = {
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {"token": self.token}}],
        }
        path.write_text(yaml.safe_dump(document))
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        """One call; safe from several threads."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        with self._lock:
            self.calls.append((method, parts.path))
            try:
                if headers.get("Authorization") != f"Bearer {self.token}":
                    raise _Refused(401, "Unauthorized", "Unauthorized")
                return 200, self._do(method, parts.path, query, headers, body)
            except _Refused as refused:
                status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": refused.code}
                return refused.code, {**status, "reason": refused.reason, "message": str(refused)}

    def _do(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> dict[str, Any]:
        words = path.strip("/").split("/")
        rest = words[2:] if words[0] == "api" else words[3:]
        namespace = ""
        if len(rest) > 2 and rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        verb = method.lower() if name else "list"
        if plural not in _KINDS:
            raise _Refused(404, "NotFound", "the server could not find the requested resource")
        if (verb, plural) in self.denied:
            where = f' in the namespace "{namespace}"' if namespace else ""
            raise _Refused(
                403, "Forbidden", f'{plural} "{name}" is forbidden: User "u" cannot {verb} resource "{plural}"{where}'
            )
        if verb == "list":
            wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
            found = [value for key, value in self.objects.items() if key[:2] == (plural, namespace)]
            return {"items": [each for each in found if wanted.items() <= each["metadata"]["labels"].items()]}
        key = (plural, namespace, name)
        if verb == "patch":
            return self._apply(key, query, headers, json.loads(body))
        if key not in self.objects:
            raise _Refused(404, "NotFound", f'{plural} "{name}" not found')
        return self._delete(key) if verb == "delete" else self.objects[key]

    def _apply(self, key: Key, query: dict[str, str], headers: Any, document: dict[str, Any]) -> dict[str, Any]:
        plural, namespace, name = key
        manager = query.get("fieldManager")
        if headers.get("Content-Type") != "application/apply-patch+yaml" or not manager:
            raise _Refused(400, "BadRequest", "PatchOptions: fieldManager: Required value: is required for apply patch")
        if query.get("fieldValidation") == "Strict" and (found := faults(document)):
            raise _Refused(400, "BadRequest", f"strict decoding error: {', '.join(found)}")
        if (document["apiVersion"], document["kind"]) != _KINDS[plural] or document["metadata"]["name"] != name:
            raise _Refused(400, "BadRequest", "the object does not match the URL")
        home = self.objects.get(("namespaces", "", namespace or name))
        if home is None and plural != "namespaces":
            raise _Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        if home is not None and home["status"]["phase"] == "Terminating" and key not in self.objects:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise _Refused(403, "Forbidden", f'{plural} "{name}" is forbidden: {why}')
        before = self.objects.get(key, {"metadata": {"uid": str(uuid.uuid4()), "generation": 0}})
        applied = set(_leaves(document)) - {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}
        managers = self._managers.setdefault(key, {})
        self._check_conflicts(managers, manager, applied, before, document, force=query.get("force") == "true")
        after = copy.deepcopy(before)
        others = set[tuple[Any, ...]]().union(*(owned for each, owned in managers.items() if each != manager))
        for path in managers.get(manager, set()) - applied - others:
            _remove(after, path)
        _merge(after, document)
        managers[manager] = applied
        after["metadata"].setdefault("labels", {})
        if after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] += 1
        if plural == "namespaces":
            after["status"] = before.get("status", {"phase": "Active"})
        self.objects[key] = after
        if plural == "daemonsets":
            self._run(namespace, after)
        return after

    def _check_conflicts(
        self, managers: dict[str, set[tuple[Any, ...]]], manager: str, applied: set[tuple[Any, ...]],
        before: dict[str, Any], document: dict[str, Any], *, force: bool,
    ) -> None:  # fmt: skip
        for other, owned in managers.items():
            taken = {path for path in applied & owned if _at(before, path) != _at(document, path)}
            if other == manager or not taken:
                continue
            if not force:
                path = ".".join(map(str, sorted(taken, key=str)[0]))
                raise _Refused(409, "Conflict", f'Apply failed with 1 conflict: conflict with "{other}": .{path}')
            owned -= taken

    def _run(self, namespace: str, daemon_set: dict[str, Any]) -> None:
        metadata, template = daemon_set["metadata"], daemon_set["spec"]["template"]
        daemon_set["status"] = {
            "observedGeneration": metadata["generation"],
            "desiredNumberScheduled": len(self.nodes),
        }
        for node in self.nodes:
            name = f"{metadata['name']}-{node}"
            status: dict[str, Any] = {"phase": "Running"}
            if node in self.waiting:
                state = {"waiting": {"reason": self.waiting[node]}}
                status = {"phase": "Pending", "containerStatuses": [{"name": "agent", "state": state}]}
            self.objects["pods", namespace, name] = {
                "metadata": {"name": name, "namespace": namespace, "labels": template["metadata"]["labels"]},
                "spec": {**template["spec"], "nodeName": node},
                "status": status,
            }

    def _delete(self, key: Key) -> dict[str, Any]:
        plural, namespace, name = key
        if plural == "namespaces":
            self.objects[key]["status"] = {"phase": "Terminating"}
            if self.finalising:
                return self.objects[key]
        gone = self.objects.pop(key)
        self._managers.pop(key, None)
        below = name if plural == "namespaces" else ""
        for other in [other for other in self.objects if other[1] == (below or None)]:
            del self.objects[other]
        if plural == "daemonsets":
            for other in [other for other in self.objects if other[0] == "pods" and other[1] == namespace]:
                del self.objects[other]
        return gone

    def set_as(self, manager: str, key: Key, path: tuple[str, ...], value: object) -> None:
        """Somebody else sets a field, and manages it from then on."""
        place = self.objects[key]
        for word in path[:-1]:
            place = place[word]
        place[path[-1]] = value
        for owned in self._managers[key].values():
            owned.discard(path)
        self._managers[key].setdefault(manager, set()).add(path)


def _handler(kube: FakeKube) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, document = kube.answer(self.command, self.path, self.headers, body)
            data = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths that an apply owns: of values, and of lists that have no key."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and path[-1] in _KEYS and _KEYS[path[-1]]:
        key = _KEYS[path[-1]]
        for item in value:
            yield from _leaves(item, (*path, f"{key}={item[key]}"))
    else:
        yield path


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for word in path:
        if isinstance(value, list):
            key, _, name = word.partition("=")
            value = next((item for item in value if str(item[key]) == name), None)
        else:
            value = value.get(word) if isinstance(value, dict) else None
    return value


def _remove(value: Any, path: tuple[Any, ...]) -> None:
    parent = _at(value, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


def _merge(into: dict[str, Any], document: dict[str, Any]) -> None:
    for key, value in document.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and _KEYS.get(key) and isinstance(into.get(key), list):
            _merge_list(into[key], value, _KEYS[key])
        else:
            into[key] = copy.deepcopy(value)


def _merge_list(into: list[Any], items: list[Any], key: str) -> None:
    for item in items:
        there = next((each for each in into if each[key] == item[key]), None)
        if there is None:
            into.append(copy.deepcopy(item))
        else:
            _merge(there, item)
