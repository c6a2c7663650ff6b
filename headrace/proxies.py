"""Which HTTP proxy a connection goes through, by the variables that everybody knows. No I/O.

`HTTPS_PROXY` is for TLS and `HTTP_PROXY` for plain text, `NO_PROXY` says what needs none; small letters win over
capitals, as with curl. What is on this host is always reached directly. gRPC's core reads small letters only, takes
`https_proxy` for plain text too, and sends loopback to the proxy; so the choice is made here, and it is told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.errors import InvalidError
from headrace.security import Address

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_PORT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One that takes CONNECT; `variable` is what named it, `url` has its credentials."""

    variable: str
    host: str
    port: int
    url: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}, which {self.variable} names"


def proxy_of(address: Address, *, tls: bool, environment: Mapping[str, str]) -> Proxy | None:
    """None is directly. Raises InvalidError for a variable that names no proxy that can be used."""
    if address.is_local or _is_exempt(address, _first(environment, "no_proxy")[1]):
        return None
    variable, value = _first(environment, "https_proxy" if tls else "http_proxy")
    if not value:
        return None
    from urllib.parse import unquote  # few have a proxy

    parts = _split(variable, value)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    credentials, at, _ = parts.netloc.rpartition("@")
    port = parts.port or _PORT
    return Proxy(variable=variable, host=host, port=port, url=f"http://{unquote(credentials)}{at}{host}:{port}")


def _split(variable: str, value: str) -> SplitResult:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        usable, _ = parts.hostname, parts.port
    except ValueError:
        usable = None
    if not usable:
        raise InvalidError(f"{variable} is not the URL of a proxy, such as http://proxy.example.com:3128")
    if parts.scheme != "http":
        raise InvalidError(
            f"{variable}: a proxy is spoken to in plain text ({parts.scheme}:// is not known); what goes through it is "
            "encrypted all the same, so write http://"
        )
    return parts


def _first(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """The variable and its value; empty where neither spelling is set."""
    return next(
        ((variable, environment[variable]) for variable in (name, name.upper()) if environment.get(variable)),
        (name.upper(), ""),
    )


def _is_exempt(address: Address, exemptions: str) -> bool:
    return any(_matches(address, each) for each in exemptions.replace(" ", ",").split(",") if each)


def _matches(address: Address, exemption: str) -> bool:
    """`*`, a domain with all below it, an address, a network; each but the first with a port or without."""
    if exemption == "*":
        return True
    try:
        host = ipaddress.ip_address(address.host)
    except ValueError:
        name, _, port = exemption.lower().removeprefix("*").lstrip(".").partition(":")
        own = address.host.lower().rstrip(".")
        return (own == name or own.endswith(f".{name}")) and port in ("", str(address.port))
    text, port = exemption, ""
    if exemption.startswith("["):
        text, _, port = exemption[1:].partition("]")
    elif exemption.count(":") == 1:
        text, _, port = exemption.partition(":")
    try:
        return host in ipaddress.ip_network(text, strict=False) and port.lstrip(":") in ("", str(address.port))
    except ValueError:
        return False
