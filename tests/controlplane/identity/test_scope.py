"""What a token allows: labels, networks, and how often a source may fail."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.scope import check_claims, check_source, read_networks, read_scope, source_of
from controlplane.identity.throttle import FAILURES, Throttle
from headrace.errors import ForbiddenError, InvalidError

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scope", "labels"),
    [
        ("", {"anything": "goes"}),
        ("role=edge", {}),
        ("role=edge", {"role": "edge"}),
        ("role in (edge,hub),zone", {"role": "hub", "zone": "a"}),
        ("rack>3", {"rack": "4"}),
    ],
)
def test_labels_within_the_scope_may_be_claimed(scope: str, labels: dict[str, str]) -> None:
    check_claims(read_scope(scope), labels, "agent 'a'")


@pytest.mark.parametrize(
    ("scope", "labels", "named"),
    [
        ("role=edge", {"role": "db"}, "role=db"),
        ("role=edge", {"role": "edge", "team": "x"}, "team=x"),
        ("rack>3", {"rack": "3"}, "rack=3"),
    ],
)
def test_a_label_outside_of_the_scope_is_named(scope: str, labels: dict[str, str], named: str) -> None:
    with pytest.raises(ForbiddenError, match=f"^wrong scope: agent 'a' claims label {named}, .* allows only '{scope}'"):
        check_claims(read_scope(scope), labels, "agent 'a'")


@pytest.mark.parametrize("text", ["!canary", "role!=db", "role notin (a,b)", "role=edge,!x", "=", "a in ("])
def test_a_scope_lists_what_is_allowed_and_nothing_else(text: str) -> None:
    with pytest.raises(InvalidError):
        read_scope(text)


def test_a_star_is_any_label() -> None:
    assert read_scope("*") == read_scope("") == ""


def test_networks_are_kept_in_one_form() -> None:
    assert read_networks([" 10.0.0.0/8", "10.0.0.0/8", "fd00::/8", "192.0.2.1"]) == (
        "10.0.0.0/8",
        "192.0.2.1/32",
        "fd00::/8",
    )


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "example.org", "10.0.0"])
def test_what_is_no_network_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(InvalidError, match=f"network {text!r} is no CIDR"):
        read_networks([text])


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("ipv4:10.0.0.7:41000", "10.0.0.7"),
        ("ipv6:[::1]:41000", "::1"),
        ("ipv6:%5B2001:db8::1%5D:41000", "2001:db8::1"),
        ("ipv6:[::ffff:10.0.0.7]:41000", "10.0.0.7"),
        ("ipv6:[fe80::1%eth0]:41000", "fe80::1"),
        ("unix:", "unix:"),
        ("ipv4:nonsense:1", "ipv4:nonsense:1"),
        ("", ""),
    ],
)
def test_the_source_is_the_address_of_the_peer(peer: str, source: str) -> None:
    assert source_of(peer) == source


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_inside_of_every_network_that_it_begins(address: ipaddress.IPv4Address, length: int) -> None:
    network = str(ipaddress.ip_network((int(address), length), strict=False))
    check_source(read_networks([network]), str(address), "token")


@pytest.mark.parametrize("source", ["11.0.0.1", "::1", "unix:", ""])
def test_a_source_outside_of_the_networks_is_refused(source: str) -> None:
    with pytest.raises(ForbiddenError, match=r"wrong scope: token may be used from 10\.0\.0\.0/8 only"):
        check_source(("10.0.0.0/8",), source, "token")


def test_a_source_that_failed_often_waits_for_the_rest_of_its_minute() -> None:
    throttle = Throttle()
    for number in range(1, FAILURES + 1):
        assert throttle.wait("10.0.0.1", AT) == 0
        assert throttle.failed("10.0.0.1", AT) == number
    assert throttle.wait("10.0.0.1", AT + timedelta(seconds=20)) == 40
    assert throttle.wait("10.0.0.2", AT) == 0
    assert throttle.wait("10.0.0.1", AT + timedelta(seconds=60)) == 0
    assert throttle.failed("10.0.0.1", AT + timedelta(seconds=60)) == 1


def test_hosts_of_one_ipv6_network_are_one_source() -> None:
    throttle = Throttle()
    for number in range(FAILURES):
        throttle.failed(f"2001:db8::{number:x}", AT)
    assert throttle.wait("2001:db8::ffff", AT) > 0
    assert throttle.wait("2001:db8:0:1::1", AT) == 0


def test_so_many_sources_are_remembered_and_no_more() -> None:
    throttle = Throttle()
    for _ in range(FAILURES):
        throttle.failed("busy", AT)
    for number in range(5000):
        throttle.failed("busy", AT)
        throttle.failed(f"source {number}", AT)
    assert throttle.wait("busy", AT) > 0
    assert len(throttle._counts) == 4096
