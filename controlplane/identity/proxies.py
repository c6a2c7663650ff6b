"""What a proxy in front of the control plane says of who calls, in headers that it alone may send. Pure.

Anybody can write a header, so it counts only when the connection comes from a proxy that was named; whether that proxy
takes away what its own callers send is for its configuration to see to.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.identity.scope import is_inside, read_networks
from headrace.errors import InvalidError, UnauthenticatedError

USER_HEADER = "x-forwarded-user"
_HEADER = re.compile(r"[a-z0-9][-_.a-z0-9]*")
_OURS = ("authorization", "origin", "user-agent", "content-type", "te")
_VIA = "x-forwarded-for"
LONGEST = 253
"""Characters of a name that comes from outside."""
_MOST_GROUPS = 256

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxies:
    """Which proxies are trusted, and in which headers they name the user and the user's groups."""

    networks: tuple[str, ...] = ()
    user: str = USER_HEADER
    groups: str = ""

    def __post_init__(self) -> None:
        """Raises InvalidError."""
        read_networks(self.networks)
        for flag, name in (("--identity-header", self.user), ("--groups-header", self.groups or "x")):
            if not _HEADER.fullmatch(name) or name in _OURS or name.endswith("-bin") or name.startswith("grpc-"):
                raise InvalidError(f"{flag} {name!r} is no header for that; one is x-forwarded-user, in lower case")

    def __contains__(self, source: str) -> bool:
        """Whether an address is that of a trusted proxy."""
        return is_inside(self.networks, source)

    def named(self, headers: Headers) -> bool:
        """Whether the headers say who somebody is."""
        return any(key in (self.user, self.groups) for key, _ in headers)

    def user_of(self, headers: Headers) -> str:
        """Whom they name; empty where they name nobody. Raises UnauthenticatedError for what is not one clear name."""
        found = [value.strip() for key, value in headers if key == self.user]
        if len(found) > 1:
            raise UnauthenticatedError(
                f"the call has more than one header {self.user}; the proxy must replace what its callers send"
            )
        return check_name(found[0], f"header {self.user}") if found and found[0] else ""

    def groups_of(self, headers: Headers) -> frozenset[str]:
        """The groups, separated by commas."""
        texts = [value for key, value in headers if self.groups and key == self.groups]
        names = [name.strip() for text in texts for name in text.split(",")]
        return frozenset(filter(None, names[:_MOST_GROUPS]))

    def caller_of(self, headers: Headers) -> str:
        """The address that the proxy speaks for, which it adds after those that were there; empty when it does not."""
        texts = [value for key, value in headers if key == _VIA]
        last = texts[-1].rpartition(",")[2].strip() if texts else ""
        try:
            return str(ipaddress.ip_address(last))
        except ValueError:
            return ""


def check_name(name: str, what: str) -> str:
    """A name from outside that can be shown. Raises UnauthenticatedError."""
    if len(name) > LONGEST or not name.isprintable():
        raise UnauthenticatedError(f"{what} names nobody who could be shown: 1 to {LONGEST} printable characters")
    return name
