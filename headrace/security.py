"""TLS and bearer credentials for both ends, addresses, and where plain text is allowed: on this host alone.

A credential travels in the metadata of each call as `authorization: Bearer …`. Off loopback it travels in plain text
only after an explicit opt-out, which is the caller's to log.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from headrace.errors import InvalidError, UnauthenticatedError

_BEARER = "Bearer "
_AGENT_URI = re.compile(rb"spiffe://[^/]+/agent/[^/]+")
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """PEM bytes; with `client_ca` a caller's certificate is demanded and checked.

    `current` gives version, certificate and key as they are now, `current_ca` what `client_ca` is now; they are asked
    at each handshake, from any thread.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes = b""
    current: Callable[[], tuple[int, bytes, bytes]] | None = None
    current_ca: Callable[[], bytes] | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """What grpc wants of it."""
        if self.current is not None or self.current_ca is not None:
            return self._renewable(self.current or (lambda: (0, self.certificate, self.key)))
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.client_ca or None,
            require_client_auth=bool(self.client_ca),
        )

    def _renewable(self, current: Callable[[], tuple[int, bytes, bytes]]) -> grpc.ServerCredentials:
        def now() -> tuple[int, bytes, bytes, bytes]:
            return (*current(), self.current_ca() if self.current_ca is not None else self.client_ca)

        version, certificate, key, client_ca = now()
        seen = (version, client_ca)

        def configuration(certificate: bytes, key: bytes, client_ca: bytes) -> Any:
            return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=client_ca or None)

        def changed() -> Any:
            nonlocal seen
            version, certificate, key, client_ca = now()
            if (version, client_ca) == seen:
                return None  # grpc goes on with what it has
            seen = (version, client_ca)
            return configuration(certificate, key, client_ca)

        return grpc.dynamic_ssl_server_credentials(
            configuration(certificate, key, client_ca),
            changed,
            require_client_authentication=bool(client_ca) or self.current_ca is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """PEM bytes; an empty `ca` means grpc's own roots; `server_name` overrides the name that is checked."""

    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """What grpc wants of it."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca or None,
            private_key=self.key or None,
            certificate_chain=self.certificate or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen or connect: `host:port`, `[::1]:port`, or `unix:/path`."""

    host: str
    port: int
    unix: str = ""

    def __str__(self) -> str:
        if self.unix:
            return f"unix:{self.unix}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this host can be at the other end."""
        if self.unix or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """Raises InvalidError that says what is wrong."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise InvalidError(f"address {text!r}: the path of the socket is missing")
        return Address(host="", port=0, unix=path)
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidError(f"address {text!r}: an IPv6 address goes in brackets, such as [::1]:8401")
    if not colon or not host:
        raise InvalidError(f"address {text!r} is not host:port, such as 127.0.0.1:8401")
    if not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise InvalidError(f"address {text!r}: port {port!r} is not a number from 0 to 65535")
    return Address(host=host, port=int(port))


def check_plaintext(address: Address, *, secure: bool, insecure: bool, flag: str) -> None:
    """Raises InvalidError, naming the opt-out, where plain text would leave this host without one."""
    if not (secure or insecure or address.is_local):
        raise InvalidError(
            f"address {str(address)!r} is not on loopback, and plain text there shows credentials and configurations "
            f"to others; give TLS files, or {flag} if something else encrypts the way"
        )


def bearer(credential: str) -> Metadata:
    """The metadata of a call. Raises UnauthenticatedError for what no header can carry."""
    if not (credential.isascii() and credential.isprintable()):
        raise UnauthenticatedError(
            "the token has characters that no token has (not printable ASCII); was it copied whole, and alone?"
        )
    return (("authorization", f"{_BEARER}{credential}"),) if credential else ()


def certificate_of(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The caller's certificate in PEM, if TLS verified one and it names an agent: `spiffe://<instance>/agent/<id>`.

    Others, such as one that a `--tls-client-ca` demands of everybody, say nothing of who the agent is.
    """
    names_agent = any(_AGENT_URI.fullmatch(uri) for uri in auth_context.get("peer_uri", ()))
    return next(iter(auth_context.get("x509_pem_cert", ())), b"") if names_agent else b""


def subject_of(auth_context: Mapping[str, Iterable[bytes]]) -> str:
    """Whom the caller's certificate names, if TLS verified one: an e-mail address of it, else a URI, else the CN."""
    for kind in ("peer_email", "peer_uri", "x509_common_name"):
        for name in auth_context.get(kind, ()):
            return name.decode(errors="replace")
    return ""


def texts_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[tuple[str, str], ...]:
    """The headers of a call that are text, by their names in lower case, as often as they came."""
    return tuple((key, value) for key, value in metadata or () if isinstance(value, str))


def credential_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The bearer credential in a call's metadata; empty when there is none."""
    for key, value in metadata or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value.removeprefix(_BEARER)
    return ""
