"""Plugin catalogues: what each engine of the fleet can do, once per hash for the whole fleet.

The embedded engine's own is asked of a child process at start, so that validation works before any agent is there;
the others are uploaded by the first agent that names them. Parsed ones stay in memory: there is one per engine version.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import structlog

from controlplane.model import BlobRow
from controlplane.state.store import Store
from headrace import content
from headrace.errors import InvalidError

_DEADLINE_S = 30.0
_LARGEST = 8 << 20

log = structlog.get_logger(__name__)


class Catalogues:
    """The catalogues that are known, by sha256."""

    def __init__(self, *, store: Store) -> None:
        self._store = store
        self._parsed: dict[str, Any] = {}
        self._asking = asyncio.Lock()
        self.embedded = ""
        """Of this version's own embedded engine; empty while it could not be asked."""

    def add(self, data: bytes) -> str:
        """Takes a catalogue; returns its sha256. Raises InvalidError."""
        sha256 = content.sha256_of(data)
        self._parsed[sha256] = parse(data)
        return sha256

    async def of(self, hashes: Iterable[str]) -> Mapping[str, Any]:
        """Those of the hashes that are known, parsed; with the embedded engine's."""
        wanted = {sha256 for sha256 in hashes if sha256} | ({self.embedded} if self.embedded else set())
        unread = sorted(wanted - self._parsed.keys())
        if unread:
            async with self._store.read() as reader:
                for row in await reader.find(BlobRow, sha256=unread):
                    with contextlib.suppress(InvalidError):
                        self.add(row.data)
        return {sha256: self._parsed[sha256] for sha256 in wanted if sha256 in self._parsed}

    async def ask_embedded(self) -> None:
        """Asks a child for the embedded engine's catalogue; without an answer, its plugins go unchecked."""
        async with self._asking:
            try:
                self.embedded = self.add(await _ask())
            except (OSError, TimeoutError, InvalidError) as error:
                log.warning("the embedded engine did not tell its catalogue", error=str(error))

    async def asked(self) -> None:
        """Returns when the embedded engine is not being asked, so that who comes right at the start misses nothing."""
        async with self._asking:
            return


def parse(data: bytes) -> Any:
    """Raises InvalidError for what is no catalogue."""
    if len(data) > _LARGEST:
        raise InvalidError(f"a plugin catalogue has at most {_LARGEST} bytes, this one has {len(data)}")
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"a plugin catalogue is JSON; this is not: {error}") from None
    if not isinstance(parsed, dict):
        raise InvalidError("a plugin catalogue is a JSON object")
    return parsed


async def _ask() -> bytes:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "agent.engine", "-J",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_DEADLINE_S):
            out, err = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        raise InvalidError(f"it ended with status {child.returncode}: {err.decode(errors='replace').strip()[-400:]}")
    return out
