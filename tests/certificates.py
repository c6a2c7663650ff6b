"""Certificates that tests make for themselves: files with the `openssl` command, and an authority in this process."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.servers import find

LOOPBACK = x509.IPAddress(ip_address("127.0.0.1"))


def make_certificate(folder: Path, name: str, *, names: str = "IP:127.0.0.1", days: int = 2) -> Path:
    """A self-signed one; its key is beside it. Skips or fails the test without openssl."""
    program = find("openssl", "openssl", Path("/usr/bin"))
    path = folder / f"{name}.pem"
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days)]
    about = ["-subj", "/CN=test", "-addext", f"subjectAltName={names}"]
    files = ["-keyout", str(key_of(path)), "-out", str(path)]
    subprocess.run([program, "req", *kind, *about, *files], check=True, capture_output=True)
    return path


def key_of(certificate: Path) -> Path:
    """Where its key is."""
    return certificate.with_suffix(".key")


class Issuer:
    """An authority of certificates that a test makes for itself."""

    def __init__(self, name: str = "people") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        own = self._builder(self._name, self._key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        self.certificate = _pem(own.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, *others: x509.GeneralName) -> tuple[bytes, bytes]:
        """A certificate with this common name and these others, and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key)
        if others:
            builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(builder.sign(self._key, hashes.SHA256())), private

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
