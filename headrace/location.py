"""Where a control plane is: `host:port`, or a URL with what an ingress puts before every call. No I/O.

`https://host/prefix` is TLS to port 443, and the path of every call begins with `/prefix`, which the ingress takes off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.errors import InvalidError
from headrace.security import Address, parse_address

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """`tls` is what a URL's scheme says; None where nothing said it."""

    address: Address
    prefix: str = ""
    tls: bool | None = None


def parse_location(text: str) -> Location:
    """Raises InvalidError that says what is wrong."""
    url = _URL.fullmatch(text)
    if url is None:
        if "/" in text and not text.startswith("unix:"):
            raise InvalidError(f"address {text!r} has a path; write it as a URL: https://HOST/PREFIX")
        return Location(address=parse_address(text))
    scheme, authority, prefix = url["scheme"], url["authority"], url["path"].rstrip("/")
    if scheme not in _PORTS:
        raise InvalidError(f"address {text!r}: {scheme!r} is neither https nor http")
    if "@" in authority:
        raise InvalidError(f"address of {scheme}://…@{authority.rpartition('@')[2]}: credentials have no place in it")
    if url["rest"] or not _PREFIX.fullmatch(prefix):
        raise InvalidError(f"address {text!r}: after the host there may be a path of plain names, and nothing else")
    if not re.search(r":[^:\]]*$", authority):
        authority = f"{authority}:{_PORTS[scheme]}"
    return Location(address=parse_address(authority), prefix=prefix, tls=scheme == "https")
