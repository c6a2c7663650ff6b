"""A control plane inside a Kubernetes cluster, for as long as a command lasts: `kubectl` forwards a port of it, and the
kubeconfig's own token says who asks.

`kubectl` knows every way to get at a cluster that a kubeconfig can name. It listens on loopback only, on a free port,
and ends with the command; what it complains of is in the error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import UnauthenticatedError, UnavailableError

NAMESPACE = "headrace"
_WHAT = "deployment/cloud-api"
_PORT = 8401
_PATIENCE_S = 30.0
_FORWARDING = re.compile(rb"Forwarding from ((?:127\.0\.0\.1|\[::1\]):\d+) ->")
_NO_TOKEN = (
    "the kubeconfig has no token for this context, and the control plane knows people by one; give one by --token or "
    "HEADRACE_TOKEN, such as `kubectl create token NAME` prints"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Which one, by the kubeconfig's names; an empty context is its current one."""

    context: str
    namespace: str

    @contextlib.asynccontextmanager
    async def forwarded(self) -> AsyncIterator[str]:
        """The address on loopback at which the management API is. Raises UnavailableError."""
        process = await self._start("--namespace", self.namespace, "port-forward", _WHAT, f":{_PORT}")
        words: asyncio.Task[tuple[bytes, bytes]] | None = None
        try:
            address = await self._address(process)
            # It has a word for each connection, and stops when nobody reads them.
            words = asyncio.create_task(process.communicate(), name="words of kubectl")
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await (process.communicate() if words is None else words)

    async def token(self) -> str:
        """The kubeconfig's, or what its credential program gives. Raises UnavailableError, UnauthenticatedError."""
        process = await self._start("config", "view", "--raw", "--minify", "--output", "json")
        said, complaint = await process.communicate()
        if process.returncode != 0:
            raise UnavailableError(f"kubectl could not read the kubeconfig: {_last(complaint)}")
        users = json.loads(said).get("users") or [{}]
        user: Mapping[str, Any] = users[0].get("user") or {}
        if text := user.get("token"):
            return str(text)
        if file := user.get("tokenFile"):
            return _read(Path(file))
        if program := user.get("exec"):
            return await _credential(program)
        raise UnauthenticatedError(_NO_TOKEN)

    async def _address(self, process: asyncio.subprocess.Process) -> str:
        assert process.stdout is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while line := await process.stdout.readline():
                    if found := _FORWARDING.match(line):
                        return found[1].decode()
                _, complaint = await process.communicate()
                raise UnavailableError(f"kubectl could not forward a port of {_WHAT}: {_last(complaint)}")
        raise UnavailableError(f"kubectl did not forward a port of {_WHAT} in {_PATIENCE_S:.0f} s")

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise UnavailableError(
                "a control plane in a cluster is reached by kubectl, which is not on PATH; install it"
            )
        where = ("--context", self.context) if self.context else ()
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            kubectl, *where, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )


def _last(complaint: bytes) -> str:
    return (complaint.decode(errors="replace").strip().splitlines() or ["it ended without a word"])[-1]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnauthenticatedError(
            f"the kubeconfig's token file {path} cannot be read ({error}); {_NO_TOKEN}"
        ) from error


async def _credential(program: Mapping[str, Any]) -> str:
    """The token of an ExecCredential, as client.authentication.k8s.io has it."""
    info = {"apiVersion": program.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {each["name"]: each["value"] for each in program.get("env") or ()}
    try:
        process = await asyncio.create_subprocess_exec(
            program["command"],
            *(program.get("args") or ()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **environment, "KUBERNETES_EXEC_INFO": json.dumps(info)},
        )
        said, _ = await process.communicate()
        return str(json.loads(said)["status"]["token"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnauthenticatedError(
            f"the kubeconfig's credential program {program.get('command')!r} gave no token ({error}); {_NO_TOKEN}"
        ) from error
