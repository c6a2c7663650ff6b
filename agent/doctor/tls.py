"""TLS as it is on the line: whether it is spoken, by which certificate, who vouches for it, and for which protocol."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509

from agent.doctor.finding import Finding
from headrace.security import ClientTls

_SOON = timedelta(days=7)
# OpenSSL's numbers for a certificate before and after its time, which is told by itself.
_DATES = (9, 10)


def of_tls(dial: Callable[[], socket.socket], host: str, tls: ClientTls, *, now: datetime) -> list[Finding]:
    """What is wrong with a certificate is told all at once; `dial` connects, for each of the two looks at it."""
    try:
        with _shake(dial(), host, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), verify=False) as line:
            data, protocol = line.getpeercert(binary_form=True), line.selected_alpn_protocol()
    except OSError as error:
        return [_no_tls(error)]
    assert data is not None  # a server always shows one
    certificate = x509.load_der_x509_certificate(data)
    return [_alpn(protocol), _dates(certificate, now), _names(certificate, host), _issuer(dial, host, tls, certificate)]


def _shake(line: socket.socket, host: str, context: ssl.SSLContext, *, verify: bool) -> ssl.SSLSocket:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        return context.wrap_socket(line, server_hostname=host)
    except BaseException:
        line.close()
        raise


def _no_tls(error: OSError) -> Finding:
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return Finding.fail(
            "tls", "what answers there speaks no TLS", "is it the port of --channel, and has `serve` --tls-cert?"
        )
    advice = "something on the way ends connections with TLS to this name, or the server has no certificate for it"
    return Finding.fail("tls", f"the handshake broke off: {error.strerror or error}", advice)


def _alpn(protocol: str | None) -> Finding:
    if protocol == "h2":
        return Finding.ok("alpn", "HTTP/2")
    advice = (
        "an ingress must offer h2 (nginx: `http2`, HAProxy: `alpn h2`); a proxy that opens TLS must leave this host be"
    )
    return Finding.fail("alpn", "what ends TLS there does not offer HTTP/2", advice)


def _dates(certificate: x509.Certificate, now: datetime) -> Finding:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begin:
        advice = f"this host's clock says {now:%Y-%m-%d %H:%M} UTC; set it (NTP), or wait"
        return Finding.fail("certificate", f"is good only from {begin:%Y-%m-%d %H:%M} UTC", advice)
    if now > end:
        advice = f"renew it; or set this host's clock, which says {now:%Y-%m-%d %H:%M} UTC"
        return Finding.fail("certificate", f"expired at {end:%Y-%m-%d %H:%M} UTC", advice)
    if now > end - _SOON:
        return Finding.warn("certificate", f"expires at {end:%Y-%m-%d %H:%M} UTC", "renew it in time")
    return Finding.ok("certificate", f"good until {end:%Y-%m-%d}")


def _names(certificate: x509.Certificate, host: str) -> Finding:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    domains = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    addresses = names.get_values_for_type(x509.IPAddress)
    wanted = host.lower().rstrip(".")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host) in addresses:
            return Finding.ok("name", f"is for {host}")
    if wanted in domains or f"*.{wanted.partition('.')[2]}" in domains:
        return Finding.ok("name", f"is for {host}")
    said = ", ".join([*domains, *map(str, addresses)]) or "nobody"
    return Finding.fail(
        "name", f"is for {said}, and not for {host}", "connect by one of these, or give it that name too"
    )


def _issuer(dial: Callable[[], socket.socket], host: str, tls: ClientTls, certificate: x509.Certificate) -> Finding:
    issuer = certificate.issuer.rfc4514_string() or "somebody without a name"
    whom = "--tls-ca" if tls.ca else "this host's authorities"
    try:
        context = ssl.create_default_context(cadata=tls.ca.decode("ascii") if tls.ca else None)
        _shake(dial(), host, context, verify=True).close()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code not in _DATES:
            advice = (
                "if that is none of yours, something on the way opens TLS, such as a proxy: exempt this host there; "
                "else give its authority by --tls-ca"
            )
            return Finding.fail("issuer", f"{issuer}, whom {whom} do not vouch for ({error.verify_message})", advice)
    except ValueError as error:
        return Finding.fail("issuer", f"--tls-ca holds no certificate in PEM: {error}", "give the authority's own file")
    except OSError as error:
        return _no_tls(error)
    return Finding.ok("issuer", f"{issuer}, known by {whom}")
