"""Where the keys of authorities are: in the control plane's data folder, or in two files that an operator keeps.

A key is readable by its owner only and is in no store, backup or message. In the data folder there is a pair of files
for each authority whose key may still be needed; of an operator's there is the one pair, which is read anew whenever
it is asked for, so that another pair in its place is found.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from controlplane.identity.certificates import CertificateAuthority
from headrace.errors import ConflictError, InvalidError

log = structlog.get_logger(__name__)


class AuthorityFiles(Protocol):
    """What has the keys; blocks for small files."""

    def first(self) -> CertificateAuthority:
        """The one to begin with, or the one that an operator gave. Raises InvalidError."""

    def find(self, fingerprint: str) -> CertificateAuthority | None:
        """The one with this certificate, if its key is here."""

    def fresh(self, known: Collection[str]) -> CertificateAuthority:
        """One that is not among those known. Raises ConflictError where an operator has to bring it, InvalidError."""

    def erase(self, fingerprint: str) -> None:
        """Its key is needed no more."""


class Folder:
    """Of a control plane that is alone, which makes what it needs; `ca.pem` and `ca.key` are its first."""

    def __init__(self, folder: Path, *, lifetime_s: float, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._lifetime_s = lifetime_s
        self._clock = clock

    def first(self) -> CertificateAuthority:
        return CertificateAuthority.in_folder(self._folder, lifetime_s=self._lifetime_s, now=self._clock())

    def find(self, fingerprint: str) -> CertificateAuthority | None:
        return next((pair for pair in self._pairs().values() if pair.fingerprint == fingerprint), None)

    def fresh(self, known: Collection[str]) -> CertificateAuthority:
        """Made anew; what an earlier call made, and nobody came to know, is taken away."""
        for path, pair in self._pairs().items():
            if path.stem != "ca" and pair.fingerprint not in known:
                _remove(path)
        name = f"ca-{secrets.token_hex(4)}"
        return CertificateAuthority.in_folder(self._folder, lifetime_s=self._lifetime_s, now=self._clock(), name=name)

    def erase(self, fingerprint: str) -> None:
        for path, pair in self._pairs().items():
            if pair.fingerprint == fingerprint:
                _remove(path)

    def _pairs(self) -> dict[Path, CertificateAuthority]:
        found = {}
        for path in sorted(self._folder.glob("ca*.pem")):
            if not path.with_suffix(".key").exists():
                continue  # it was erased, and the end of that was cut short
            try:
                found[path] = CertificateAuthority.load(path, path.with_suffix(".key"), lifetime_s=self._lifetime_s)
            except InvalidError as error:
                log.warning("an authority's files cannot be used", reason=error.message)
        return found


class Given:
    """Two files that an operator keeps; the same ones for every control plane on one state."""

    def __init__(self, certificate: Path, key: Path, *, lifetime_s: float) -> None:
        self._certificate = certificate
        self._key = key
        self._lifetime_s = lifetime_s

    def first(self) -> CertificateAuthority:
        return CertificateAuthority.load(self._certificate, self._key, lifetime_s=self._lifetime_s)

    def find(self, fingerprint: str) -> CertificateAuthority | None:
        try:
            pair = self.first()
        except InvalidError as error:
            log.warning("the authority's files cannot be used", reason=error.message)
            return None
        return pair if pair.fingerprint == fingerprint else None

    def fresh(self, known: Collection[str]) -> CertificateAuthority:
        pair = self.first()
        if pair.fingerprint in known:
            raise ConflictError(
                f"{self._certificate} holds authority {pair.fingerprint[:16]}, which is known here already; "
                "put a new certificate and key in the place of both files, on every control plane, and rotate then"
            )
        return pair

    def erase(self, fingerprint: str) -> None:
        """The files are the operator's to remove."""


def _remove(path: Path) -> None:
    """The certificate last, so that one that was cut short is found again."""
    path.with_suffix(".key").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
