"""PEM files of a server, which may be replaced while it serves: its certificate and key, and its callers' authorities.

Whoever needs them asks at each handshake; the files are read when they have changed, and taken when they are good: a
pair that belongs together, authorities that are certificates. What is not, such as a pair of which only one file was
replaced yet, is said once, and the one before it stays. May be asked from any thread.
"""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from headrace.errors import InvalidError

log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class _Files(ABC, Generic[_T]):
    """Files that are read together; the first reading raises InvalidError, later ones keep what there was."""

    def __init__(self, what: str, *paths: Path) -> None:
        self._taken = f"{what} read anew"
        self._refused = f"the new {what} cannot be used; the one before it stays"
        self._paths = paths
        self._lock = threading.Lock()
        self._marks = self._stat()
        self._version = 1
        self._content = self._read()

    @abstractmethod
    def _load(self) -> _T:
        """What is in the files. Raises InvalidError for what cannot be used, and OSError."""

    def _now(self) -> tuple[int, _T]:
        """A number that grows with each change, and the content."""
        with self._lock:
            try:
                self._refresh()
            except InvalidError as error:
                log.error(self._refused, reason=error.message)
            return self._version, self._content

    def _refresh(self) -> None:
        marks = self._stat()
        if marks == self._marks:
            return
        self._marks = marks  # what is refused is looked at again when it changes again
        self._content = self._read()
        self._version += 1
        log.info(self._taken, file=str(self._paths[0]))

    def _read(self) -> _T:
        try:
            return self._load()
        except OSError as error:
            raise InvalidError(f"{error.filename or self._paths[0]}: {error.strerror}") from error

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [path.stat() for path in self._paths]
        except OSError as error:
            raise InvalidError(f"{error.filename}: {error.strerror}") from error
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


class CertificateFiles(_Files[tuple[bytes, bytes]]):
    """A certificate and its key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        super().__init__("certificate", certificate, key)

    def current(self) -> tuple[int, bytes, bytes]:
        """A number that grows with each change, certificate and key."""
        version, pair = self._now()
        return (version, *pair)

    def _load(self) -> tuple[bytes, bytes]:
        try:
            # The one way of the standard library to find out whether they belong together.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
        except ssl.SSLError as error:
            reason = error.reason or "not PEM"
            raise InvalidError(
                f"{self._certificate} and {self._key} are no certificate and its key: {reason}; give a pair in PEM"
            ) from error
        return self._certificate.read_bytes(), self._key.read_bytes()


class AuthorityFile(_Files[bytes]):
    """The authorities of callers' certificates, one or several in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__("file of client authorities", path)

    def current(self) -> bytes:
        """Their certificates, in PEM."""
        return self._now()[1]

    def _load(self) -> bytes:
        data = self._path.read_bytes()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=data.decode("ascii", "replace"))
        except (ssl.SSLError, ValueError, TypeError) as error:  # also for an empty one, and for other text
            reason = (isinstance(error, ssl.SSLError) and error.reason) or "not PEM"
            raise InvalidError(
                f"{self._path} has no certificates of authorities: {reason}; give them in PEM"
            ) from error
        return data
