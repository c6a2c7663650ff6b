"""Certificates of agents: an authority that signs them, and what one that is shown says.

A certificate names its agent by one URI, `spiffe://<instance>/agent/<id>`. It is good from five minutes before its
making, since clocks differ. The authority is two files: made in the data folder at the first start, or given by path;
who has the key can be any agent, so its file is for its owner alone. Which authorities there are, and which of them
signs, is `authorities`.
"""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.errors import InvalidError, UnauthenticatedError

_SKEW = timedelta(minutes=5)
_CA_LIFETIME = timedelta(days=3650)
_LONGEST_CSR = 16 << 10
_SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate that was just signed, in PEM; `bundle` is who is trusted, the one that signed it first."""

    certificate: bytes
    serial: str
    expires_at: datetime
    bundle: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a certificate by this authority says of who shows it."""

    instance_id: str
    agent_id: str
    serial: str
    public_key: str


class CertificateAuthority:
    """Signs; raises InvalidError for a key and a certificate that do not belong together."""

    def __init__(self, certificate: x509.Certificate, key: _SigningKey, *, lifetime_s: float) -> None:
        if certificate.public_key() != key.public_key():
            raise InvalidError("the CA's key is not that of its certificate; give the pair by --ca-cert and --ca-key")
        try:
            is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        except x509.ExtensionNotFound:
            is_ca = False
        if not is_ca:
            raise InvalidError("the certificate given by --ca-cert is not a CA's: it may not sign others")
        self.certificate = certificate
        self._key = key
        self._lifetime = timedelta(seconds=lifetime_s)
        self.bundle = certificate.public_bytes(Encoding.PEM)
        """What whoever trusts this authority needs, in PEM."""
        self.fingerprint = fingerprint_of(certificate)

    @classmethod
    def load(cls, certificate: Path, key: Path, *, lifetime_s: float) -> Self:
        """From two PEM files. Raises InvalidError that names the file."""
        path = certificate
        try:
            parsed = x509.load_pem_x509_certificate(path.read_bytes())
            path = key
            private = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise InvalidError(f"{path}: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidError(f"{path} is not what it should be, PEM without a password: {error}") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise InvalidError(f"{key} holds a key of another kind; a CA's is EC or RSA")
        return cls(parsed, private, lifetime_s=lifetime_s)

    @classmethod
    def in_folder(cls, folder: Path, *, lifetime_s: float, now: datetime, name: str = "ca") -> Self:
        """That of a data folder and this name, made at the first time. Raises InvalidError."""
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        if not key.exists():
            _write(key, _pem_of(ec.generate_private_key(ec.SECP256R1())))
        if not certificate.exists():  # the key is first, so a start that was cut short goes on here
            private = load_pem_private_key(key.read_bytes(), password=None)
            if not isinstance(private, ec.EllipticCurvePrivateKey):
                raise InvalidError(f"{key} holds a key that was not made here, and {certificate} is missing")
            _write(certificate, _self_signed(private, now, name).public_bytes(Encoding.PEM))
        return cls.load(certificate, key, lifetime_s=lifetime_s)

    def issue(self, csr: bytes, *, agent_id: str, instance_id: str, now: datetime) -> Issued:
        """A certificate for the key that the request proves. Raises InvalidError for a request that proves none."""
        expires_at = min(now + self._lifetime, self.certificate.not_valid_after_utc)
        uri = x509.UniformResourceIdentifier(f"spiffe://{instance_id}/agent/{agent_id}")
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        key = _requested(csr).public_key()
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, agent_id)]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(expires_at)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
            .add_extension(usage, critical=False)
            .add_extension(issuer, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate=certificate.public_bytes(Encoding.PEM),
            serial=_hex(certificate.serial_number),
            expires_at=certificate.not_valid_after_utc,
            bundle=self.bundle,
        )


def read(pem: bytes, trusted: Iterable[x509.Certificate]) -> Shown | None:
    """Whom a certificate names; None for one that names no agent, such as those of a proxy.

    Raises UnauthenticatedError for one that names an agent and is by none of these authorities.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        return None
    parts = [uri.removeprefix("spiffe://").split("/") for uri in uris if uri.startswith("spiffe://")]
    found = [part for part in parts if len(part) == 3 and part[1] == "agent"]
    if len(found) != 1:
        return None
    instance_id, _, agent_id = found[0]
    if not any(_is_by(certificate, authority) for authority in trusted):
        raise UnauthenticatedError(
            f"wrong CA: the certificate of agent {agent_id!r} was not signed by an authority of this control plane; "
            "enrol the agent anew"
        )
    return Shown(
        instance_id=instance_id,
        agent_id=agent_id,
        serial=_hex(certificate.serial_number),
        public_key=_text_of(certificate.public_key()),
    )


def fingerprint_of(certificate: x509.Certificate) -> str:
    """By which people and the store tell authorities apart: SHA-256, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def public_key_of(csr: bytes) -> str:
    """The key that a request is for, and proves to have: SubjectPublicKeyInfo in base64. Raises InvalidError."""
    return _text_of(_requested(csr).public_key())


def _requested(csr: bytes) -> x509.CertificateSigningRequest:
    if len(csr) > _LONGEST_CSR:
        raise InvalidError(f"the certificate request has {len(csr)} bytes, and may have {_LONGEST_CSR}")
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidError(f"the certificate request is not PKCS#10 in DER: {error}") from error
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise InvalidError("the certificate request is for a key of another kind; an agent's key is EC P-256")
    if not request.is_signature_valid:
        raise InvalidError("the certificate request is not signed by the key that it is for")
    return request


def _is_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime, what: str) -> x509.Certificate:
    which = what.removeprefix("ca").replace("-", " ")  # no two have the same name
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Headrace agents' authority{which}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _text_of(key: object) -> str:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return ""
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode("ascii")


def _hex(serial: int) -> str:
    return f"{serial:x}"


def _write(path: Path, data: bytes) -> None:
    """At once or not at all, and readable by its owner only."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        raise InvalidError(f"{path} cannot be written: {error.strerror}") from error
