"""The control plane that a command talks to, and one call of it from a command's plain function."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from headrace.cli.exits import Exit, say

if TYPE_CHECKING:
    from headrace.cli.forward import Cluster
    from headrace.management import ManagementClient
    from headrace.security import ClientTls

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The global options; an empty address or token is found as `headrace.local` says."""

    server: str = ""
    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    cluster: Cluster | None = None
    insecure: bool = False
    debug: bool = False

    def ca_bytes(self) -> bytes:
        """The authorities that --tls-ca names, in PEM; empty without it."""
        return _read(self.ca)

    def connect(self) -> AbstractAsyncContextManager[ManagementClient]:
        """A client; belongs to the loop that it is used in."""
        # gRPC's own words on stderr are for its makers; what matters of them is in our errors.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from headrace.management import ManagementClient
        from headrace.security import ClientTls

        tls = None
        if self.ca is not None or self.certificate is not None:
            tls = ClientTls(ca=_read(self.ca), certificate=_read(self.certificate), key=_read(self.key))
        if self.cluster is not None:
            return self._inside(self.cluster, tls)
        return ManagementClient(self.server, self.token, tls=tls, insecure=self.insecure)

    @asynccontextmanager
    async def _inside(self, cluster: Cluster, tls: ClientTls | None) -> AsyncIterator[ManagementClient]:
        """A client through a port that is forwarded for as long as it is there."""
        from headrace.management import ManagementClient

        token = self.token or os.environ.get("HEADRACE_TOKEN", "") or await cluster.token()
        async with cluster.forwarded() as address, ManagementClient(address, token, tls=tls) as client:
            yield client


def _read(path: Path | None) -> bytes:
    """Empty without a path; a usage error for one that cannot be read."""
    try:
        return path.read_bytes() if path is not None else b""
    except OSError as error:
        raise typer.BadParameter(f"cannot read {str(path)!r}: {error.strerror}") from error


def talk(context: typer.Context, action: Callable[[ManagementClient], Awaitable[T]], *, interrupted: str = "") -> T:
    """What `action` answers. Ctrl-C ends it cleanly, after saying `interrupted`; errors of the call are raised."""
    target: Target = context.obj

    async def call() -> T:
        async with target.connect() as client:
            return await action(client)

    try:
        return asyncio.run(call())
    except KeyboardInterrupt:
        if interrupted:
            say(interrupted)
        raise typer.Exit(Exit.INTERRUPTED) from None
