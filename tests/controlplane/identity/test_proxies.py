"""Whom a trusted proxy names in its headers, and what is not a clear name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.proxies import LONGEST, Proxies
from headrace.errors import InvalidError, UnauthenticatedError

PROXIES = Proxies(networks=("10.0.0.0/8", "fd00::/8"), groups="x-forwarded-groups")
USER, GROUPS, VIA = "x-forwarded-user", "x-forwarded-groups", "x-forwarded-for"


@pytest.mark.parametrize(
    ("source", "trusted"),
    [
        ("10.0.0.7", True),
        ("fd00::7", True),
        ("11.0.0.7", False),
        ("::ffff:10.0.0.7", False),  # what the listener says is the mapped address's own form
        ("unix:", False),
        ("", False),
    ],
)
def test_a_proxy_is_trusted_by_its_address(source: str, trusted: bool) -> None:
    assert (source in PROXIES) is trusted
    assert source not in Proxies()


def test_a_header_names_one_user_or_nobody() -> None:
    assert PROXIES.user_of(((USER, " ann@example.com "), ("other", "x"))) == "ann@example.com"
    assert PROXIES.user_of(()) == PROXIES.user_of(((USER, " "),)) == ""
    for headers, why in (
        (((USER, "ann"), (USER, "root")), "more than one header x-forwarded-user"),
        (((USER, "a" * (LONGEST + 1)),), "printable characters"),
        (((USER, "a\tb"),), "printable characters"),
    ):
        with pytest.raises(UnauthenticatedError, match=why):
            PROXIES.user_of(headers)


def test_groups_are_separated_by_commas_and_count_only_where_they_are_asked_for() -> None:
    headers = ((GROUPS, "web, ops,,"), (GROUPS, "sre"))
    assert PROXIES.groups_of(headers) == {"web", "ops", "sre"}
    assert Proxies(networks=("10.0.0.0/8",)).groups_of(headers) == frozenset()
    assert PROXIES.named(headers)
    assert not PROXIES.named((("authorization", "x"), ("", "x")))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("x", ""),
        ("", ""),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_the_proxy_speaks_for_the_address_that_it_added_itself(text: str, address: str) -> None:
    assert PROXIES.caller_of(((VIA, text),)) == address
    assert PROXIES.caller_of(()) == ""


@given(st.lists(st.tuples(st.sampled_from([USER, GROUPS, VIA, "x"]), st.text())))
def test_whatever_headers_come_they_name_somebody_who_can_be_shown_or_nobody(headers: list[tuple[str, str]]) -> None:
    PROXIES.caller_of(headers)
    assert all(PROXIES.groups_of(headers))
    try:
        user = PROXIES.user_of(headers)
    except UnauthenticatedError:
        return
    assert len(user) <= LONGEST
    assert user.isprintable()


@pytest.mark.parametrize("name", ["authorization", "origin", "grpc-timeout", "user-bin", "X-Forwarded-User", "a b", ""])
def test_a_header_that_means_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidError, match=r"--identity-header .* is no header for that"):
        Proxies(user=name)


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidError, match="no CIDR"):
        Proxies(networks=("10.0.0.1/8",))
