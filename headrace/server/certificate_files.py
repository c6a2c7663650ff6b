"""A server's certificate and key in two files, which may be replaced while it serves.

Whoever needs them asks at each handshake; the files are read when they have changed, and taken when they belong
together. A pair that does not, such as one of which only one file was replaced yet, is said once, and the one before it
stays. May be asked from any thread.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import structlog

from headrace.errors import InvalidError

log = structlog.get_logger(__name__)


class CertificateFiles:
    """Two PEM files; the first reading raises InvalidError, later ones keep what there was."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._lock = threading.Lock()
        self._marks = self._stat()
        self._version = 1
        self._pair = self._read()

    def current(self) -> tuple[int, bytes, bytes]:
        """A number that grows with each change, certificate and key."""
        with self._lock:
            try:
                self._refresh()
            except InvalidError as error:
                log.error("the new certificate cannot be used; the one before it stays", reason=error.message)
            return (self._version, *self._pair)

    def _refresh(self) -> None:
        marks = self._stat()
        if marks == self._marks:
            return
        self._marks = marks  # a pair that is refused is looked at again when it changes again
        self._pair = self._read()
        self._version += 1
        log.info("certificate read anew", file=str(self._certificate))

    def _read(self) -> tuple[bytes, bytes]:
        try:
            # The one way of the standard library to find out whether they belong together.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
            return self._certificate.read_bytes(), self._key.read_bytes()
        except ssl.SSLError as error:
            reason = error.reason or "not PEM"
            raise InvalidError(
                f"{self._certificate} and {self._key} are no certificate and its key: {reason}; give a pair in PEM"
            ) from error
        except OSError as error:
            raise InvalidError(f"{error.filename or self._certificate}: {error.strerror}") from error

    def _stat(self) -> tuple[tuple[int, int, int], ...]:
        try:
            found = [path.stat() for path in (self._certificate, self._key)]
        except OSError as error:
            raise InvalidError(f"{error.filename}: {error.strerror}") from error
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
