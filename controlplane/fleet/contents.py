"""Contents by their hash, parsed: a few of them in memory, all of them in the store."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from controlplane.model import BlobRow
from controlplane.state.store import Reader
from headrace import content
from headrace.api import Manifest
from headrace.content import Content
from headrace.errors import NotFoundError

_KEPT_BYTES = 32 << 20


class Described(Protocol):
    """What a pipeline row and a revision row have in common but the name."""

    @property
    def sha256(self) -> str: ...
    @property
    def selector(self) -> str: ...
    @property
    def description(self) -> str: ...


class Contents:
    """Reads contents; keeps the latest used within a bound on their size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[Content, int]] = OrderedDict()
        self._bytes = 0

    async def get(self, reader: Reader, sha256: str) -> Content:
        """Raises NotFoundError."""
        if sha256 in self._kept:
            self._kept.move_to_end(sha256)
            return self._kept[sha256][0]
        row = await reader.get(BlobRow, sha256)
        if row is None:
            raise NotFoundError(f"content {sha256[:12]} is not in the store")
        parsed = content.parse(row.data)
        self._kept[sha256] = (parsed, len(row.data))
        self._bytes += len(row.data)
        while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        return parsed


def manifest_of(name: str, row: Described, labels: dict[str, str], what: Content) -> Manifest:
    """The manifest that a row and its content stand for."""
    return Manifest(
        name=name,
        labels=labels,
        description=row.description,
        selector=row.selector,
        engine=what.engine,
        config=what.config,
        files=what.files,
        secrets=what.secrets,
    )
