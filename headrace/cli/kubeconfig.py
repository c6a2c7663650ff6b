"""A context of a kubeconfig: where its cluster's API is, whom it trusts, and what we show there.

Read are KUBECONFIG (several files, the first that has a name wins), else ~/.kube/config. Credentials may be a token, a
client certificate, a name and password, or a program that prints them (`exec`), which is run.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from headrace.errors import ForbiddenError, InvalidError, NotFoundError

_EXEC_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """PEM bytes; `authorization` is a header's value."""

    context: str
    server: str
    ca: bytes = b""
    verify: bool = True
    authorization: str = field(default="", repr=False)
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    proxy: str = field(default="", repr=False)


def access(context: str, environment: Mapping[str, str] = os.environ) -> Access:
    """Of a context, or of the current one. Raises NotFoundError, InvalidError, ForbiddenError."""
    documents = list(_documents(environment))
    context = context or next((str(each.get("current-context", "")) for _, each in documents), "")
    try:
        chosen, _ = _named(documents, "contexts", "context", context)
    except NotFoundError as error:
        known = sorted(str(item.get("name")) for _, each in documents for item in each.get("contexts") or ())
        raise NotFoundError(f"{error.message}; there are {', '.join(known) or 'none'}") from None
    cluster, folder = _named(documents, "clusters", "cluster", str(chosen.get("cluster", "")))
    found = Access(
        context=context,
        server=str(cluster.get("server", "")).rstrip("/"),
        ca=_bytes(cluster, "certificate-authority", folder),
        verify=not cluster.get("insecure-skip-tls-verify"),
        proxy=str(cluster.get("proxy-url", "")),
    )
    if not found.server.startswith(("https://", "http://")):
        raise InvalidError(f"context {context!r}: its cluster names no server")
    if cluster.get("tls-server-name"):
        raise InvalidError(
            f"context {context!r}: tls-server-name is not known here; name the server as its certificate does"
        )
    if not chosen.get("user"):
        return found
    user, folder = _named(documents, "users", "user", str(chosen["user"]))
    return _shown(found, user, folder, environment)


def _documents(environment: Mapping[str, str]) -> Iterable[tuple[Path, Mapping[str, Any]]]:
    named = environment.get("KUBECONFIG", "")
    home = Path(environment.get("HOME", "") or Path.home())
    paths = [Path(text) for text in named.split(os.pathsep) if text] or [home / ".kube/config"]
    there = [path for path in paths if path.exists()]
    if not there:
        raise NotFoundError(f"there is no kubeconfig: {', '.join(map(str, paths))}; KUBECONFIG says where it is")
    for path in there:
        try:
            document = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidError(f"kubeconfig {path} cannot be read: {error}") from error
        if not isinstance(document, dict):
            raise InvalidError(f"kubeconfig {path} is not a mapping")
        yield path.parent, document


def _named(
    documents: Iterable[tuple[Path, Mapping[str, Any]]], many: str, one: str, name: str
) -> tuple[Mapping[str, Any], Path]:
    """The entry of this name, and the folder that its files are named from."""
    for folder, document in documents:
        for item in document.get(many) or ():
            if isinstance(item, dict) and item.get("name") == name and isinstance(item.get(one), dict):
                return item[one], folder
    raise NotFoundError(f"the kubeconfig has no {one} {name!r}")


def _bytes(entry: Mapping[str, Any], key: str, folder: Path) -> bytes:
    """Of `key`-data, in base64, else of the file that `key` names."""
    try:
        if data := entry.get(f"{key}-data"):
            return base64.b64decode(data, validate=True)
        return (folder / entry[key]).read_bytes() if entry.get(key) else b""
    except (OSError, ValueError) as error:
        raise InvalidError(f"kubeconfig: {key} cannot be read: {error}") from error


def _shown(found: Access, user: Mapping[str, Any], folder: Path, environment: Mapping[str, str]) -> Access:
    if "auth-provider" in user:
        raise InvalidError(f"context {found.context!r}: auth-provider is no longer in Kubernetes; use an exec plugin")
    if isinstance(user.get("exec"), dict):
        return _printed(found, user["exec"], environment)
    token = str(user.get("token", "")) or _bytes(user, "tokenFile", folder).decode("ascii", "replace").strip()
    authorization = f"Bearer {token}" if token else ""
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
    return replace(
        found,
        authorization=authorization,
        certificate=_bytes(user, "client-certificate", folder),
        key=_bytes(user, "client-key", folder),
    )


def _printed(found: Access, plugin: Mapping[str, Any], environment: Mapping[str, str]) -> Access:
    """What a credential plugin prints."""
    command = [str(plugin.get("command", "")), *map(str, plugin.get("args") or ())]
    info = {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    own = {str(each["name"]): str(each["value"]) for each in plugin.get("env") or ()}
    try:
        done = subprocess.run(
            command,
            env={**environment, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_EXEC_S,
            check=True,
        )
        status = json.loads(done.stdout)["status"]
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ForbiddenError(f"{command[0]!r} of context {found.context!r} gave no credential: {said}") from error
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        hint = plugin.get("installHint") or "is it installed?"
        raise InvalidError(f"{command[0]!r} of context {found.context!r} cannot be used ({hint}): {error}") from error
    token = status.get("token", "")
    return replace(
        found,
        authorization=f"Bearer {token}" if token else "",
        certificate=str(status.get("clientCertificateData", "")).encode(),
        key=str(status.get("clientKeyData", "")).encode(),
    )
