"""The line to the control plane, from the name to TLS: address, DNS, proxy, TCP. Each step needs the one before."""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from agent.doctor.finding import Finding
from agent.doctor.tls import of_tls
from headrace.errors import InvalidError
from headrace.location import Location, parse_location
from headrace.proxies import Proxy, proxy_of
from headrace.security import ClientTls, check_plaintext

TIMEOUT_S = 5.0


def of_line(
    server: str, tls: ClientTls | None, *, insecure: bool, now: datetime, environment: Mapping[str, str]
) -> list[Finding]:
    """Up to the first that fails."""
    try:
        location = parse_location(server)
        check_plaintext(
            location.address, secure=bool(tls or location.tls), insecure=insecure, flag="--channel-insecure"
        )
    except InvalidError as error:
        return [Finding.fail("server", error.message, "correct --server, or give --tls or --tls-ca")]
    if location.address.unix:
        return [Finding.ok("server", f"{location.address}, a socket of this host")]
    wanted = tls or (ClientTls() if location.tls else None)
    findings: list[Finding] = []
    try:
        proxy = proxy_of(location.address, tls=wanted is not None, environment=environment)
    except InvalidError as error:
        return [Finding.fail("proxy", error.message, "correct the variable, or exempt the host by NO_PROXY")]
    findings.append(_dns(location, proxy))
    if findings[-1].verdict == "fail":
        return findings
    try:
        with _dial(location, proxy) as line:
            findings += _reached(location, proxy, line)
    except _NoLineError as error:
        return [*findings, error.finding]
    if wanted is None:
        return [*findings, Finding.ok("tls", "not asked for: what is said there can be read on the way")]
    return [*findings, *of_tls(lambda: _dial(location, proxy), location.address.host, wanted, now=now)]


class _NoLineError(OSError):
    """There is no connection, and a finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


def _dns(location: Location, proxy: Proxy | None) -> Finding:
    host = location.address.host
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, location.address.port, type=socket.SOCK_STREAM)}
    except OSError as error:
        if proxy is not None:
            return Finding.ok("dns", f"{host} has no address here; the proxy looks it up")
        advice = "check the name, /etc/resolv.conf, and in a cluster the policy for DNS"
        return Finding.fail("dns", f"{host} has no address: {error.strerror}", advice)
    return Finding.ok("dns", f"{host} is {', '.join(sorted(found))}")


def _dial(location: Location, proxy: Proxy | None) -> socket.socket:
    """A connection that leads to the control plane, or to what ends TLS before it. Raises _NoLineError."""
    where = (proxy.host.strip("[]"), proxy.port) if proxy else (location.address.host, location.address.port)
    name = f"the proxy {proxy}" if proxy else str(location.address)
    try:
        line = socket.create_connection(where, timeout=TIMEOUT_S)
    except OSError as error:
        why = f"no answer within {TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else error.strerror or str(error)
        advice = "is it the right port, and does a firewall or a network policy let this host out to it?"
        if proxy is not None:
            advice = f"is {proxy.variable} right? NO_PROXY exempts hosts"
        raise _NoLineError(Finding.fail("proxy" if proxy else "tcp", f"{name}: {why}", advice)) from error
    if proxy is not None and " 200" not in (answer := _ask(line, location, proxy)):
        line.close()
        raise _NoLineError(Finding.fail("proxy", f"{name} answered {answer!r}", _advice(answer, proxy)))
    return line


def _reached(location: Location, proxy: Proxy | None, line: socket.socket) -> list[Finding]:
    if proxy is not None:
        return [Finding.ok("proxy", f"{proxy}, leads to {location.address}")]
    return [Finding.ok("proxy", "none is named for it"), Finding.ok("tcp", f"connected to {line.getpeername()[0]}")]


def _ask(line: socket.socket, location: Location, proxy: Proxy) -> str:
    """The first line of a proxy's answer to CONNECT."""
    parts = urlsplit(proxy.url)
    credentials = parts.netloc.rpartition("@")[0]
    header = f"Proxy-Authorization: Basic {base64.b64encode(credentials.encode()).decode()}\r\n" if credentials else ""
    try:
        line.sendall(f"CONNECT {location.address} HTTP/1.1\r\nHost: {location.address}\r\n{header}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < 1 << 16 and (data := line.recv(4096)):
            answer += data
    except OSError as error:
        return str(error)
    return answer.partition(b"\r\n")[0].decode(errors="replace") or "nothing"


def _advice(answer: str, proxy: Proxy) -> str:
    if " 407" in answer:
        return f"it wants credentials: {proxy.variable}=http://USER:PASSWORD@{proxy.host}:{proxy.port}"
    return f"it must allow CONNECT to this host and port; or exempt the host by NO_PROXY, or correct {proxy.variable}"
