"""What a bootstrap token is good for: which labels an agent may claim with it, and from where it may be used. Pure.

A scope is selector text, read as a list of allowances: a claimed label is within it if a requirement names its key and
is met. So `role in (edge,hub),zone` lets an agent claim one of two roles and any zone, and nothing else; it need not
claim them. What a token stamps is not claimed, and labels that operators set are not either.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from headrace import selector
from headrace.errors import ForbiddenError, InvalidError
from headrace.selector import Operator

_MOST_NETWORKS = 64


def read_scope(text: str) -> str:
    """The scope's one text; empty, and `*`, allow any label. Raises InvalidError."""
    if not text or text == "*":
        return ""
    chosen = selector.parse(text)
    for requirement in chosen.requirements:
        if requirement.operator in (Operator.ABSENT, Operator.NOT_IN):
            raise InvalidError(
                f"scope {text!r}: {str(requirement)!r} says what an agent may not claim; a scope lists what it may, "
                "and all else is refused"
            )
    return str(chosen)


def check_claims(scope: str, labels: Mapping[str, str], what: str) -> None:
    """Raises ForbiddenError that names the first label which is not within the scope."""
    if not scope:
        return
    requirements = selector.parse(scope).requirements
    for key, value in sorted(labels.items()):
        if not any(one.key == key and one.matches(labels) for one in requirements):
            raise ForbiddenError(
                f"wrong scope: {what} claims label {key}={value}, and its bootstrap token allows only {scope!r}; "
                "start the agent without that label, or make a token that allows it"
            )


def read_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """CIDRs in their one form, sorted and distinct; an address alone is a network of one. Raises InvalidError."""
    if len(texts) > _MOST_NETWORKS:
        raise InvalidError(f"a token has at most {_MOST_NETWORKS} networks; {len(texts)} were given")
    found = set()
    for text in texts:
        try:
            found.add(str(ipaddress.ip_network(text.strip())))
        except ValueError as error:
            raise InvalidError(f"network {text!r} is no CIDR such as 10.0.0.0/8: {error}") from None
    return tuple(sorted(found))


def check_source(networks: Sequence[str], source: str, what: str) -> None:
    """Raises ForbiddenError for an address that is in none of the networks; no networks are anywhere."""
    if networks and not is_inside(networks, source):
        raise ForbiddenError(
            f"wrong scope: {what} may be used from {', '.join(networks)} only, and this came from {source or 'nowhere'}"
        )


def is_inside(networks: Sequence[str], source: str) -> bool:
    """Whether an address is in one of the networks; what is no address is in none."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network) for network in networks)


def source_of(peer: str) -> str:
    """The address in what grpc says of a peer, such as `ipv4:10.0.0.7:41000`; the text as it is for any other."""
    family, colon, rest = peer.partition(":")
    if not colon or family not in ("ipv4", "ipv6"):
        return peer
    host = rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
