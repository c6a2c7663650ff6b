"""Who may knock at the listeners of people: which names a request may be for, and that people are told apart. Pure.

A web page elsewhere may make its own name point to this machine (DNS rebinding), and then its visitor's browser asks us
for that page. The name is in `Host` all the same, and the page's own in `Origin`, so only names of ours are answered.
An address cannot be pointed elsewhere: where a listener is on every address of its host, each is one of ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from headrace.errors import InvalidError

if TYPE_CHECKING:
    from headrace.security import Address

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_AUTHORITY = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::\d{1,5})?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The names that a listener answers to; ports are as they may be, since forwarding changes them."""

    names: frozenset[str]
    any_address: bool = False

    @classmethod
    def of(cls, address: Address, public: Iterable[str] = ()) -> Self:
        """Those of a listener: loopback's, where it is bound, and what people call it. Raises InvalidError."""
        for name in public:
            if not _NAME.fullmatch(name.lower()):
                raise InvalidError(
                    f"--public-host {name!r} is not a host such as headrace.example.com: no scheme, port or path"
                )
        names = _LOOPBACK | {address.host.lower()} | {name.lower() for name in public}
        return cls(names=names, any_address=address.host in ("0.0.0.0", "::"))

    def takes(self, host: str) -> bool:
        """Whether a request for this `Host` (a name or an address, with a port or without) is for us."""
        found = _AUTHORITY.fullmatch(host.lower())
        if found is None:
            return False
        name = found["v6"] or found["name"]
        return name in self.names or (self.any_address and _is_address(name))

    def takes_origin(self, origin: str) -> bool:
        """Whether a page of this `Origin` (scheme://host:port) is ours; `null` and whatever else is odd is not."""
        scheme, found, host = origin.lower().partition("://")
        return bool(found) and scheme in ("http", "https") and self.takes(host)


def check_people(doors: Mapping[str, Address], *, known_by: Iterable[str]) -> None:
    """Raises InvalidError for a listener of people off loopback, by its flag, where nobody could be told from others.

    `known_by` are the ways that were configured in which people show who they are.
    """
    if any(known_by):
        return
    for flag, address in doors.items():
        if not address.is_local:
            raise InvalidError(
                f"{flag} {address} is not on loopback, and people there could not be told from anybody else; make a "
                f"user first, while it is on loopback (`headrace user create NAME --role admin`), or give {_WAYS}"
            )


_WAYS = "--management-token-file, --grpc-mtls with --client-ca, --trusted-proxy, or --kubernetes-identity"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
